"""What is under way in a gateway pod that is about to go lasts until its own end, however long Envoy means to drain for.

Envoy has two times for that: ``--drain-time-s``, for its listener (ten minutes unless it is told otherwise), and five seconds for a
connection that it has asked to close. Requests that last for hours are longer: nothing may happen to them. The only limit is the pod's.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc.aio
import pytest

from hack.cluster.control import free_ports
from roadstead.api.container import Protocol
from roadstead.gateway.admin import Admin
from tests.support.lone_envoy import HOST, PREFIX, TOKEN, Echo, LoneEnvoy, lone_envoy, read_head, reply, request

DRAIN_SECONDS, CLOSING_SECONDS = 1, 6
FLAGS = ("--drain-time-s", str(DRAIN_SECONDS), "--drain-strategy", "immediate")  # the latter as in the chart


@pytest.fixture
async def envoy() -> AsyncIterator[LoneEnvoy]:
    async with lone_envoy(flags=FLAGS) as one:
        yield one


async def drain(envoy: LoneEnvoy) -> None:
    """As the gateway's process does it; returns long after Envoy's time is over. Who comes now is served, and asked to go elsewhere."""
    assert "OK" in await envoy.admin("/drain_listeners?graceful&skip_exit", "POST")
    await asyncio.sleep(3 * DRAIN_SECONDS)
    reader, writer = await asyncio.open_connection(HOST, envoy.port)
    writer.write(b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n")
    head = await reader.readuntil(b"\r\n\r\n")
    writer.close()
    assert head.startswith(b"HTTP/1.1 200 ")
    assert b"connection: close" in head


async def test_streams_and_held_requests_outlast_the_drain(envoy: LoneEnvoy) -> None:
    """Events, a WebSocket, a silent answer, and a request that still waits for a pod. The pod closes the connection after each."""
    over = asyncio.Event()

    async def pod(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await read_head(reader)
        match head and head.path:
            case "/events":
                writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n")
                await over.wait()
                writer.write(b"4\r\nlast\r\n0\r\n\r\n")
            case "/ws":
                writer.write(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n")
                while data := await reader.read(100):
                    writer.write(data[::-1])
            case "/silent":
                await over.wait()
                writer.write(reply(200, b"at last", "connection: close"))
            case "/held":
                writer.write(reply(200, b"served", "connection: close"))

    await envoy.pods(await envoy.listen(pod))
    (events, to_events), (socket, to_socket) = [await asyncio.open_connection(HOST, envoy.port) for _ in range(2)]
    try:
        to_events.write(request(PREFIX + "/events"))
        await events.readuntil(b"first")
        upgrade = f"authorization: {TOKEN}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
        to_socket.write(f"GET {PREFIX}/ws HTTP/1.1\r\nhost: a\r\n{upgrade}".encode())
        await socket.readuntil(b"\r\n\r\n")
        silent = asyncio.create_task(envoy.get("/silent"))
        while len(envoy.gate.asked) < 3:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        envoy.gate.release = asyncio.Event()
        held = asyncio.create_task(envoy.get("/held"))
        while len(envoy.gate.asked) < 4:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        await drain(envoy)
        to_socket.write(b"abc")
        assert await socket.readexactly(3) == b"cba"
        envoy.gate.release.set()
        over.set()
        assert (await held).body == b"served"
        assert (await silent).body == b"at last"
        await events.readuntil(b"last\r\n0\r\n\r\n")
    finally:
        to_events.close()
        to_socket.close()


async def test_a_call_of_grpc_outlasts_the_drain(envoy: LoneEnvoy) -> None:
    """Its connection is told to take no more calls, with the answer to another; the one that is under way goes on, both ways."""

    async def same(message: bytes, _: object) -> bytes:
        return message

    async def echo(messages: AsyncIterator[bytes], _: object) -> AsyncIterator[bytes]:
        async for message in messages:
            yield message + b"!"

    handlers = {"Echo": grpc.stream_stream_rpc_method_handler(echo), "Unary": grpc.unary_unary_rpc_method_handler(same)}
    server = grpc.aio.server(handlers=[grpc.method_handlers_generic_handler("p.S", handlers)])
    (port,) = free_ports(1)
    assert server.add_insecure_port(f"{HOST}:{port}") == port
    await server.start()
    try:
        await envoy.pods((HOST, port), protocol=Protocol.H2C)
        async with grpc.aio.insecure_channel(f"{HOST}:{envoy.port}") as channel:
            token = (("authorization", TOKEN),)
            call = channel.stream_stream(f"{PREFIX}/p.S/Echo")(metadata=token, timeout=30)
            await call.write(b"before")
            assert await call.read() == b"before!"
            await drain(envoy)
            assert await channel.unary_unary(f"{PREFIX}/p.S/Unary")(b"short", metadata=token, timeout=10) == b"short"
            await asyncio.sleep(CLOSING_SECONDS)
            for word in (b"after", b"and on"):
                await call.write(word)
                assert await call.read() == word + b"!"
            await call.done_writing()
            assert await call.read() is grpc.aio.EOF
    finally:
        await server.stop(0)


async def test_the_end_waits_for_what_envoy_says_is_under_way_and_for_a_rest(envoy: LoneEnvoy) -> None:
    """Figures of a real Envoy: what is asked for has to be what it calls them."""
    await envoy.pods(await envoy.listen(Echo()))
    async with Admin(envoy.admin_port) as admin:
        active, before = await admin.load() or (-1, -1)
        assert active == 0
        envoy.gate.release = asyncio.Event()
        held = asyncio.create_task(envoy.get("/x"))
        while not envoy.gate.asked:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        assert await admin.load() == (1, before + 1)
        ending = asyncio.create_task(admin.drained(60))
        await asyncio.sleep(2)
        assert not ending.done()
        envoy.gate.release.set()
        assert (await held).status == 200
        for _ in range(20):  # for two seconds, nothing under way in most moments
            await asyncio.sleep(0.1)
            assert (await envoy.get("/x")).status == 200
            assert not ending.done()
        async with asyncio.timeout(10):
            await ending
        assert await admin.load() == (0, before + 21)
