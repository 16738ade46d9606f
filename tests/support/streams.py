"""Long requests through the gateway to pods that run ``streamer.py`` or its like for gRPC: which pod carries each, and whether it is whole.

They run in a thread with a loop of its own, so that a test may wait for the cluster while they go on.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import grpc
import grpc.aio

Body = dict[str, Any]
PIECES, PIECE_BYTES, PAUSE_SECONDS = 500, 4096, 1.0
"""Of an upload: longer than any test, until it is hurried."""
SILENT_SECONDS = 60.0
"""After so long without a line a stream counts as failed."""
CLOSED_WELL = 1000
"""RFC 6455, 7.4.1."""


class Kind(StrEnum):
    """Also their paths."""

    EVENTS = "events"
    SOCKET = "socket"
    UPLOAD = "upload"
    CALL = "test.Lines/Say"
    """Of gRPC, with a stream for an answer."""


@dataclass(slots=True)
class Stream:
    """A request and what came of it: of an upload one line, when it is over."""

    kind: Kind
    lines: list[Body] = field(default_factory=list)
    ended: bool = False
    failure: str = ""

    @property
    def pod(self) -> str:
        """Who carries it; empty before the first line."""
        return str(self.lines[0]["pod"]) if self.lines else ""

    @property
    def outlasted(self) -> bool:
        """Whether its pod had got SIGTERM before its end."""
        return bool(self.lines and self.lines[-1]["terminating"])

    def flaw(self) -> str:
        """What it lacks; empty if it has ended and is whole, from one pod, in order, to its last line."""
        numbers = [line["number"] for line in self.lines]
        if self.failure or not self.ended:
            return f"{self.kind} on {self.pod or 'an unknown pod'}: {self.failure or 'not ended'} after lines {numbers}"
        if numbers != list(range(len(numbers))) or [line["last"] for line in self.lines] != [False] * (len(numbers) - 1) + [True]:
            return f"{self.kind} on {self.pod} isn't whole: {self.lines}"
        return "" if {line["pod"] for line in self.lines} == {self.pod} else f"{self.kind} of several pods: {self.lines}"


class Streams:
    """Those that are open, and those that were."""

    def __init__(self, loop: asyncio.AbstractEventLoop, token: str) -> None:
        self.opened: list[Stream] = []
        self._loop = loop
        self._headers = {"Authorization": f"Bearer {token}"}
        self._hurry = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    def open(self, kind: Kind, url: str) -> Stream:
        """Send a request for that kind of answer to the endpoint whose address is ``url``; each has a connection of its own."""
        made = Stream(kind)
        self.opened.append(made)
        self._loop.call_soon_threadsafe(self._start, made, f"{url}{kind}")
        return made

    def hurry(self) -> None:
        """Uploads send at once what they have left."""
        self._loop.call_soon_threadsafe(self._hurry.set)

    async def close(self) -> None:
        """End what is still open."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _start(self, stream: Stream, url: str) -> None:
        task = self._loop.create_task(self._run(stream, url))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, stream: Stream, url: str) -> None:
        ways: dict[Kind, Callable[[aiohttp.ClientSession, Stream, str], Coroutine[Any, Any, None]]]
        ways = {Kind.EVENTS: self._events, Kind.SOCKET: self._socket, Kind.UPLOAD: self._upload, Kind.CALL: self._call}
        timeout = aiohttp.ClientTimeout(total=None, sock_read=None if stream.kind is Kind.UPLOAD else SILENT_SECONDS)
        try:
            async with aiohttp.ClientSession(headers=self._headers, timeout=timeout) as session:
                await ways[stream.kind](session, stream, url)
        except (
            aiohttp.ClientError,
            grpc.aio.AioRpcError,
            OSError,
            ValueError,
            TypeError,
        ) as error:  # the last: a line in parts
            stream.failure = repr(error)
        finally:
            stream.ended = True

    async def _events(self, session: aiohttp.ClientSession, stream: Stream, url: str) -> None:
        async with session.get(url, raise_for_status=True) as answer:
            async for said in answer.content:
                if said.startswith(b"data: "):
                    stream.lines.append(json.loads(said.removeprefix(b"data: ")))

    async def _socket(self, session: aiohttp.ClientSession, stream: Stream, url: str) -> None:
        async with session.ws_connect(url) as socket:
            async for message in socket:
                stream.lines.append(json.loads(message.data))
        if socket.close_code != CLOSED_WELL:
            stream.failure = f"closed with {socket.close_code}"

    async def _call(self, _session: aiohttp.ClientSession, stream: Stream, url: str) -> None:
        where = urlsplit(url)
        headers = tuple((name.lower(), value) for name, value in self._headers.items())
        options = (("grpc.use_local_subchannel_pool", 1),)  # else all calls share a connection
        async with grpc.aio.insecure_channel(where.netloc, options=options) as channel:
            async for said in channel.unary_stream(where.path)(b"", metadata=headers):
                stream.lines.append(json.loads(said))

    async def _upload(self, session: aiohttp.ClientSession, stream: Stream, url: str) -> None:
        content = os.urandom(PIECES * PIECE_BYTES)
        headers = {"Content-Length": str(len(content))}
        async with session.post(url, data=self._pieces(content), headers=headers, raise_for_status=True) as answer:
            told = await answer.json()
        stream.lines.append(told)
        if (told["size"], told["sha256"]) != (len(content), hashlib.sha256(content).hexdigest()):
            stream.failure = f"something else arrived than was sent: {told}"

    async def _pieces(self, content: bytes) -> AsyncIterator[bytes]:
        for start in range(0, len(content), PIECE_BYTES):
            yield content[start : start + PIECE_BYTES]
            with suppress(TimeoutError):
                await asyncio.wait_for(self._hurry.wait(), PAUSE_SECONDS)


@contextmanager
def streaming(token: str) -> Iterator[Streams]:
    """Streams for the length of the block, which should see to it that they end."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    made = Streams(loop, token)
    try:
        yield made
    finally:
        asyncio.run_coroutine_threadsafe(made.close(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
