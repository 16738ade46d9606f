"""gRPC's side of a server: one connection.

KEDA asks three questions about each Workload at zero in every polling interval: of a thousand, 25 a second by default. gRPC's own server
for asyncio spends 0.6 ms of CPU on each, since every question wakes three threads, and 25 KB on each of the streams that stay open; this
takes 0.25 ms and 3 KB (docs/design/0002-ledger.md). An Envoy's report, one a second, keeps its threads awake for most of that second. What
is left out here: compression, and deadlines (whoever gives up says so). Calls: gRPC's PROTOCOL-HTTP2; frames: RFC 9113 section 6.

Here is what a client says, frame by frame; what is said to it is in streams.py. Both stand next to the transport: a layer between them
would cost as much as what they do.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Final, cast

from roadstead.gateway.accepting import Accepted, accepting
from roadstead.gateway.rpc.calls import Calls, Refused, Status
from roadstead.gateway.rpc.frames import (
    ACK,
    END_HEADERS,
    END_STREAM,
    INITIAL_WINDOW_SIZE,
    LARGEST_FRAME,
    PREFACE,
    PRIORITY,
    WINDOW,
    Broken,
    Code,
    Frame,
    bare,
    frame,
    reset,
)
from roadstead.gateway.rpc.heads import NOT_GRPC, Heads
from roadstead.gateway.rpc.heard import Heard
from roadstead.gateway.rpc.streams import Stream, Streams

log = logging.getLogger(__name__)
MAX_CONCURRENT_STREAMS, MAX_HEADER_LIST_SIZE = 3, 6
"""Numbers of settings."""
MOST_HEAD: Final = 16_384
"""Bytes of the head of a call."""
BACKLOG: Final = 128
MOST_STREAMS: Final = 100_000
"""Of one connection; KEDA opens two for each ScaledObject, all by the same one, and beyond the most its questions would wait for ever."""
MOST_SETTINGS: Final = 1000
"""Frames of them, each of which may change all streams; grpc-go sends a dozen in the life of a connection."""
OUR_WINDOW: Final = 1_048_576
"""Bytes of messages that a client may send ahead of those that are whole: so many are kept for all of its streams together."""
MOST_PATH: Final = 200
GREETING_SECONDS: Final = 10.0
KEEPALIVE: Final = ((socket.TCP_KEEPIDLE, 60), (socket.TCP_KEEPINTVL, 10), (socket.TCP_KEEPCNT, 3), (socket.TCP_USER_TIMEOUT, 90_000))
"""A client whose node has died says no more: its streams end after a minute and a half. The last is for one that something was said to
since: Linux would say it again for a quarter of an hour.
"""
SETTINGS: Final = b"".join(
    number.to_bytes(2, "big") + value.to_bytes(4, "big")
    for number, value in ((MAX_CONCURRENT_STREAMS, MOST_STREAMS), (MAX_HEADER_LIST_SIZE, MOST_HEAD))
)


class Connection(Accepted):
    """One client's. Ends with it, or by ``dismiss``."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._transport: asyncio.Transport
        self._streams: Streams
        self._heads = Heads(MOST_HEAD)
        self._pieces = bytearray()
        self._greeted = False
        self._dismissed = False
        self._late: asyncio.TimerHandle | None = None
        self._settings_seen = 0
        self._last = 0
        self._head: tuple[int, int, bytearray] | None = None
        """Stream, flags and block of headers of which more must come."""
        self._room = WINDOW
        """What the client may still send on all streams together."""
        self._taken = OUR_WINDOW - WINDOW
        """Bytes that it hasn't been told yet that it may send as many more of."""

    def dismiss(self) -> None:
        """Say goodbye and close."""
        self._dismissed = True
        if self._late is None or self._transport.is_closing():  # its handshake goes on, or it is no more
            return
        if self._greeted:
            self._transport.write(self._goodbye(Code.NO_ERROR))
            self._streams.end_all()
        self._transport.close()

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if self._dismissed:
            self._transport.abort()
            return
        self._streams = Streams(self._calls, self._transport)
        self._late = asyncio.get_running_loop().call_later(GREETING_SECONDS, self._transport.abort)

    def pause_writing(self) -> None:
        self._transport.abort()  # whoever asks and reads no answers

    def connection_lost(self, exc: Exception | None) -> None:
        if self._late is not None:
            self._late.cancel()
            self._streams.drop_all()

    def data_received(self, data: bytes) -> None:
        pieces = self._pieces
        pieces += data
        at = 0
        try:
            if not self._greeted:
                if not PREFACE.startswith(bytes(pieces[: len(PREFACE)])):
                    raise Broken(Code.PROTOCOL_ERROR)
                if len(pieces) < len(PREFACE):
                    return
                self._greeted, at = True, len(PREFACE)
                self._greet()
            while len(pieces) - at >= 9 and not self._transport.is_closing():
                length, number = int.from_bytes(pieces[at : at + 3], "big"), int.from_bytes(pieces[at + 5 : at + 9], "big") & 0x7FFFFFFF
                if length > LARGEST_FRAME:
                    raise Broken(Code.FRAME_SIZE_ERROR)
                if len(pieces) - at < 9 + length:
                    break
                self._take(pieces[at + 3], pieces[at + 4], number, bytes(pieces[at + 9 : at + 9 + length]))
                at += 9 + length
        except Broken as broken:
            log.warning("A connection for gRPC is closed: %s, address=%s", broken, self._transport.get_extra_info("peername"))
            self._transport.write(self._goodbye(broken.code))
            self._transport.close()
            self._streams.drop_all()  # it may read the goodbye late or never
        del pieces[:at]

    def _greet(self) -> None:
        """Nobody is greeted before he has said something: health checks connect every second, and say nothing."""
        if self._late is not None:
            self._late.cancel()
        self._transport.set_write_buffer_limits(high=self._calls.most_unread)
        connected = self._transport.get_extra_info("socket")
        if connected is not None:
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for option, value in KEEPALIVE:
                connected.setsockopt(socket.IPPROTO_TCP, option, value)
        self._transport.write(frame(Frame.SETTINGS, 0, 0, SETTINGS))
        self._took(0)

    # What the client says

    def _take(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        if self._head is not None and (kind != Frame.CONTINUATION or number != self._head[0]):
            raise Broken(Code.PROTOCOL_ERROR)
        match kind:
            case Frame.HEADERS:
                payload = bare(payload, flags)[5 if flags & PRIORITY else 0 :]
                self._more_head(number, flags, bytearray(payload))
            case Frame.CONTINUATION if self._head is not None:
                _, first, block = self._head
                self._more_head(number, first | flags & END_HEADERS, block + payload)
            case Frame.DATA:
                self._data(number, flags, payload)
            case Frame.RST_STREAM:
                if (stream := self._streams.open.get(number)) is not None:
                    self._streams.drop(stream)
                    self._took(len(stream.body))
            case Frame.SETTINGS if not flags & ACK:
                self._settings(payload)
            case Frame.PING if not flags & ACK:
                self._transport.write(frame(Frame.PING, ACK, 0, payload))
            case Frame.WINDOW_UPDATE:
                self._streams.widen(number, int.from_bytes(payload, "big") & 0x7FFFFFFF)
            case Frame.CONTINUATION | Frame.PUSH_PROMISE:
                raise Broken(Code.PROTOCOL_ERROR)

    def _more_head(self, number: int, flags: int, block: bytearray) -> None:
        if len(block) > MOST_HEAD:
            raise Broken(Code.ENHANCE_YOUR_CALM)
        if not flags & END_HEADERS:
            self._head = number, flags, block
            return
        self._head = None
        fields = self._heads.read(bytes(block))  # whatever becomes of the call: the tables of both sides stay the same
        stream = self._streams.open.get(number)
        if stream is None and number > self._last:
            self._last = number
            stream = self._opened(number, fields)
        if stream is not None and flags & END_STREAM and not stream.asked:
            self._asked(stream)

    def _opened(self, number: int, fields: Mapping[bytes, bytes]) -> Stream | None:
        if number % 2 == 0:
            raise Broken(Code.PROTOCOL_ERROR)
        if len(self._streams.open) >= MOST_STREAMS:
            self._transport.write(reset(number, Code.REFUSED_STREAM))
            return None
        if not fields.get(b"content-type", b"").startswith(b"application/grpc"):
            self._transport.write(frame(Frame.HEADERS, END_HEADERS | END_STREAM, number, NOT_GRPC) + reset(number, Code.NO_ERROR))
            return None
        return self._streams.begin(number, fields.get(b":path", b"")[:MOST_PATH])

    def _data(self, number: int, flags: int, payload: bytes) -> None:
        self._room -= len(payload)
        if self._room < 0:
            raise Broken(Code.FLOW_CONTROL_ERROR)
        stream = self._streams.open.get(number)
        if stream is None or stream.asked:
            self._took(len(payload))
            return
        piece = bare(payload, flags)
        if stream.heard is not None:
            self._hear(stream, stream.heard, piece, len(payload), flags)
            return
        stream.body += piece
        self._took(len(payload) - len(piece))
        if len(stream.body) > self._calls.most_bytes:
            self._streams.refuse(stream, Status.RESOURCE_EXHAUSTED, f"a message has at most {self._calls.most_bytes} bytes")
            self._took(len(stream.body))
        elif flags & END_STREAM:
            self._asked(stream)

    def _hear(self, stream: Stream, heard: Heard, piece: bytes, size: int, flags: int) -> None:
        """One piece of several messages; with its padding it had that size."""
        self._took(size)
        try:
            heard.feed(piece)
        except Refused as refused:
            self._streams.refuse(stream, refused.status, refused.detail)
            return
        if flags & END_STREAM:
            self._asked(stream)
        elif more := heard.took(size):
            self._transport.write(frame(Frame.WINDOW_UPDATE, 0, stream.number, more.to_bytes(4, "big")))

    def _asked(self, stream: Stream) -> None:
        if stream.heard is not None:
            stream.asked = True
            try:
                stream.heard.close()
            except Refused as refused:
                self._streams.refuse(stream, refused.status, refused.detail)
            return
        body, stream.body = bytes(stream.body), bytearray()
        self._took(len(body))
        self._streams.call(stream, body)

    def _took(self, size: int) -> None:
        """So many bytes from the client are kept no longer."""
        self._taken += size
        if self._taken >= OUR_WINDOW // 2 and not self._transport.is_closing():
            self._transport.write(frame(Frame.WINDOW_UPDATE, 0, 0, self._taken.to_bytes(4, "big")))
            self._room += self._taken
            self._taken = 0

    def _settings(self, payload: bytes) -> None:
        self._settings_seen += 1
        if self._settings_seen > MOST_SETTINGS:
            raise Broken(Code.ENHANCE_YOUR_CALM)
        initial: int | None = None
        for at in range(0, len(payload) - 5, 6):
            if int.from_bytes(payload[at : at + 2], "big") == INITIAL_WINDOW_SIZE:
                initial = int.from_bytes(payload[at + 2 : at + 6], "big")
        self._transport.write(frame(Frame.SETTINGS, ACK, 0))
        if initial is not None:
            self._streams.resize(initial)

    def _goodbye(self, code: Code) -> bytes:
        return frame(Frame.GOAWAY, 0, 0, self._last.to_bytes(4, "big") + code.to_bytes(4, "big"))


def serving(
    make: Callable[[], Connection], host: str | None, port: int, tls: ssl.SSLContext | None = None
) -> AbstractAsyncContextManager[int]:
    """Take connections on that address (None: all) while the context lasts; port 0 finds a free one. Yields the port."""
    return accepting(make, host, port, tls, BACKLOG)
