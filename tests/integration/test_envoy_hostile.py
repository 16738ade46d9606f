"""Clients that mean ill, and those that only know no better: what of it reaches a container, and what it costs the others.

Smuggling needs two parsers that disagree, so each shape is either refused or reaches the container as one request without doubt.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from roadstead.gateway.envoy.settings import EnvoySettings
from tests.support.lone_envoy import HOST, PREFIX, TOKEN, Echo, LoneEnvoy, lone_envoy, request
from tests.support.memory import resident_mib

INNER = f"GET {PREFIX}/smuggled HTTP/1.1\r\nhost: a\r\nauthorization: {TOKEN}\r\n\r\n".encode()
LINE = f"POST {PREFIX}/x HTTP/1.1\r\n"
GOOD = f"host: a\r\nauthorization: {TOKEN}\r\nconnection: close\r\n"
INTERNAL = (
    "x-roadstead-cluster",
    "x-roadstead-known",
    "x-roadstead-said",
    "x-roadstead-grpc",
    "x-roadstead-node",
    "x-roadstead-user",
    "x-roadstead-client",
    "x-roadstead-verdict-seconds",
    "x-roadstead-yet-unknown",
    "x-forwarded-prefix",
    "x-envoy-original-path",
    "x-envoy-auth-headers-to-remove",
    "x-envoy-retry-on",
    "x-envoy-max-retries",
    "x-envoy-upstream-rq-timeout-ms",
    "x-envoy-decorator-operation",
    "x-envoy-retriable-status-codes",
    "x-envoy-upstream-stream-duration-ms",
)


@pytest.fixture
async def envoy() -> AsyncIterator[LoneEnvoy]:
    async with lone_envoy(headers_seconds=1.0, max_connections=1200) as one:
        yield one


@pytest.fixture
async def echo(envoy: LoneEnvoy) -> Echo:
    found = Echo()
    await envoy.pods(await envoy.listen(found))
    return found


async def test_smuggling(envoy: LoneEnvoy, echo: Echo) -> None:
    def post(headers: str, body: bytes, line: str = LINE) -> bytes:
        return (line + GOOD + headers + "\r\n").encode("latin-1") + body

    chunked = b"0\r\n\r\n" + INNER
    shapes = {
        "length and chunks": post("content-length: 4\r\ntransfer-encoding: chunked\r\n", chunked),
        "two lengths": post("content-length: 0\r\ncontent-length: 5\r\n", b"hello" + INNER),
        "list of lengths": post("content-length: 0, 5\r\n", b"hello" + INNER),
        "signed length": post("content-length: +5\r\n", b"hello" + INNER),
        "negative length": post("content-length: -1\r\n", INNER),
        "space before colon": post("content-length : 5\r\n", b"hello" + INNER),
        "chunked twice": post("transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n", chunked),
        "chunked by another name": post("transfer-encoding: xchunked\r\n", chunked),
        "chunked behind a tab": post("transfer-encoding:\tchunked\x0b\r\n", chunked),
        "folded": post("x: a\r\n transfer-encoding: chunked\r\n", INNER),
        "bad size of chunk": post("transfer-encoding: chunked\r\n", b"zz\r\nhello\r\n0\r\n\r\n" + INNER),
        "overflowing size of chunk": post("transfer-encoding: chunked\r\n", b"fffffffffffffffff\r\nhello\r\n0\r\n\r\n"),
        "bare line feeds": (LINE + GOOD).replace("\r\n", "\n").encode() + b"content-length: 0\n\n" + INNER,
        "carriage return in a value": post("x: a\rcontent-length: 5\r\n", b"hello" + INNER),
        "null in a value": post("x: a\0b\r\n", INNER),
        "no host": (LINE + f"authorization: {TOKEN}\r\n\r\n").encode() + INNER,
        "two hosts": (LINE + GOOD + "host: b\r\n\r\n").encode() + INNER,
        "old version with chunks": post("transfer-encoding: chunked\r\n", chunked, LINE.replace("1.1", "1.0")),
    }
    for name, shape in shapes.items():
        before = len(echo.seen)
        answer = await envoy.send(shape)
        new = echo.seen[before:]
        assert all("smuggled" not in head.path for head in new), name
        assert answer.raw.count(b"HTTP/1.1 ") <= 1, (name, answer.raw)
        assert not new or (len(new) == 1 and answer.status == 200), (name, answer.raw, new)
        for head in new:
            assert len(head.all("content-length") + head.all("transfer-encoding")) <= 1, name
            assert len(head.all("host")) == 1, name


async def test_paths(envoy: LoneEnvoy, echo: Echo) -> None:
    """Whatever the spelling, the authoriser is asked about the very path from which the container's is cut."""
    for path in (
        "/../other/x",
        "/%2e%2e/other/x",
        "/..%2fother/x",
        "/a/%2e%2e/%2E%2e/other",
        "/..\\other",
        "/.%2e/other",
        "/..;/other",
        "/..%5cother",
    ):
        asked, seen = len(envoy.gate.asked), len(echo.seen)
        answer = await envoy.get(path)
        (question,) = envoy.gate.asked[asked:]
        if answer.status == 200:
            assert question.path == PREFIX + echo.seen[seen].path, path
        else:
            assert (answer.status, len(echo.seen)) == (404, seen), path
            assert not question.path.startswith(PREFIX), path
    for path in ("/%00", "/a#/../b"):
        assert (await envoy.get(path)).status == 400, path


async def test_other_forms_of_target(envoy: LoneEnvoy, echo: Echo) -> None:
    whole = (await envoy.send(request(f"http://elsewhere.example{PREFIX}/x"))).status
    assert (whole, echo.seen[-1].path, echo.seen[-1].all("host")) == (200, "/x", ["elsewhere.example"])
    asked = len(envoy.gate.asked)
    for line in ("CONNECT 10.0.0.1:443", "CONNECT a", "OPTIONS *", "GET elsewhere"):
        answer = await envoy.send(f"{line} HTTP/1.1\r\nhost: a\r\nauthorization: {TOKEN}\r\nconnection: close\r\n\r\n".encode())
        assert answer.status in (400, 403, 404), line
    assert len(envoy.gate.asked) == asked
    assert len(echo.seen) == 1
    for upgrade in ("h2c", "tcp", "connect-udp"):
        answer = await envoy.get("/x", "connection: upgrade", f"upgrade: {upgrade}", method="GET")
        assert answer.status in (200, 400, 403, 404), upgrade
        assert all("upgrade" not in dict(head.headers) for head in echo.seen), upgrade


async def test_internal_headers_are_ours(envoy: LoneEnvoy, echo: Echo) -> None:
    await envoy.get("/x")
    clean = {key for key, _ in echo.seen[-1].headers}
    for seconds in (None, 60.0, 60.0):  # asked, asked and kept, known
        envoy.gate.verdict_seconds = seconds
        for spelling in (str, str.upper, str.title):
            answer = await envoy.get("/x", *(f"{spelling(name)}: evil" for name in INTERNAL))
            assert answer.status == 200
            head = echo.seen[-1]
            assert "evil" not in {value for key, value in head.headers if key in INTERNAL}, head
            assert {key for key, _ in head.headers} <= clean, head
    for answer in (await envoy.get("/x"), await envoy.send(request(PREFIX + "/x", token=None))):
        assert b"x-roadstead" not in answer.raw
        assert b"0123456789abcdef" not in answer.raw


async def test_who_asks_is_told_by_the_connection_and_whose_envoy_by_its_configuration(envoy: LoneEnvoy, echo: Echo) -> None:
    await envoy.get("/x", "x-forwarded-for: 10.9.9.9", "x-real-ip: 10.9.9.9", "x-roadstead-node: evil", "x-roadstead-grpc: true")
    (question,) = envoy.gate.asked
    assert question.all("x-roadstead-client") == [HOST]
    assert question.all("x-roadstead-node") == [EnvoySettings().node]
    assert question.all("x-roadstead-grpc") == []


@pytest.mark.parametrize(
    ("kind", "grpc"),
    [("application/grpc", True), ("application/grpc+proto", True), ("application/grpc-web", False), ("application/json", False)],
)
async def test_clients_of_grpc_are_told_in_its_own_way(envoy: LoneEnvoy, kind: str, grpc: bool) -> None:
    for token in (TOKEN, "Bearer nonsense"):
        envoy.gate.broken = token == TOKEN
        answer = await envoy.send(request(PREFIX + "/x", f"content-type: {kind}", method="POST", token=token))
        assert answer.status == (200 if grpc else 503 if envoy.gate.broken else 401)
        assert answer.header("content-type") == ("application/grpc" if grpc else "application/json")
        assert answer.header("grpc-status") == (None if not grpc else "14" if envoy.gate.broken else "16")
        assert (envoy.gate.asked[-1].all("x-roadstead-grpc") == ["true"]) == grpc
        if envoy.gate.broken and grpc:
            assert answer.header("grpc-message") == "permission can't be asked for at the moment; try again"


async def test_heads_too_large(envoy: LoneEnvoy, echo: Echo) -> None:
    for lines in ([f"x-large: {'a' * 70_000}"], [f"x-{n}: a" for n in range(150)]):
        answer = await envoy.get("/x", *lines)
        assert (answer.status, list(answer.json)) == (431, ["detail"])
    assert (await envoy.get("/x", f"x-large: {'a' * 50_000}")).status == 200
    assert len(echo.seen) == 1


async def test_a_head_that_never_ends(envoy: LoneEnvoy, echo: Echo) -> None:
    """A byte now and then keeps nothing open beyond the time that a head may take."""
    reader, writer = await asyncio.open_connection(HOST, envoy.port)
    writer.write(LINE.encode())
    drip = asyncio.create_task(_drip(writer))
    async with asyncio.timeout(10):
        got = await reader.readuntil(b"}")
    drip.cancel()
    writer.close()
    assert got.startswith(b"HTTP/1.1 408 ")
    assert b'{"detail":' in got
    assert not envoy.gate.asked


async def test_idle_connections_harm_nobody(envoy: LoneEnvoy, echo: Echo) -> None:
    """500 of them cost little memory; beyond the limit new ones are refused, and room comes back with those that go."""
    before = resident_mib(envoy.process.pid)
    idle = [await asyncio.open_connection(HOST, envoy.port) for _ in range(500)]
    assert (await envoy.get("/x")).status == 200
    assert resident_mib(envoy.process.pid) - before < 60
    idle += [await asyncio.open_connection(HOST, envoy.port) for _ in range(800)]
    assert (await envoy.send(request("/healthz"), seconds=5)).status == 0
    for _, writer in idle:
        writer.close()
    for _ in range(100):
        if (await envoy.get("/x")).status == 200:
            return
        await asyncio.sleep(0.05)
    raise AssertionError("no room came back")


async def test_a_body_that_nobody_reads_is_not_kept(envoy: LoneEnvoy) -> None:
    """Ten uploads of 40 MB to a pod that reads nothing: back-pressure, not memory."""

    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.sleep(60)

    await envoy.pods(await envoy.listen(deaf))
    before = resident_mib(envoy.process.pid)
    uploads = [asyncio.create_task(envoy.get("/x", method="POST", body=bytes(40_000_000))) for _ in range(10)]
    await asyncio.sleep(3)
    assert len(envoy.gate.asked) == 10
    assert resident_mib(envoy.process.pid) - before < 120
    for task in uploads:
        task.cancel()
    await asyncio.gather(*uploads, return_exceptions=True)


async def _drip(writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"x")
        await asyncio.sleep(0.1)
