"""The end of a server of HTTP/1.1: whoever is connected is let go, whatever is due. That of gRPC is in test_rpc_connection.py."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from roadstead.gateway.http import Connection, Request, listening, message

SECONDS = 5.0
HEAD = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"


class Slow(Connection):
    """Owes every answer but those to /now."""

    def answer(self, request: Request) -> None:
        if request.url == b"/now":
            self.reply(message(200, b""))


@pytest.mark.parametrize("said", [b"", HEAD[:10], HEAD], ids=["nothing", "half a head", "a whole one"])
async def test_whoever_is_connected_is_let_go_without_an_answer(said: bytes) -> None:
    async with listening(Slow, "127.0.0.1", 0) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(HEAD.replace(b"GET /", b"GET /now"))
        assert (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), SECONDS)).startswith(b"HTTP/1.1 200")
        writer.write(said)
        await asyncio.sleep(0.05)
    try:
        with suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(), SECONDS) == b""
    finally:
        writer.transport.abort()


async def test_its_port_is_free_again_at_once() -> None:
    async with listening(Slow, "127.0.0.1", 0) as port:
        pass
    with pytest.raises(ConnectionError):
        await asyncio.open_connection("127.0.0.1", port)
    async with listening(Slow, "127.0.0.1", port) as again:
        assert again == port
