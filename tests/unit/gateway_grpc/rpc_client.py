"""A client of our own gRPC's that writes its frames itself, since it has to be odd, slow and hostile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from hpack import Decoder, Encoder

from roadstead.gateway.rpc.calls import Calls
from roadstead.gateway.rpc.connection import Connection, serving
from roadstead.gateway.rpc.frames import END_HEADERS, END_STREAM, PREFACE, Frame, frame

SECONDS = 5.0
INITIAL_WINDOW = b"\0\4"
GREETING = PREFACE + frame(Frame.SETTINGS, 0, 0)


class Client:
    """One connection, whose frames a test writes itself."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.encoder, self.decoder = Encoder(), Decoder()

    def send(self, *frames: bytes) -> None:
        self.writer.write(b"".join(frames))

    def head(self, number: int, path: bytes, flags: int = END_HEADERS, content_type: str = "application/grpc+proto") -> bytes:
        fields = [(":method", "POST"), (":scheme", "http"), (":path", path.decode()), ("content-type", content_type), ("te", "trailers")]
        return frame(Frame.HEADERS, flags, number, self.encoder.encode(fields))

    def call(self, number: int, path: bytes, message: bytes = b"") -> None:
        self.send(self.head(number, path), frame(Frame.DATA, END_STREAM, number, framed(message)))

    async def frame(self) -> tuple[int, int, int, bytes]:
        """Kind, flags, stream and payload of the next one; raises IncompleteReadError at the end."""
        async with asyncio.timeout(SECONDS):
            head = await self.reader.readexactly(9)
            return head[3], head[4], int.from_bytes(head[5:], "big"), await self.reader.readexactly(int.from_bytes(head[:3], "big"))

    async def next(self, kind: Frame, number: int) -> tuple[int, bytes]:
        """Flags and payload of the next of a kind on a stream; SETTINGS and what else is said meanwhile is passed over."""
        while True:
            found, flags, stream, payload = await self.frame()
            if (found, stream) == (kind, number):
                return flags, payload

    async def answer(self, number: int) -> tuple[dict[str, str], bytes]:
        """All headers of a call, trailers among them, and all of its bytes."""
        headers: dict[str, str] = {}
        body = b""
        while True:
            kind, flags, stream, payload = await self.frame()
            if kind == Frame.HEADERS:
                decoded = dict(self.decoder.decode(payload))
                headers |= decoded if stream == number else {}
            if stream == number and kind == Frame.DATA:
                body += payload
            if stream == number and flags & END_STREAM and kind in (Frame.HEADERS, Frame.DATA):
                return headers, body

    async def closed(self) -> int:
        """The code by which the server says goodbye before it closes the connection."""
        _, payload = await self.next(Frame.GOAWAY, 0)
        async with asyncio.timeout(SECONDS):
            assert await self.reader.read() == b""
        return int.from_bytes(payload[4:8], "big")


def framed(message: bytes, compressed: int = 0) -> bytes:
    return bytes((compressed,)) + len(message).to_bytes(4, "big") + message


Connect = Callable[..., Awaitable[Client]]
"""Another client's connection; by default it has greeted."""


@asynccontextmanager
async def clients(calls: Calls) -> AsyncIterator[Connect]:
    """Serve those calls, to as many clients as are asked for."""
    made: list[Client] = []
    async with serving(lambda: Connection(calls), "127.0.0.1", 0) as port:

        async def connect(greeting: bytes = GREETING) -> Client:
            client = Client(*await asyncio.open_connection("127.0.0.1", port))
            client.writer.write(greeting)
            made.append(client)
            return client

        try:
            yield connect
        finally:
            for client in made:
                client.writer.close()
