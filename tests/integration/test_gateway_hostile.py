"""Clients that mean harm, or are broken in a way that looks like it: nothing of theirs reaches a container, a Workload or a neighbour."""

from __future__ import annotations

import json
import resource
import secrets
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import grpc
import httpx
import pytest

from hack.cluster.control import ControlCluster
from tests.clusters import audit_position, wait_for, writes
from tests.support.gateways import Replica, gateway_access, running_gateway
from tests.support.pods import Place, Pod, connected, figure, grpc_pod, pod, raw_pod, resident_mib, sent
from tests.support.rest import account
from tests.world import new_namespace

HEAD_SECONDS = 2
FLAT_MIB = 64


@pytest.fixture(scope="module")
def gateway(cluster: ControlCluster) -> Iterator[Replica]:
    """One that gives a request's head two seconds to arrive."""
    with running_gateway(cluster, gateway_access(cluster), envoy_settings={"headers_seconds": float(HEAD_SECONDS)}) as running:
        yield running


@pytest.fixture(scope="module")
def place(cluster: ControlCluster, gateway: Replica) -> Iterator[Place]:
    with new_namespace(cluster) as namespace:
        yield Place(cluster, namespace, gateway)


@pytest.fixture(scope="module")
def served() -> Iterator[Pod]:
    with pod() as made:
        yield made


@pytest.fixture(scope="module")
def name(place: Place, served: Pod) -> str:
    """A Workload that answers."""
    return place.serving(served)


@pytest.fixture(scope="module")
def asleep(place: Place) -> str:
    """A Workload without pods."""
    return place.workload()


def status(said: bytes) -> int:
    """Of the first answer; 0 without one."""
    return int(said.split(b" ", 2)[1]) if said.startswith(b"HTTP/1.1 ") else 0


def detail(said: bytes) -> str:
    """What the body of an answer says, which must be JSON."""
    head, _, body = said.partition(b"\r\n\r\n")
    assert b"content-type: application/json" in head.lower(), said
    return str(json.loads(body)["detail"])


def request(place: Place, path: str, *lines: str, method: str = "GET", body: bytes = b"") -> bytes:
    """The bytes of a request by somebody who may make it, whatever its path; the connection is to close after it."""
    lines = ("Host: here", f"Authorization: Bearer {place.token}", "Connection: close", *lines)
    return f"{method} {path} HTTP/1.1\r\n".encode() + b"".join(f"{line}\r\n".encode("latin-1") for line in lines) + b"\r\n" + body


def warmed(place: Place, path: str) -> None:
    """Have every worker of Envoy's remember the caller."""
    for _ in range(8):
        assert status(sent(place.gateway, request(place, path))) == 200


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
def test_paths_that_lead_elsewhere(place: Place, name: str, asleep: str, served: Pod, tried: str, expected: int) -> None:
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
    "x-roadstead-answer: e30=",
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
    for other in ("control", "authoriser", "answers", "w-" + "f" * 24):
        for header in ("cluster", "known"):
            assert status(sent(place.gateway, request(place, own + "/x", f"x-roadstead-{header}: {other}"))) == 200
            before += 1
    assert len(served.seen) == before


def test_heads_that_are_too_large(place: Place, name: str, served: Pod) -> None:
    own = place.prefix(name)
    warmed(place, own + "/warm")
    before = len(served.seen)
    for lines in ([f"X-Large: {'x' * 70_000}"], [f"X-{number}: x" for number in range(200)]):
        said = sent(place.gateway, request(place, own + "/x", *lines))
        assert status(said) == 431, said[:200]
        assert detail(said)
    said = sent(place.gateway, request(place, own + "/" + "x" * 70_000))
    assert status(said) in (414, 431), said[:200]
    assert detail(said)
    assert len(served.seen) == before
    assert status(sent(place.gateway, request(place, own + "/x", f"X-Large: {'x' * 40_000}"))) == 200


def test_heads_that_never_end(place: Place, name: str) -> None:
    """Closed when their time is over, however steadily they drip; somebody else is served meanwhile."""
    own = place.prefix(name)
    begun = request(place, own + "/x")[:-2]
    with connected(place.gateway, 20) as one, connected(place.gateway, 20) as other:
        one.sendall(begun)
        other.sendall(begun[:10])
        since = time.monotonic()
        for _ in range(HEAD_SECONDS * 10):
            try:
                other.sendall(b"X")
            except ConnectionError:
                break
            time.sleep(0.2)
        assert status(sent(place.gateway, request(place, own + "/x"))) == 200
        for connection in (one, other):
            said = b""
            try:
                while piece := connection.recv(65536):
                    said += piece
            except ConnectionError:
                pass
            if said:
                assert status(said) == 408
                assert detail(said)
        assert time.monotonic() - since > HEAD_SECONDS - 0.5


@pytest.mark.parametrize("count", [500, pytest.param(10_000, marks=pytest.mark.long)])
def test_idle_connections(place: Place, name: str, count: int) -> None:
    """Somebody else is served, and memory is given back: some KiB for each."""
    assert place.gateway.envoy is not None
    pid = place.gateway.envoy.pid
    before = resident_mib(pid)
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    with ExitStack() as stack:
        kept = [stack.enter_context(connected(place.gateway)) for _ in range(count)]
        for connection in kept[::2]:  # some have asked before
            connection.sendall(request(place, "/healthz").replace(b"Connection: close\r\n", b""))
        for _ in range(20):
            assert status(sent(place.gateway, request(place, place.prefix(name) + "/x"))) == 200
        assert resident_mib(pid) - before < FLAT_MIB + count * 0.03
        for connection in kept[::2]:
            assert status(connection.recv(4096)) == 200


def woken(place: Place) -> tuple[float, float]:
    """Wakes that began, and requests that wait."""
    return figure(place.gateway, 'roadstead_gateway_wakes_total{outcome="begun"}'), figure(place.gateway, "roadstead_gateway_held_requests")


def test_ids_that_nobody_has(place: Place, cluster: ControlCluster, name: str) -> None:
    """A loop over them costs the API server nothing, and memory nothing that lasts."""
    assert place.gateway.process is not None
    assert place.gateway.envoy is not None
    pids = (place.gateway.process.pid, place.gateway.envoy.pid)

    def guess(count: int) -> Counter[int]:
        with place.client() as client:
            paths = (f"/api/v2/endpoints/{kind}/{secrets.token_hex(12)}/x" for _ in range(count) for kind in ("workloads", "deployments"))
            return Counter(client.get(path).status_code for path in paths)

    assert guess(20) == {404: 40}
    before, position, woken_before = [resident_mib(pid) for pid in pids], audit_position(cluster), woken(place)
    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(guess, [250] * 4), Counter()) == {404: 2000}
    asked = writes(cluster, position, agent="roadstead-gateway")
    assert len(asked) <= 4, Counter(what for _, what, _, _ in asked)  # the token alone, anew every few seconds
    assert woken(place) == woken_before
    for pid, then in zip(pids, before, strict=True):
        assert resident_mib(pid) - then < 16


def test_tokens_that_nobody_has(place: Place, cluster: ControlCluster, name: str, served: Pod) -> None:
    """Guesses are slowed down, cost the API server no more than a few reviews, and are nobody's way in."""
    position, before = audit_position(cluster), len(served.seen)
    answers: Counter[int] = Counter()
    with httpx.Client(timeout=30) as client:
        for _ in range(400):
            address = ".".join(str(secrets.randbelow(256)) for _ in range(4))  # which it may say, and nobody believes
            headers = {"Authorization": f"Bearer {secrets.token_hex(20)}", "X-Forwarded-For": address, "X-Real-IP": address}
            answers[client.get(place.url(name, "/x"), headers=headers).status_code] += 1
    assert set(answers) <= {401, 429}
    assert answers[429] > 100
    assert len(writes(cluster, position, agent="roadstead-gateway")) < 400
    assert len(served.seen) == before
    assert status(sent(place.gateway, request(place, place.prefix(name) + "/x"))) == 200, "a good token suffers for it"


def test_what_a_caller_may_not_see_isnt_there(place: Place, cluster: ControlCluster, name: str, asleep: str, served: Pod) -> None:
    """A stranger's token on others' ids: as if nobody had them; nothing is woken, and KEDA hears of no demand."""
    stranger = {"Authorization": f"Bearer {account(cluster, place.namespace, f's{uuid.uuid4().hex[:6]}')}"}
    warmed(place, place.prefix(name) + "/warm")
    before, seen = woken(place), len(served.seen)
    nobody = httpx.get(f"{place.gateway.url}/api/v2/endpoints/workloads/{'f' * 24}/", headers=stranger, timeout=30)
    for workload in (name, asleep):
        for _ in range(8):
            answer = httpx.get(place.url(workload), headers=stranger, timeout=30)
            assert answer.status_code == nobody.status_code == 404
            assert answer.text.replace(place.prefix(workload).rpartition("/")[2], "f" * 24) == nobody.text
    assert woken(place) == before
    assert len(served.seen) == seen


def test_who_leaves_isnt_waited_for(place: Place, asleep: str) -> None:
    """Requests for a Workload at zero whose callers hang up leave nothing behind but the wake."""
    with ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(connected(place.gateway)).sendall(request(place, place.prefix(asleep) + "/x"))
        wait_for(lambda: woken(place)[1] == 20, "all to be held")
    wait_for(lambda: woken(place)[1] == 0, "none to be held")


def test_local_replies_to_grpc_have_a_status(place: Place) -> None:
    """What isn't the container's word is one that gRPC clients understand."""
    with grpc.insecure_channel(place.gateway.url.removeprefix("http://")) as channel:

        def code(path: str, *metadata: tuple[str, str]) -> grpc.StatusCode:
            with pytest.raises(grpc.RpcError) as caught:
                channel.unary_unary(path + "/test.Echo/Unary")(b"", metadata=metadata, timeout=30)
            return caught.value.code()

        bearer = ("authorization", f"Bearer {place.token}")
        with grpc_pod() as made:
            gone = place.prefix(place.workload(made))
            assert channel.unary_unary(gone + "/test.Echo/Unary")(b"x", metadata=[bearer], timeout=30) == b"x"
        assert code(gone, bearer) is grpc.StatusCode.UNAVAILABLE
        assert code(gone) is grpc.StatusCode.UNAUTHENTICATED
        assert code(place.prefix("nobody"), bearer) is grpc.StatusCode.UNIMPLEMENTED
        assert code("/nothing", bearer) is grpc.StatusCode.UNIMPLEMENTED
    lines = ("Content-Type: application/grpc", "TE: trailers")
    for path in (place.prefix("nobody"), "/nothing"):
        said = sent(place.gateway, request(place, path + "/test.Echo/Unary", *lines, method="POST"))
        assert status(said) == 200
        assert b"grpc-status: 12" in said.lower()
