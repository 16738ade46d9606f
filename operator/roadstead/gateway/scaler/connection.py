"""gRPC's side of a server for KEDA's questions: one connection, small messages, answers that are known at once.

KEDA asks three questions about each Workload at zero in every polling interval: of a thousand, 25 a second by default. gRPC's own server
for asyncio spends 0.6 ms of CPU on each, since every question wakes three threads, and 25 KB on each of the streams that stay open; this
takes 0.25 ms and 3 KB (docs/design/0002-ledger.md). What it leaves out: compression, deadlines (whoever gives up says so), messages of more
than MOST_BYTES, more than one message from a client. HPACK is a library's; frames: RFC 9113 section 6, calls: gRPC's PROTOCOL-HTTP2.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final, cast
from urllib.parse import quote
from weakref import WeakSet

from hpack import Decoder, Encoder, HPACKError, NeverIndexedHeaderTuple

from roadstead.gateway.http2 import ACK, END_HEADERS, END_STREAM, INITIAL_WINDOW_SIZE, LARGEST_FRAME, PREFACE, WINDOW, Frame, frame
from roadstead.gateway.scaler.calls import Calls, Refused, Say, Status

log = logging.getLogger(__name__)
PADDED, PRIORITY = 8, 32
MAX_CONCURRENT_STREAMS, MAX_HEADER_LIST_SIZE = 3, 6
"""Numbers of settings."""
MOST_BYTES: Final = 16_384
"""Of a message, and of the head of a call."""
MOST_DETAIL: Final = 500
"""Characters of a refusal. Some come from whoever wrote a ScaledObject, each takes 12 bytes at worst, and all have to fit one frame: at a
larger one grpc-go ends the connection, and with it everybody's streams.
"""
BACKLOG: Final = 128
MOST_STREAMS: Final = 100_000
"""Of one connection; KEDA opens two for each ScaledObject, all by the same one, and beyond the most its questions would wait for ever."""
MOST_KINDS: Final = 64
"""Of heads whose meaning is remembered; KEDA's calls are of five."""
MOST_SETTINGS: Final = 1000
"""Frames of them, each of which may change all streams; grpc-go sends a dozen in the life of a connection."""
MOST_UNREAD: Final = 4_194_304
"""Bytes that a client may leave unread before it is cut off."""
OUR_WINDOW: Final = 1_048_576
"""Bytes of messages that a client may send ahead of those that are whole: so many are kept for all of its streams together."""
MOST_PATH: Final = 200
GREETING_SECONDS: Final = 10.0
KEEPALIVE: Final = ((socket.TCP_KEEPIDLE, 60), (socket.TCP_KEEPINTVL, 10), (socket.TCP_KEEPCNT, 3), (socket.TCP_USER_TIMEOUT, 90_000))
"""A client whose node has died says no more: its streams end after a minute and a half. The last is for one that something was said to
since: Linux would say it again for a quarter of an hour.
"""
TEXT: Final = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")
PLACES: Final = bytes(range(0x81, 0xFF))
"""Fields in HPACK that are places in the tables, of one byte each."""


class _Code(IntEnum):
    """HTTP/2's."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    FLOW_CONTROL_ERROR = 3
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    COMPRESSION_ERROR = 9
    ENHANCE_YOUR_CALM = 11


class _Broken(Exception):
    """The client doesn't keep to HTTP/2: the connection can't go on."""

    def __init__(self, code: _Code) -> None:
        super().__init__(code.name)
        self.code = code


@dataclass(slots=True, eq=False)
class _Stream:
    number: int
    path: bytes
    window: int
    """Bytes of messages that the client takes on it; of all streams together it is the connection's."""
    body: bytearray = field(default_factory=bytearray)
    asked: bool = False
    """The client has said all."""
    begun: bool = False
    pending: bytearray = field(default_factory=bytearray)
    trailers: bytes | None = None
    """The end, once all that is pending is sent."""
    task: asyncio.Task[None] | None = None


def _block(*fields: tuple[bytes, bytes]) -> bytes:
    """Headers, encoded without a trace in the client's table: each block is the same wherever it is sent."""
    return Encoder().encode([NeverIndexedHeaderTuple(name, value) for name, value in fields])


STATUS, TYPE = (b":status", b"200"), (b"content-type", b"application/grpc")
HEAD: Final = _block(STATUS, TYPE)
DONE: Final = _block((b"grpc-status", b"0"))
NOT_GRPC: Final = _block((b":status", b"415"))


class Connection(asyncio.Protocol):
    """One client's. Ends with it, or by ``leave``."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._transport: asyncio.Transport
        self._decoder = Decoder(MOST_BYTES)
        self._decoded_before: dict[bytes, Mapping[bytes, bytes]] = {}
        self._pieces = bytearray()
        self._greeted = False
        self._left = False
        self._late: asyncio.TimerHandle | None = None
        self._streams: dict[int, _Stream] = {}
        self._stuck: OrderedDict[int, _Stream] = OrderedDict()
        """Those that wait for the client to take more on all together, and would be taken more of themselves."""
        self._settings_seen = 0
        self._last = 0
        self._head: tuple[int, int, bytearray] | None = None
        """Stream, flags and block of headers of which more must come."""
        self._window = self._initial = WINDOW
        """What may be sent on all streams together, and on a new one."""
        self._room = WINDOW
        """What the client may still send on all streams together."""
        self._taken = OUR_WINDOW - WINDOW
        """Bytes that it hasn't been told yet that it may send as many more of."""

    def leave(self) -> None:
        """Say goodbye and close. Streams end without an error: after one KEDA waits before it opens the next, twice as long as the last
        time up to a minute, and begins anew only after such an end (runStreamIsActive in its external_scaler.go).
        """
        self._left = True
        if self._late is None or self._transport.is_closing():  # its handshake goes on, or it is no more
            return
        self._transport.write(self._goodbye(_Code.NO_ERROR))
        for stream in list(self._streams.values()):
            if stream.task is None or stream.pending:
                self._refuse(stream, Status.UNAVAILABLE, "the gateway ends")
            else:
                self._end(stream)
        self._transport.close()

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if self._left:
            self._transport.abort()
            return
        self._transport.set_write_buffer_limits(high=MOST_UNREAD)
        connected = transport.get_extra_info("socket")
        if connected is not None:
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for option, value in KEEPALIVE:
                connected.setsockopt(socket.IPPROTO_TCP, option, value)
        self._late = asyncio.get_running_loop().call_later(GREETING_SECONDS, self._transport.abort)
        settings = b"".join(
            number.to_bytes(2, "big") + value.to_bytes(4, "big")
            for number, value in ((MAX_CONCURRENT_STREAMS, MOST_STREAMS), (MAX_HEADER_LIST_SIZE, MOST_BYTES))
        )
        self._transport.write(frame(Frame.SETTINGS, 0, 0, settings))
        self._took(0)

    def pause_writing(self) -> None:
        self._transport.abort()  # whoever asks and reads no answers

    def connection_lost(self, exc: Exception | None) -> None:
        if self._late is not None:
            self._late.cancel()
        for stream in list(self._streams.values()):
            self._drop(stream)

    def data_received(self, data: bytes) -> None:
        pieces = self._pieces
        pieces += data
        at = 0
        try:
            if not self._greeted:
                if not PREFACE.startswith(bytes(pieces[: len(PREFACE)])):
                    raise _Broken(_Code.PROTOCOL_ERROR)
                if len(pieces) < len(PREFACE):
                    return
                self._greeted, at = True, len(PREFACE)
                if self._late is not None:
                    self._late.cancel()
            while len(pieces) - at >= 9 and not self._transport.is_closing():
                length, number = int.from_bytes(pieces[at : at + 3], "big"), int.from_bytes(pieces[at + 5 : at + 9], "big") & 0x7FFFFFFF
                if length > LARGEST_FRAME:
                    raise _Broken(_Code.FRAME_SIZE_ERROR)
                if len(pieces) - at < 9 + length:
                    break
                self._take(pieces[at + 3], pieces[at + 4], number, bytes(pieces[at + 9 : at + 9 + length]))
                at += 9 + length
        except _Broken as broken:
            log.warning("A connection to the scaler is closed: %s, address=%s", broken, self._transport.get_extra_info("peername"))
            self._transport.write(self._goodbye(broken.code))
            self._transport.close()
        del pieces[:at]

    # What the client says

    def _take(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        if self._head is not None and (kind != Frame.CONTINUATION or number != self._head[0]):
            raise _Broken(_Code.PROTOCOL_ERROR)
        match kind:
            case Frame.HEADERS:
                payload = _bare(payload, flags)[5 if flags & PRIORITY else 0 :]
                self._more_head(number, flags, bytearray(payload))
            case Frame.CONTINUATION if self._head is not None:
                _, first, block = self._head
                self._more_head(number, first | flags & END_HEADERS, block + payload)
            case Frame.DATA:
                self._data(number, flags, payload)
            case Frame.RST_STREAM:
                if (stream := self._streams.get(number)) is not None:
                    self._drop(stream)
            case Frame.SETTINGS if not flags & ACK:
                self._settings(payload)
            case Frame.PING if not flags & ACK:
                self._transport.write(frame(Frame.PING, ACK, 0, payload))
            case Frame.WINDOW_UPDATE:
                self._window_update(number, int.from_bytes(payload, "big") & 0x7FFFFFFF)
            case Frame.CONTINUATION | Frame.PUSH_PROMISE:
                raise _Broken(_Code.PROTOCOL_ERROR)

    def _more_head(self, number: int, flags: int, block: bytearray) -> None:
        if len(block) > MOST_BYTES:
            raise _Broken(_Code.ENHANCE_YOUR_CALM)
        if not flags & END_HEADERS:
            self._head = number, flags, block
            return
        self._head = None
        fields = self._decoded(bytes(block))  # whatever becomes of the call: the tables of both sides stay the same
        stream = self._streams.get(number)
        if stream is None and number > self._last:
            self._last = number
            stream = self._opened(number, fields)
        if stream is not None and flags & END_STREAM and not stream.asked:
            self._asked(stream)

    def _decoded(self, block: bytes) -> Mapping[bytes, bytes]:
        """Headers. A block of nothing but places in the tables, as all but a client's first calls have, means the same until a block of
        another kind has changed them.
        """
        if (fields := self._decoded_before.get(block)) is not None:
            return fields
        try:
            fields = dict(self._decoder.decode(block, raw=True))
        except HPACKError as error:
            raise _Broken(_Code.COMPRESSION_ERROR) from error
        if block.translate(None, PLACES) or len(self._decoded_before) >= MOST_KINDS:
            self._decoded_before.clear()
        else:
            self._decoded_before[block] = fields
        return fields

    def _opened(self, number: int, fields: Mapping[bytes, bytes]) -> _Stream | None:
        if number % 2 == 0:
            raise _Broken(_Code.PROTOCOL_ERROR)
        if len(self._streams) >= MOST_STREAMS:
            self._transport.write(_reset(number, _Code.REFUSED_STREAM))
            return None
        if not fields.get(b"content-type", b"").startswith(b"application/grpc"):
            self._transport.write(frame(Frame.HEADERS, END_HEADERS | END_STREAM, number, NOT_GRPC) + _reset(number, _Code.NO_ERROR))
            return None
        stream = self._streams[number] = _Stream(number, fields.get(b":path", b"")[:MOST_PATH], self._initial)
        return stream

    def _data(self, number: int, flags: int, payload: bytes) -> None:
        self._room -= len(payload)
        if self._room < 0:
            raise _Broken(_Code.FLOW_CONTROL_ERROR)
        stream = self._streams.get(number)
        if stream is None or stream.asked:
            self._took(len(payload))
            return
        piece = _bare(payload, flags)
        stream.body += piece
        self._took(len(payload) - len(piece))
        if len(stream.body) > MOST_BYTES:
            self._refuse(stream, Status.RESOURCE_EXHAUSTED, f"a message has at most {MOST_BYTES} bytes")
        elif flags & END_STREAM:
            self._asked(stream)

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
            raise _Broken(_Code.ENHANCE_YOUR_CALM)
        before = self._initial
        for at in range(0, len(payload) - 5, 6):
            if int.from_bytes(payload[at : at + 2], "big") == INITIAL_WINDOW_SIZE:
                self._initial = int.from_bytes(payload[at + 2 : at + 6], "big")
        self._transport.write(frame(Frame.SETTINGS, ACK, 0))
        if self._initial != before:
            for stream in list(self._streams.values()):
                stream.window += self._initial - before
                if stream.pending:
                    self._send(stream)

    def _window_update(self, number: int, more: int) -> None:
        stream = self._streams.get(number)
        if number == 0:
            self._window += more
            if self._window > 0x7FFFFFFF:
                raise _Broken(_Code.FLOW_CONTROL_ERROR)
            self._unstick()
        elif stream is not None:
            stream.window += more
            if stream.pending:
                self._send(stream)

    # What is said to it

    def _asked(self, stream: _Stream) -> None:
        stream.asked = True
        body, stream.body = bytes(stream.body), bytearray()
        self._took(len(body))
        message = body[5:]
        if len(body) < 5 or int.from_bytes(body[1:5], "big") != len(message):
            self._refuse(stream, Status.INTERNAL, "a call takes one whole message")
        elif body[0]:
            self._refuse(stream, Status.UNIMPLEMENTED, "messages must not be compressed")
        elif (answer := self._calls.unary.get(stream.path)) is not None:
            self._answer(stream, answer, message)
        elif (run := self._calls.streams.get(stream.path)) is not None:
            stream.task = asyncio.create_task(self._run(stream, run, message))
        else:
            self._refuse(stream, Status.UNIMPLEMENTED, f"there is no {stream.path.decode('latin-1')}")

    def _answer(self, stream: _Stream, answer: Callable[[bytes], bytes], message: bytes) -> None:
        try:
            told = answer(message)
        except Refused as refused:
            self._refuse(stream, refused.status, refused.detail)
        except Exception:
            self._failed(stream)
        else:
            stream.trailers = DONE
            self._say(stream, told)

    async def _run(self, stream: _Stream, run: Callable[[bytes, Say], Awaitable[None]], message: bytes) -> None:
        try:
            await run(message, lambda told: self._say(stream, told))
        except Refused as refused:
            self._refuse(stream, refused.status, refused.detail)
        except Exception:
            self._failed(stream)
        else:
            self._end(stream)

    def _end(self, stream: _Stream) -> None:
        stream.trailers = DONE
        self._send(stream)

    def _say(self, stream: _Stream, message: bytes) -> None:
        stream.pending += b"\0" + len(message).to_bytes(4, "big") + message
        self._send(stream)

    def _send(self, stream: _Stream) -> None:
        """As much as the client takes now, in one write; the rest when it takes more."""
        pieces = []
        if not stream.begun:
            stream.begun = True
            pieces.append(frame(Frame.HEADERS, END_HEADERS, stream.number, HEAD))
        while (size := min(len(stream.pending), self._window, stream.window, LARGEST_FRAME)) > 0:
            pieces.append(frame(Frame.DATA, 0, stream.number, bytes(stream.pending[:size])))
            del stream.pending[:size]
            self._window -= size
            stream.window -= size
        if stream.pending and stream.window > 0:
            self._stuck[stream.number] = stream
        elif stream.pending:
            self._stuck.pop(stream.number, None)
        elif stream.trailers is not None:
            pieces.append(frame(Frame.HEADERS, END_HEADERS | END_STREAM, stream.number, stream.trailers))
            self._drop(stream)
        else:
            self._stuck.pop(stream.number, None)
        if pieces and not self._transport.is_closing():
            self._transport.write(b"".join(pieces))

    def _unstick(self) -> None:
        while self._stuck and self._window > 0:
            self._send(next(iter(self._stuck.values())))

    def _refuse(self, stream: _Stream, status: Status, detail: str) -> None:
        """The end, whatever is still pending; the client may not have said all."""
        said = (b"grpc-status", b"%d" % status), (b"grpc-message", quote(detail[:MOST_DETAIL], safe=TEXT).encode())
        block = _block(*said) if stream.begun else _block(STATUS, TYPE, *said)
        end = frame(Frame.HEADERS, END_HEADERS | END_STREAM, stream.number, block)
        if not self._transport.is_closing():
            self._transport.write(end if stream.asked else end + _reset(stream.number, _Code.NO_ERROR))
        self._drop(stream)

    def _failed(self, stream: _Stream) -> None:
        log.exception("%s failed", stream.path.decode("latin-1"))
        self._refuse(stream, Status.INTERNAL, "this is a defect of the gateway; its log says more")

    def _drop(self, stream: _Stream) -> None:
        self._streams.pop(stream.number, None)
        if stream.body:
            self._took(len(stream.body))
            stream.body.clear()
        self._stuck.pop(stream.number, None)
        if stream.task is not None and stream.task is not asyncio.current_task():
            stream.task.cancel()

    def _goodbye(self, code: _Code) -> bytes:
        return frame(Frame.GOAWAY, 0, 0, self._last.to_bytes(4, "big") + code.to_bytes(4, "big"))


@asynccontextmanager
async def serving(make: Callable[[], Connection], host: str | None, port: int, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Take connections on that address (None: all) while the context lasts; port 0 finds a free one. Yields the port."""
    connections: WeakSet[Connection] = WeakSet()

    def connected() -> Connection:
        connection = make()
        connections.add(connection)
        return connection

    server = await asyncio.get_running_loop().create_server(connected, host, port, ssl=tls, backlog=BACKLOG)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for connection in list(connections):
            connection.leave()


def _bare(payload: bytes, flags: int) -> bytes:
    """Without its padding."""
    if not flags & PADDED:
        return payload
    if not payload or payload[0] >= len(payload):
        raise _Broken(_Code.PROTOCOL_ERROR)
    return payload[1 : len(payload) - payload[0]]


def _reset(number: int, code: _Code) -> bytes:
    return frame(Frame.RST_STREAM, 0, number, code.to_bytes(4, "big"))
