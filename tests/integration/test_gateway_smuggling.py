"""Bytes that two readers could take for two things: no path, head or body leads past the gateway's judgement of the request."""

from __future__ import annotations

import time

import pytest

from tests.support.place import Place
from tests.support.pods import Pod, raw_pod
from tests.support.raw_http import detail, request, sent, status, warmed


@pytest.mark.parametrize(
    ("tried", "expected"),
    [
        ("{id}zzz", 404),
        ("{id}0", 404),
        ("{id}%2f", 404),
        ("{id}%2Fx", 404),
        ("{id};x", 404),
        ("{id}%00", 400),
        ("{id}%3Fx", 404),
        ("{id}/../{other}/x", 404),
        ("{id}/%2e%2e/{other}/x", 404),
        ("{id}/.%2E/{other}/x", 404),
        ("{id}/x/../../{other}", 404),
        ("{id}/..;/{other}/x", 404),
        ("{upper}/x", 404),
        ("{id}/../../../../../healthz", 200),
        ("{id}/../../../../../", 404),
        ("{id}/../../deployments/{id}/x", 404),
        ("../workloads/{id}zz", 404),
        ("", 404),
        ("/{id}", 404),
        ("%61/{id}", 404),
    ],
)
def test_paths_that_lead_elsewhere(place: Place, name: str, served: Pod, tried: str, expected: int) -> None:
    """Judged as what they become, and never as the endpoint that they begin with; not even where Envoy remembers that one."""
    own, prefix = place.prefix(name), "/api/v2/endpoints/workloads/"
    id = own.removeprefix(prefix)
    warmed(place, own + "/warm")
    before = len(served.seen)
    said = sent(place.gateway, request(place, prefix + tried.format(id=id, other="f" * 24, upper=id.upper())))
    assert status(said) == expected, said
    if expected == 404:
        assert detail(said)
    assert len(served.seen) == before


def test_paths_that_stay(place: Place, name: str, served: Pod) -> None:
    """What isn't resolved by the gateway isn't resolved by it for anybody: the container gets it as it is."""
    own = place.prefix(name)
    warmed(place, own + "/warm")
    for rest in ("/..%2fother", "/%2e%2e%2f%2e%2e%2fetc/passwd", "/a%5c..%5cb"):
        said = sent(place.gateway, request(place, own + rest))
        assert status(said) == 200
        assert served.seen[-1]["headers"]["x-forwarded-prefix"] == own
        assert served.seen[-1]["path"].count("/") == rest.count("/")
    said = sent(place.gateway, request(place, f"http://elsewhere.test{own}/absolute"))
    assert status(said) == 200
    assert served.seen[-1]["path"] == "/absolute"
    before = len(served.seen)
    for path in (f"http://elsewhere.test{own}zzz/x", f"//here{own}/x", "*", own.lstrip("/"), "here:443"):
        for method in ("GET", "OPTIONS", "CONNECT"):
            said = sent(place.gateway, request(place, path, method=method))
            assert status(said) in (400, 404)
            assert detail(said)
    upgraded = request(place, own + "/x", "Connection: Upgrade", "Upgrade: other").replace(b"Connection: close\r\n", b"", 1)
    said = sent(place.gateway, upgraded, 2)
    assert status(said) in (200, 403)
    if status(said) == 403:
        assert detail(said.removesuffix(b"..."))
    else:
        before += 1
    assert len(served.seen) == before


SMUGGLED = b"GET %b/smuggled HTTP/1.1\r\nHost: here\r\n%b\r\n"
BROKEN = {
    "length and chunks": (("Content-Length: 5", "Transfer-Encoding: chunked"), b"0\r\n\r\n"),
    "chunks and length": (("Transfer-Encoding: chunked", "Content-Length: 5"), b"0\r\n\r\n"),
    "two lengths": (("Content-Length: 0", "Content-Length: 44"), b""),
    "two lengths in one": (("Content-Length: 0, 44",), b""),
    "negative length": (("Content-Length: -1",), b""),
    "length with a sign": (("Content-Length: +0",), b""),
    "length in hexadecimal": (("Content-Length: 0x0",), b""),
    "huge length": (("Content-Length: 99999999999999999999999",), b""),
    "unknown encoding": (("Transfer-Encoding: cow",), b""),
    "encoding twice": (("Transfer-Encoding: chunked", "Transfer-Encoding: cow"), b"0\r\n\r\n"),
    "chunked not last": (("Transfer-Encoding: chunked, gzip",), b"0\r\n\r\n"),
    "encoding with a tab": (("Transfer-Encoding: \x0bchunked",), b"0\r\n\r\n"),
    "bad chunk size": (("Transfer-Encoding: chunked",), b"zz\r\n\r\n"),
    "huge chunk size": (("Transfer-Encoding: chunked",), b"fffffffffffffffff\r\n\r\n"),
    "negative chunk size": (("Transfer-Encoding: chunked",), b"-1\r\n\r\n"),
    "chunk longer than said": (("Transfer-Encoding: chunked",), b"1\r\nabc\r\n0\r\n\r\n"),
    "space before the colon": (("Content-Length : 44",), b""),
    "space before the encoding's colon": (("Transfer-Encoding : chunked",), b"0\r\n\r\n"),
    "NUL in a header": (("X-A: b\0c",), b""),
    "no name": ((": x",), b""),
    "name with a space": (("X A: b",), b""),
    "line without a colon": (("nonsense",), b""),
}


@pytest.mark.parametrize("shape", BROKEN)
def test_messages_that_two_readers_could_read_differently(place: Place, name: str, served: Pod, shape: str) -> None:
    """Refused as a whole. What follows on the connection is never taken for a request."""
    own = place.prefix(name)
    warmed(place, own + "/warm")
    served.seen.clear()
    lines, body = BROKEN[shape]
    data = f"POST {own}/first HTTP/1.1\r\nHost: here\r\nAuthorization: Bearer {place.token}\r\n".encode()
    data += b"".join(f"{line}\r\n".encode("latin-1") for line in lines) + b"\r\n" + body
    data += SMUGGLED % (own.encode(), f"Authorization: Bearer {place.token}\r\n".encode())
    said = sent(place.gateway, data)
    assert status(said) in (400, 501), said
    assert not said.endswith(b"..."), "the connection is still open"
    assert "/smuggled" not in served.paths()
    assert said.count(b"HTTP/1.1 ") == 1
    assert detail(said)
    body_is_wrong = shape.endswith(("chunk size", "than said"))  # after a head that is right
    assert served.paths() in ([], ["/first"][:body_is_wrong])


@pytest.mark.parametrize(
    "line",
    [
        "X-A: b\rX-Roadstead-User: root",
        "X-A: b\r\r\nX-B: c",
        "X-A:\r\rb",
        "X-A: b\nX-Roadstead-User: root",
        "X-A: b\r\n X-Roadstead-User: root",
        "X-A: b\r\n\tContent-Length: 44",
        "X-A: b\x0bX-Roadstead-User: root",
        "X-A: b\x85X-Roadstead-User: root",
    ],
)
def test_odd_ends_of_lines_are_made_even(place: Place, line: str) -> None:
    """RFC 9112 lets a reader refuse them or put them right. The container gets lines that nobody can read in two ways."""
    with raw_pod(lambda _: b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n") as made:
        own = place.prefix(place.workload(made))
        warmed(place, own + "/warm")
        made.raw.clear()
        said = sent(place.gateway, request(place, own + "/first", line))
        assert status(said) in (200, 400)
        lines = bytes(made.raw).split(b"\r\n")
        assert not [line for line in lines if b"\r" in line or b"\n" in line]
        assert [line for line in lines if line.startswith(b"GET ")] == ([b"GET /first HTTP/1.1"] if status(said) == 200 else [])
        assert all(line.endswith(b":caller") for line in lines if line.startswith(b"x-roadstead-"))
        assert b"44" not in [line.partition(b": ")[2] for line in lines]


def test_a_whole_message_with_bare_line_feeds(place: Place, name: str, served: Pod) -> None:
    own = place.prefix(name)
    warmed(place, own + "/warm")
    served.seen.clear()
    said = sent(place.gateway, request(place, own + "/first").replace(b"\r\n", b"\n"))
    assert status(said) in (200, 400)
    assert served.paths() == (["/first"] if status(said) == 200 else [])


def test_hop_by_hop_headers_take_nothing_away(place: Place, name: str, served: Pod) -> None:
    """``Connection`` names headers that end at the next hop; not those that the gateway adds."""
    own = place.prefix(name)
    warmed(place, own + "/warm")
    for value in ("x-roadstead-user", "x-forwarded-prefix, x-roadstead-user", "authorization"):
        said = sent(place.gateway, request(place, own + "/x", f"Connection: close, {value}").replace(b"Connection: close\r\n", b""))
        assert status(said) in (200, 400, 401)
        headers = served.seen[-1]["headers"]
        assert headers["x-roadstead-user"].endswith(":caller")
        assert headers["x-forwarded-prefix"] == own
        assert "authorization" not in headers


def test_pipelined_requests_are_judged_each(place: Place, name: str, served: Pod) -> None:
    """Two requests at once on a connection, the second without a token."""
    own = place.prefix(name)
    warmed(place, own + "/warm")
    served.seen.clear()
    first = request(place, own + "/first").replace(b"Connection: close\r\n", b"")
    second = f"GET {own}/second HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n".encode()
    said = sent(place.gateway, first + second)
    assert said.count(b"HTTP/1.1 200 ") == said.count(b"HTTP/1.1 401 ") == 1
    assert served.paths() == ["/first"]


@pytest.mark.parametrize("path", ["/x", "/ws"])
@pytest.mark.parametrize("version", ["7", "13"])
def test_what_follows_an_upgrade_that_is_refused(place: Place, name: str, served: Pod, path: str, version: str) -> None:
    """Neither what the container nor what the gateway refuses opens a tunnel for requests that nobody has judged."""
    own = place.prefix(name)
    warmed(place, own + "/warm")
    served.seen.clear()
    upgrade = ("Upgrade: websocket", f"Sec-WebSocket-Version: {version}", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==")
    data = request(place, own + path, "Connection: Upgrade", *upgrade).replace(b"Connection: close\r\n", b"", 1)
    followed = b"GET /smuggled HTTP/1.1\r\nHost: here\r\n\r\n" + SMUGGLED % (own.encode(), b"")
    for authorised in (True, False):
        sent(place.gateway, (data if authorised else data.replace(place.token.encode(), b"nonsense")) + followed, 1)
    assert served.paths() in ([], [path])


SPOOFED = (
    "x-roadstead-user: system:admin",
    "X-Roadstead-User: system:admin",
    "x_roadstead_user: system:admin",
    "X-Roadstead_User: system:admin",
    "x-roadstead-said: true",
    "x-roadstead-grpc: true",
    "x-roadstead-node: another",
    "x-roadstead-client: 10.0.0.1",
    "x-roadstead-verdict-seconds: 100000",
    "x-roadstead-cold-start: total=1",
    "x-roadstead-anything: x",
    "x-forwarded-prefix: /evil",
    "x_forwarded_prefix: /evil",
    "x-envoy-original-path: /evil",
    "x-envoy-auth-headers-to-remove: host",
    "x-envoy-max-retries: 50",
    "x-envoy-retry-on: 5xx",
    "x-envoy-retry-grpc-on: cancelled",
    "x-envoy-retriable-status-codes: 200",
    "x-envoy-retriable-header-names: x-own",
    "x-envoy-upstream-rq-timeout-ms: 1",
    "x-envoy-upstream-rq-per-try-timeout-ms: 1",
    "x-envoy-upstream-rq-timeout-alt-response: 1",
    "x-envoy-upstream-alt-stat-name: evil",
    "x-envoy-hedge-on-per-try-timeout: true",
    "x-envoy-expected-rq-timeout-ms: 1",
    "x-envoy-decorator-operation: evil",
    "x-envoy-force-trace: 1",
    "x-envoy-internal: true",
    "x-envoy-external-address: 1.2.3.4",
    "x-envoy-downstream-service-cluster: evil",
    "x-envoy-ip-tags: evil",
    "x-envoy-attempt-count: 9",
)


@pytest.mark.parametrize("remembered", [True, False])
@pytest.mark.parametrize("spoofed", SPOOFED)
def test_headers_that_only_the_gateway_may_set(place: Place, name: str, served: Pod, spoofed: str, remembered: bool) -> None:
    """No effect, and the container never sees them."""
    own = place.prefix(name)
    if remembered:
        warmed(place, own + "/warm")
    token = place.token if remembered else " " * (int(time.time() * 1000) % 500 + 1) + place.token
    served.seen.clear()
    said = sent(place.gateway, request(place, own + "/silent?seconds=0.05", spoofed).replace(place.token.encode(), token.encode()))
    assert status(said) == 200
    [seen] = served.seen
    header, _, value = spoofed.partition(": ")
    headers = seen["headers"]
    assert value not in [said for name, said in headers.items() if name.replace("_", "-") == header.lower().replace("_", "-")]
    assert headers["x-roadstead-user"].endswith(":caller")
    assert headers["x-forwarded-prefix"] == own
    assert not [name for name in headers if "_" in name]


def test_a_cluster_named_by_the_client_leads_nowhere(place: Place, name: str, served: Pod) -> None:
    own = place.prefix(name)
    cluster = "w-" + own.rpartition("/")[2]
    warmed(place, own + "/warm")
    before = len(served.seen)
    named = (f"x-roadstead-cluster: {cluster}", f"x-roadstead-known: {cluster}")
    lines = ("Host: here", *named, "x-roadstead-user: system:admin", "Connection: close")
    for path in (own + "/x", "/api/v2/endpoints/workloads/" + "f" * 24 + "/x", "/"):
        data = f"GET {path} HTTP/1.1\r\n".encode() + "\r\n".join((*lines, "", "")).encode()
        assert status(sent(place.gateway, data)) in (401, 404)
    for other in ("control", "authoriser", "w-" + "f" * 24):
        for header in ("cluster", "known"):
            assert status(sent(place.gateway, request(place, own + "/x", f"x-roadstead-{header}: {other}"))) == 200
            before += 1
    assert len(served.seen) == before
