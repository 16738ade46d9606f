"""A server of HTTP/2 that says one thing: to every request the same answer, without having understood it (no HPACK state)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from roadstead.gateway.rpc.frames import ACK, END_HEADERS, END_STREAM, INITIAL_WINDOW_SIZE, LARGEST_FRAME, WINDOW, Frame, frame

NAMES: Final = {b":status": 8, b"content-length": 28, b"content-type": 31, b"retry-after": 53}
"""Places in HPACK's static table."""


class Http2:
    """One connection on which every request is answered with these headers and this body."""

    def __init__(self, transport: asyncio.Transport, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> None:
        self._transport = transport
        self._block = b"".join(_literal(name, value) for name, value in headers)
        self._bare = b"".join(_literal(name, value) for name, value in headers if not name.startswith(b"content-"))
        """Without a body: a length that isn't kept would be malformed (RFC 9113 section 8.1.1)."""
        self._body = body
        self._window = self._stream_window = WINDOW
        """What may still be sent in bodies of all streams together, and in that of one."""
        self._last = 0
        """The newest stream; what comes on it again are the trailers of a request that has its answer."""
        self._pieces = bytearray()
        transport.write(frame(Frame.SETTINGS, 0, 0))

    def feed(self, data: bytes) -> None:
        """What came after the preface."""
        pieces = self._pieces
        pieces += data
        while len(pieces) >= 9 and not self._transport.is_closing():
            length, stream = int.from_bytes(pieces[:3], "big"), int.from_bytes(pieces[5:9], "big") & 0x7FFFFFFF
            if length > LARGEST_FRAME:
                self._transport.close()
                return
            if len(pieces) < 9 + length:
                return
            self._take(pieces[3], pieces[4], stream, bytes(pieces[9 : 9 + length]))
            del pieces[: 9 + length]

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        match kind:
            case Frame.DATA if payload:
                self._transport.write(frame(Frame.WINDOW_UPDATE, 0, 0, len(payload).to_bytes(4, "big")))
            case Frame.HEADERS | Frame.CONTINUATION if flags & END_HEADERS and stream > self._last:
                self._last = stream
                self._answer(stream)
            case Frame.SETTINGS if not flags & ACK:
                for at in range(0, len(payload) - 5, 6):
                    if int.from_bytes(payload[at : at + 2], "big") == INITIAL_WINDOW_SIZE:
                        self._stream_window = int.from_bytes(payload[at + 2 : at + 6], "big")
                self._transport.write(frame(Frame.SETTINGS, ACK, 0))
            case Frame.PING if not flags & ACK:
                self._transport.write(frame(Frame.PING, ACK, 0, payload))
            case Frame.GOAWAY:
                self._transport.close()
            case Frame.WINDOW_UPDATE if stream == 0:
                self._window += int.from_bytes(payload, "big")

    def _answer(self, stream: int) -> None:
        if min(self._window, self._stream_window) < len(self._body):  # better no sentence than a broken connection
            self._transport.write(frame(Frame.HEADERS, END_HEADERS | END_STREAM, stream, self._bare))
            return
        self._window -= len(self._body)
        self._transport.write(frame(Frame.HEADERS, END_HEADERS, stream, self._block) + frame(Frame.DATA, END_STREAM, stream, self._body))


def _literal(name: bytes, value: bytes) -> bytes:
    place = NAMES[name]
    return (bytes((place,)) if place < 15 else bytes((15, place - 15))) + bytes((len(value),)) + value
