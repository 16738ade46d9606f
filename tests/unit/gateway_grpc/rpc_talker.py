"""Talks of both sides for the tests of our gRPC server: its handlers, and the words they say."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.wrappers_pb2 import BytesValue

from roadstead.gateway.rpc.calls import Calls, Refused, Status, talk
from roadstead.gateway.rpc.frames import ACK, PREFACE, WINDOW, Frame, frame
from tests.unit.gateway_grpc.rpc_client import INITIAL_WINDOW, SECONDS, Client, Connect, clients, framed

ECHO, SIZES, LARGE, REFUSE, BREAK = b"/t/Echo", b"/t/Sizes", b"/t/Large", b"/t/Refuse", b"/t/Break"
FIRST, GIVEN_UP, LATE = b"/t/First", b"/t/GivenUp", b"/t/Late"
MIB = 1_048_576
MOST_BYTES, MOST_UNREAD = 8 * MIB, 64 * MIB
LARGEST_WINDOW = 2**31 - 1
WIDE = PREFACE + frame(Frame.SETTINGS, 0, 0, INITIAL_WINDOW + LARGEST_WINDOW.to_bytes(4, "big"))
WIDE += frame(Frame.WINDOW_UPDATE, 0, 0, (LARGEST_WINDOW - WINDOW).to_bytes(4, "big"))
"""The greeting of a client that takes as much as there is."""
PING = frame(Frame.PING, 0, 0, b"01234567")
CANCEL = (8).to_bytes(4, "big")


@dataclass
class Server:
    """Its handlers, and what has become of the talk that was begun last."""

    heard: asyncio.Queue[bytes] = field(default_factory=asyncio.Queue)
    told: int = 0
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    def calls(self) -> Calls:
        serves = {ECHO: self.echo, SIZES: self.sizes, LARGE: self.large, REFUSE: self.refuse, BREAK: self.breaks}
        serves |= {FIRST: self.first, GIVEN_UP: self.given_up, LATE: self.late}
        return Calls(
            talks={path: talk(serve, BytesValue) for path, serve in serves.items()}, most_bytes=MOST_BYTES, most_unread=MOST_UNREAD
        )

    async def echo(self, requests: AsyncIterator[Any], context: object) -> AsyncGenerator[Any, None]:
        try:
            async for request in requests:
                self.heard.put_nowait(request.value)
                yield request
        finally:
            self.ended.set()

    async def sizes(self, requests: AsyncIterator[Any], context: object) -> AsyncGenerator[Any, None]:
        """Of all that it hears, once it has heard all."""
        found = [len(request.value) async for request in requests]
        yield BytesValue(value=repr(found).encode())

    async def large(self, requests: AsyncIterator[Any], context: object) -> AsyncGenerator[Any, None]:
        """As many messages as there are numbers, of so many bytes."""
        try:
            async for request in requests:
                for size in request.value.split():
                    self.told += 1
                    yield BytesValue(value=bytes(int(size)))
        finally:
            self.ended.set()

    async def refuse(self, requests: AsyncIterator[Any], context: object) -> AsyncGenerator[Any, None]:
        async for request in requests:
            yield request
            raise Refused(Status.NOT_FOUND, "no such thing")

    async def breaks(self, requests: AsyncIterator[Any], context: object) -> AsyncGenerator[Any, None]:
        async for request in requests:
            yield request
            raise RuntimeError("a defect")

    async def first(self, requests: AsyncIterator[Any], context: object) -> AsyncGenerator[Any, None]:
        """Has enough after a message."""
        async for request in requests:
            yield request
            return

    async def given_up(self, requests: AsyncIterator[Any], context: object) -> AsyncGenerator[Any, None]:
        """Something that it waits for was cancelled, not the talk."""
        async for request in requests:
            yield request
            raise asyncio.CancelledError

    async def late(self, requests: AsyncIterator[Any], context: object) -> AsyncGenerator[Any, None]:
        """Notices too late that its client has gone."""
        try:
            async for request in requests:
                yield request
        except asyncio.CancelledError:
            yield BytesValue(value=b"late")
        finally:
            self.ended.set()


@asynccontextmanager
async def talking(server: Server) -> AsyncIterator[Connect]:
    """Nothing may be left of the talks in the end, nor may one have failed without a word."""
    odd: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: odd.append(context))
    before = asyncio.all_tasks()
    async with clients(server.calls()) as connected:
        yield connected
    async with asyncio.timeout(SECONDS):
        while asyncio.all_tasks() - before - {asyncio.current_task()}:  # noqa: ASYNC110 - no event for it
            await asyncio.sleep(0.01)
    gc.collect()
    assert odd == []


def word(value: bytes) -> bytes:
    """A message, as it is in DATA frames."""
    return framed(BytesValue(value=value).SerializeToString())


def words(body: bytes) -> list[bytes]:
    """What the messages of an answer say."""
    found = []
    while body:
        size = 5 + int.from_bytes(body[1:5], "big")
        found.append(BytesValue.FromString(body[5:size]).value)
        body = body[size:]
    return found


async def next_words(client: Client, number: int, size: int) -> bytes:
    """So many bytes of DATA on a stream."""
    body = b""
    while len(body) < size:
        body += (await client.next(Frame.DATA, number))[1]
    return body


async def quiet(client: Client) -> None:
    """Nothing more was said."""
    client.send(PING)
    kind, flags, _, payload = await client.frame()
    assert (kind, flags, payload) == (Frame.PING, ACK, b"01234567")
