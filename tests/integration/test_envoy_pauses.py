"""Clients that read nothing for a while, since what they do with an answer takes its time (``curl … | slow``)."""

from __future__ import annotations

import asyncio

import pytest

from roadstead.gateway.rpc.frames import PREFACE, Frame, frame
from tests.integration.test_envoy_frames import END_HEADERS, END_STREAM, raw, request
from tests.support.lone_envoy import HOST, lone_envoy, read_head

MIB = 1_048_576
SIZE = 32 * MIB
"""More than fits into the buffers between the pod and the client, whose own windows are wider."""
WINDOW = 2**30
PAUSE_SECONDS = 100
"""Beyond the minute after which Envoy asks with a PING, and a while."""


@pytest.mark.long
async def test_one_of_http2_isnt_taken_for_gone() -> None:
    """It doesn't answer the PING either, which lies behind the rest of the answer."""

    async def large(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(f"HTTP/1.1 200 OK\r\ncontent-length: {SIZE}\r\n\r\n".encode())
        for _ in range(SIZE // MIB):
            writer.write(bytes(MIB))
            await writer.drain()

    async with lone_envoy() as envoy:
        await envoy.pods(await envoy.listen(large))
        reader, writer = await asyncio.open_connection(HOST, envoy.port)
        try:
            writer.write(PREFACE + frame(Frame.SETTINGS, 0, 0, b"\0\4" + (WINDOW - 1).to_bytes(4, "big")))
            writer.write(frame(Frame.WINDOW_UPDATE, 0, 0, WINDOW.to_bytes(4, "big")))
            writer.write(raw(Frame.HEADERS, END_HEADERS | END_STREAM, 1, request()))
            await asyncio.sleep(PAUSE_SECONDS)
            got, over = 0, False
            async with asyncio.timeout(60):
                while not over:
                    head = await reader.readexactly(9)
                    body = await reader.readexactly(int.from_bytes(head[:3], "big"))
                    if head[3] == Frame.DATA:
                        got, over = got + len(body), bool(head[4] & END_STREAM)
            assert got == SIZE
        finally:
            writer.close()
