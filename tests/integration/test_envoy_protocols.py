"""What passes through Envoy, and how: paths, streams, WebSockets, gRPC, silence.

Envoy is real and has the gateway's configuration; see tests/support/lone_envoy.py for what stands around it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import grpc.aio
import pytest

from hack.cluster.control import free_ports
from roadstead.api.container import Protocol
from tests.support.lone_envoy import HOST, PREFIX, TOKEN, Echo, LoneEnvoy, faultless, lone_envoy, read_head, reply, request


@pytest.fixture
async def envoy() -> AsyncIterator[LoneEnvoy]:
    async with lone_envoy() as one, faultless(one):
        yield one


async def test_the_container_sees_its_own_paths(envoy: LoneEnvoy) -> None:
    echo = Echo()
    await envoy.pods(await envoy.listen(echo))
    table = {
        "": "/",
        "/": "/",
        "?q=1": "/?q=1",
        "/a/b%2Fc?q=1%202&r=a/../b": "/a/b%2Fc?q=1%202&r=a/../b",
        "//x": "//x",
        "/a/./b": "/a/b",
        "/a/../b": "/b",
        "/a;b=c": "/a;b=c",
        "/%E4%B8%AD": "/%E4%B8%AD",
    }
    for asked, wanted in table.items():
        answer = await envoy.get(asked)
        assert (answer.status, echo.seen[-1].path) == (200, wanted), asked
    seen = echo.seen[-1]
    assert seen.all("x-forwarded-prefix") == [PREFIX]
    assert seen.all("x-roadstead-user") == ["ada"]
    assert not seen.all("authorization")
    assert not seen.all("x-roadstead-cluster")


async def test_no_workloads_are_no_reason_to_wait(envoy: LoneEnvoy) -> None:
    """Envoy opens its port once it has heard of clusters, be it that there are none; without a word it waits 15 s."""
    assert "LIVE" in await envoy.admin("/ready")
    assert "init_fetch_timeout: 0" in await envoy.admin("/stats?filter=cluster_manager.cds.init_fetch_timeout")


async def test_errors_have_one_form(envoy: LoneEnvoy) -> None:
    await envoy.pods()
    refused = await envoy.send(request(PREFIX + "/x", token=None))
    assert (refused.status, refused.json, refused.header("www-authenticate")) == (401, {"detail": "who are you?"}, "Bearer")
    unknown = await envoy.send(request("/api/v2/endpoints/workloads/ffff/x"))
    assert (unknown.status, unknown.json) == (404, {"detail": "no such thing"})
    elsewhere = await envoy.send(request("/elsewhere"))
    assert (elsewhere.status, elsewhere.json) == (404, {"detail": "there is nothing to call here"})
    nobody = await envoy.get("/x")
    assert (nobody.status, nobody.header("retry-after")) == (503, "1")
    envoy.gate.cluster = "w-never-told"
    untold = await envoy.get("/x")
    for answer in (refused, unknown, elsewhere, nobody, untold):
        assert answer.header("content-type") == "application/json"
        assert list(answer.json) == ["detail"]
        assert answer.json["detail"]


async def test_events_are_not_held_back(envoy: LoneEnvoy) -> None:
    """Each event must have arrived at the client before the service makes the next."""
    arrived = asyncio.Semaphore(0)

    async def events(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        for _ in range(5):
            writer.write(b"9\r\ndata: x\n\n\r\n")
            await arrived.acquire()
        writer.write(b"0\r\n\r\n")

    await envoy.pods(await envoy.listen(events))
    reader, writer = await asyncio.open_connection(HOST, envoy.port)
    writer.write(request(PREFIX + "/events"))
    await reader.readuntil(b"\r\n\r\n")
    for _ in range(5):
        async with asyncio.timeout(10):
            await reader.readuntil(b"data: x\n\n")
        arrived.release()
    assert (await reader.read()).endswith(b"0\r\n\r\n")
    writer.close()


async def test_websocket(envoy: LoneEnvoy) -> None:
    async def socket(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await read_head(reader)
        assert head is not None
        assert head.all("upgrade") == ["websocket"]
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n")
        while data := await reader.read(100):
            writer.write(data[::-1])

    await envoy.pods(await envoy.listen(socket))
    reader, writer = await asyncio.open_connection(HOST, envoy.port)
    head = f"GET {PREFIX}/ws HTTP/1.1\r\nhost: a\r\nauthorization: {TOKEN}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
    writer.write(head.encode())
    async with asyncio.timeout(10):
        assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
        for word in (b"abc", b"defgh"):
            writer.write(word)
            assert await reader.readexactly(len(word)) == word[::-1]
    writer.close()


class Echoes(grpc.GenericRpcHandler):
    """A gRPC service: one answer to /p.S/Unary, three to /p.S/Stream."""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        if handler_call_details.method == "/p.S/Unary":
            return grpc.unary_unary_rpc_method_handler(self.unary)
        return grpc.stream_stream_rpc_method_handler(self.stream)

    async def unary(self, message: bytes, _: object) -> bytes:
        return message * 2

    async def stream(self, messages: AsyncIterator[bytes], _: object) -> AsyncIterator[bytes]:
        async for message in messages:
            yield message + b"!"


async def test_grpc_through_h2c(envoy: LoneEnvoy) -> None:
    server = grpc.aio.server(handlers=[Echoes()])
    (port,) = free_ports(1)
    assert server.add_insecure_port(f"{HOST}:{port}") == port
    await server.start()
    try:
        await envoy.pods((HOST, port), protocol=Protocol.H2C)
        async with grpc.aio.insecure_channel(f"{HOST}:{envoy.port}") as channel:
            token = (("authorization", TOKEN),)
            assert await channel.unary_unary(f"{PREFIX}/p.S/Unary")(b"a", metadata=token, timeout=10) == b"aa"
            call = channel.stream_stream(f"{PREFIX}/p.S/Stream")(metadata=token, timeout=10)
            for word in (b"one", b"two"):  # each is answered before the next is said
                await call.write(word)
                assert await call.read() == word + b"!"
            await call.done_writing()
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await channel.unary_unary(f"{PREFIX}/p.S/Unary")(b"a", timeout=10)
            assert refused.value.code() == grpc.StatusCode.UNAUTHENTICATED
            await envoy.pods(protocol=Protocol.H2C)
            with pytest.raises(grpc.aio.AioRpcError) as nobody:
                await channel.unary_unary(f"{PREFIX}/p.S/Unary")(b"a", metadata=token, timeout=10)
            assert nobody.value.code() == grpc.StatusCode.UNAVAILABLE
    finally:
        await server.stop(0)


async def test_silence_is_cut_by_the_routes_idle_timeout_alone() -> None:
    """It begins when a pod has the request, whether somebody was asked about that or not; waiting for a pod has limits of its own."""

    begun: Counter[str] = Counter()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await read_head(reader)
        assert head is not None
        begun[head.path] += 1
        await asyncio.sleep(0.5 if head.path == "/short" else 60)
        writer.write(reply(200, b"at last", "connection: close"))

    async with lone_envoy(idle_timeout_seconds=2) as envoy:
        await envoy.pods(await envoy.listen(silent))
        body = {"method": "POST", "body": b"x" * 100_000}

        async def call() -> None:
            calls = (envoy.get("/short"), envoy.get("/short", **body), envoy.get("/long"), envoy.get("/long", **body))
            *short, long, long_with_body = await asyncio.gather(*calls)
            assert [answer.body for answer in short] == [b"at last"] * 2
            for answer in (long, long_with_body):
                assert (answer.status, "idle timeout" in answer.json["detail"]) == (504, True)

        await call()
        envoy.gate.release = asyncio.Event()
        held = asyncio.create_task(call())
        await asyncio.sleep(4)
        assert not held.done()
        envoy.gate.release.set()
        await held
        envoy.gate.verdict_seconds = 60
        await envoy.get("/short")
        asked = len(envoy.gate.asked)
        await call()
        assert len(envoy.gate.asked) == asked
        assert begun["/long"] == 6, "none is tried again"


async def test_silence_is_cut_before_a_request_is_whole_too() -> None:
    """A body of which nothing has come when a pod has the head, and a WebSocket that the pod doesn't answer."""

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with lone_envoy(idle_timeout_seconds=1, cold_start_limit_seconds=1) as envoy:
        await envoy.pods(await envoy.listen(silent))
        upgrade = request(PREFIX + "/ws", "upgrade: websocket").replace(b"connection: close", b"connection: upgrade")
        for head in (request(PREFIX + "/x", "content-length: 5"), upgrade):
            cut = await envoy.send(head)
            assert cut.status in (408, 504)  # the former while the request isn't whole
            assert "idle timeout" in cut.json["detail"]
        assert len(envoy.gate.asked) == 2


PATHS = ("", "/", "?", "?q=/1", "/?q", "/x", "//x", "//", "/x/", "/%2fx?y=%2f", "/a;b=c", "/x?" + "y" * 2000)


async def test_a_path_is_the_same_to_the_service_whoever_let_it_through(envoy: LoneEnvoy) -> None:
    """By a route's pattern, or by the script that knows the verdict."""
    echo = Echo()
    await envoy.pods(await envoy.listen(echo))
    for path in PATHS:
        assert (await envoy.get(path)).status == 200, path
    envoy.gate.verdict_seconds = 60
    assert (await envoy.get("/x")).status == 200
    asked = len(envoy.gate.asked)
    for path in PATHS:
        assert (await envoy.get(path)).status == 200, path
    assert len(envoy.gate.asked) == asked
    lines = [head.line for head in echo.seen]
    assert lines[: len(PATHS)] == lines[-len(PATHS) :]
    assert lines[:4] == [f"GET {path} HTTP/1.1" for path in ("/", "/", "/?", "/?q=/1")]


@pytest.mark.parametrize("own", ["mine-1", "0192f3a0-1111-7222-8333-444455556666", "0192f3a0-1111-9222-8333-444455556666"])
async def test_a_callers_own_request_id_reaches_the_service(envoy: LoneEnvoy, own: str) -> None:
    """As it is: in one with a UUID's form Envoy would write what it has decided about tracing. Who has none gets one."""
    echo = Echo()
    await envoy.pods(await envoy.listen(echo))
    envoy.gate.verdict_seconds = 60
    for _ in range(3):  # the first is asked about
        assert (await envoy.get("/x", f"x-request-id: {own}")).status == 200
    assert [head.all("x-request-id") for head in echo.seen] == [[own]] * 3
    assert (await envoy.get("/x")).status == 200
    (given,) = echo.seen[-1].all("x-request-id")
    assert given not in ("", own)
