"""Containers that speak TLS: the version of HTTP is agreed upon, and each kind of request gets one that can carry it."""

from __future__ import annotations

import asyncio
import ssl
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from hack.cluster.certificates import Authority, Pair
from hack.cluster.control import free_ports
from roadstead.api.container import Protocol
from roadstead.gateway.rpc.frames import PREFACE
from tests.support.lone_envoy import HOST, PREFIX, TOKEN, Echo, LoneEnvoy, lone_envoy, read_head, reply
from tests.support.one_answer import Http2


@pytest.fixture
async def envoy() -> AsyncIterator[LoneEnvoy]:
    async with lone_envoy() as one:
        yield one
        assert one.store.rejected == 0, one.log()


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    """A certificate that nobody has a reason to believe, as containers have."""
    return Authority.create(tmp_path).server("pod", ["pod"], [])


def offering(pair: Pair, *protocols: str) -> ssl.SSLContext:
    """A server's side of TLS that offers these by ALPN; without any it doesn't know of ALPN."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    if protocols:
        context.set_alpn_protocols(protocols)
    return context


class Both:
    """A server of HTTP/2 and 1.1 that knows WebSockets in 1.1 alone, as most do: HTTP/2's extended CONNECT (RFC 8441) gets 405."""

    def __init__(self) -> None:
        self.chosen: Counter[str] = Counter()
        """Of each connection the protocol that was agreed upon."""

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        protocol = writer.get_extra_info("ssl_object").selected_alpn_protocol()
        self.chosen[str(protocol)] += 1
        if protocol == "h2":
            assert await reader.readexactly(len(PREFACE)) == PREFACE
            transport: Any = writer.transport
            connection = Http2(transport, ((b":status", b"405"), (b"content-length", b"2")), b"no")
            while data := await reader.read(65_536):
                connection.feed(data)
        while (head := await read_head(reader)) is not None:
            if head.all("upgrade") != ["websocket"]:
                writer.write(reply(200, b"in 1.1"))
                continue
            writer.write(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n")
            while data := await reader.read(100):
                writer.write(data[::-1])


async def talk(envoy: LoneEnvoy) -> None:
    """Open a WebSocket and say a word in it, which comes back from behind."""
    reader, writer = await asyncio.open_connection(HOST, envoy.port)
    head = f"GET {PREFIX}/ws HTTP/1.1\r\nhost: a\r\nauthorization: {TOKEN}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
    writer.write(head.encode())
    try:
        async with asyncio.timeout(10):
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
            writer.write(b"abc")
            assert await reader.readexactly(3) == b"cba"
    finally:
        writer.close()


async def test_whatever_a_pods_certificate_says(envoy: LoneEnvoy, pair: Pair) -> None:
    """It is nobody's we know."""
    await envoy.pods(await envoy.listen(Echo(), ssl=offering(pair)), protocol=Protocol.HTTPS)
    assert (await envoy.get("/x")).body == b"echo"
    await envoy.pods(protocol=Protocol.HTTPS)
    nobody = await envoy.get("/x")
    assert (nobody.status, nobody.header("retry-after")) == (503, "1")


async def test_a_websocket_goes_in_http_1_whatever_else_is_offered(envoy: LoneEnvoy, pair: Pair) -> None:
    """Asked about, and remembered; between requests that have made Envoy learn that the server speaks HTTP/2."""
    for offered in (("h2", "http/1.1"), ("http/1.1",), ()):
        server = Both()
        envoy.gate.verdict_seconds = 60
        await envoy.pods(await envoy.listen(server, ssl=offering(pair, *offered)), protocol=Protocol.HTTPS)
        plain = 405 if "h2" in offered else 200
        for _ in range(2):
            assert (await envoy.get("/x")).status == plain
            await talk(envoy)
        expected = {"h2", "http/1.1"} if "h2" in offered else {str(offered[0] if offered else None)}
        assert set(server.chosen) == expected


async def test_grpc_over_tls(envoy: LoneEnvoy, pair: Pair) -> None:
    """A server of gRPC offers HTTP/2 and nothing else."""

    async def twice(message: bytes, _: object) -> bytes:
        return message * 2

    async def counted(message: bytes, _: object) -> AsyncIterator[bytes]:
        for number in range(3):
            yield b"%d %b" % (number, message)

    handlers = {"Unary": grpc.unary_unary_rpc_method_handler(twice), "Stream": grpc.unary_stream_rpc_method_handler(counted)}
    server = grpc.aio.server(handlers=[grpc.method_handlers_generic_handler("p.S", handlers)])
    credentials = grpc.ssl_server_credentials([(pair.key.read_bytes(), pair.certificate.read_bytes())])
    (port,) = free_ports(1)
    assert server.add_secure_port(f"{HOST}:{port}", credentials) == port
    await server.start()
    try:
        await envoy.pods((HOST, port), protocol=Protocol.HTTPS)
        async with grpc.aio.insecure_channel(f"{HOST}:{envoy.port}") as channel:
            token = (("authorization", TOKEN),)
            assert await channel.unary_unary(f"{PREFIX}/p.S/Unary")(b"a", metadata=token, timeout=10) == b"aa"
            stream = channel.unary_stream(f"{PREFIX}/p.S/Stream")(b"b", metadata=token, timeout=10)
            assert [message async for message in stream] == [b"0 b", b"1 b", b"2 b"]
    finally:
        await server.stop(0)
