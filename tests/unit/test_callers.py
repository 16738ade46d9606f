"""The callers of the trouble tests: what they count as failed, they must have seen fail."""

from __future__ import annotations

import asyncio
import threading
from types import SimpleNamespace

from tests.support.callers import Callers

ANSWER = b'HTTP/1.1 200 OK\r\ncontent-length: 16\r\n\r\n{"hostname":"a"}'


async def test_a_kept_connection_that_breaks_under_a_request_is_a_failure() -> None:
    """HTTP clients like to try that again unasked."""
    asked, over = 0, threading.Event()

    async def server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        while head := await reader.readuntil(b"\r\n\r\n"):
            asked += b"/way" in head
            if asked == 2 and b"/way" in head:
                over.set()
                break
            writer.write(ANSWER)
        writer.close()

    async with await asyncio.start_server(server, "127.0.0.1", 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        replica = SimpleNamespace(name="one", url=f"http://127.0.0.1:{port}", ports={"health": port})
        callers = Callers([replica], "/way", "token", 1)  # type: ignore[list-item]
        callers.start()
        await asyncio.to_thread(over.wait, 10)
        await asyncio.to_thread(callers.stop)
    assert len(callers.called.failed) == 1
    assert "ServerDisconnectedError" in callers.called.failed[0][2]
