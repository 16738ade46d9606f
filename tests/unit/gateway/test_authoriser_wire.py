"""The authoriser's HTTP: what is none, what is too much of it, and how connections end."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from roadstead.gateway import http
from roadstead.gateway.directory import WORKLOAD
from roadstead.gateway.http import listening
from tests.unit.gateway.authoriser_world import Gateway, path_of
from tests.unit.gateway.reviewer import wire
from tests.unit.kube.fake import until


class TestWire:
    @pytest.mark.parametrize("junk", [b"\x16\x03\x01\x02\x00\x01\x00", b"GET\r\n\r\n", b"GET / HTTP/1.1\r\nno colon\r\n\r\n", b"\0" * 5000])
    async def test_what_is_no_http_ends_the_connection(self, gateway: Gateway, junk: bytes) -> None:
        connection = await gateway.wire()
        connection.writer.write(junk)
        assert (await connection.hear()).status == 400, "without a word Envoy would ask the same again and again"
        assert await connection.over()

    async def test_a_head_may_not_be_huge(self, gateway: Gateway) -> None:
        connection = await gateway.wire()
        connection.ask("/", x_a="a" * http.MOST_BYTES)
        assert (await connection.hear()).status == 431

    async def test_nor_grow_without_end(self, gateway: Gateway) -> None:
        """The parser keeps the pieces of a header to itself until its line is complete."""
        connection = await gateway.wire()
        connection.writer.write(b"GET / HTTP/1.1\r\nx-a: ")
        sent = 0
        while not connection.writer.transport.is_closing() and sent < 10 * http.MOST_BYTES:
            connection.writer.write(b"a" * 1000)
            sent += 1000
            await asyncio.sleep(0.001)
        assert sent < 3 * http.MOST_BYTES

    async def test_nor_have_too_many_lines(self, gateway: Gateway) -> None:
        connection = await gateway.wire()
        connection.ask("/", **{f"x_{number}": "a" for number in range(http.MOST_HEADERS + 1)})
        assert (await connection.hear()).status == 431

    async def test_nor_take_for_ever(self, gateway: Gateway) -> None:
        connection = await gateway.wire()
        connection.writer.write(b"GET / HTTP/1.1\r\n")
        assert await connection.over()

    async def test_pieces_make_a_whole(self, warm: Gateway) -> None:
        connection = await warm.wire()
        for byte in f"GET {path_of(WORKLOAD)} HTTP/1.1\r\nAuthorization: Bearer editor\r\nContent-Length: 0\r\n\r\n".encode():
            connection.writer.write(bytes((byte,)))
            await asyncio.sleep(0)
        assert (await connection.hear()).status == 200

    async def test_bodies_are_passed_over(self, warm: Gateway) -> None:
        connection = await warm.wire()
        for _ in range(2):
            connection.ask(path_of(WORKLOAD), method="POST", body=b"x" * 100_000, content_length="100000", authorization="Bearer editor")
            assert (await connection.hear()).status == 200

    async def test_who_asks_for_the_end_gets_it_after_the_answer(self, warm: Gateway) -> None:
        connection = await warm.wire()
        connection.ask(path_of(WORKLOAD), authorization="Bearer stranger", connection="close")
        assert (await connection.hear()).status == 404
        assert await connection.over()

    async def test_the_end_of_the_listener_is_the_end_of_its_connections(self, gateway: Gateway) -> None:
        async with AsyncExitStack() as clients:
            async with listening(gateway.authoriser, "127.0.0.1", 0) as port:
                idle, told, waiting = [await clients.enter_async_context(wire(port)) for _ in range(3)]
                waiting.ask(path_of(WORKLOAD), authorization="Bearer editor")
                told.ask("/")
                await until(lambda: gateway.world.waking.total == 1)
            assert (await told.hear()).status == 404
            assert all([await connection.over() for connection in (idle, told, waiting)])
        await until(lambda: gateway.world.waking.total == 0)
