"""A port in front of several, as a Service is: each connection goes to the first that takes it, and ends with it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

CHUNK_BYTES = 65536
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Relay:
    """Runs in a thread of its own; what goes through is not looked at."""

    def __init__(self, ports: Sequence[int]) -> None:
        self.port = 0
        self._ports = ports
        self._listens = threading.Event()
        self._loop: asyncio.AbstractEventLoop
        self._ended: asyncio.Event
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    def start(self) -> None:
        self._thread.start()
        assert self._listens.wait(10)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(10)

    async def _serve(self) -> None:
        self._loop, self._ended = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._taken, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._listens.set()
        await self._ended.wait()
        server.close()

    async def _taken(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            behind = await self._connect()
            if behind is None:
                return
            try:
                await asyncio.gather(_pass_on(reader, behind[1]), _pass_on(behind[0], writer))
            finally:
                behind[1].close()
        finally:
            writer.close()

    async def _connect(self) -> Streams | None:
        for port in self._ports:
            with suppress(OSError):
                return await asyncio.open_connection("127.0.0.1", port)
        return None


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(CHUNK_BYTES):
            writer.write(data)
            await writer.drain()
    writer.close()


@contextmanager
def relaying(*ports: int) -> Iterator[int]:
    """For the length of the block; tells its port."""
    relay = Relay(ports)
    relay.start()
    try:
        yield relay.port
    finally:
        relay.stop()
