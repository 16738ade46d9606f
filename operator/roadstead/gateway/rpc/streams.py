"""What is said to a client: its calls are made, and answered on their streams as fast as it takes what it is told.

HTTP/2 lets a client say how much it takes, on each stream and on all together. What it doesn't take yet is kept with the stream, and sent
when it takes more. What it says is read by connection.py, which tells of it here.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from roadstead.gateway.rpc.calls import Calls, Refused, Status
from roadstead.gateway.rpc.frames import END_HEADERS, END_STREAM, LARGEST_FRAME, WINDOW, Broken, Code, Frame, frame, reset
from roadstead.gateway.rpc.heads import DONE, HEAD, refusal
from roadstead.gateway.rpc.heard import Heard

log = logging.getLogger(__name__)
LARGEST_WINDOW: Final = 0x7FFFFFFF


@dataclass(slots=True, eq=False)
class Stream:
    """One call."""

    number: int
    path: bytes
    window: int
    """Bytes of messages that the client takes on it; of all streams together it is the connection's."""
    body: bytearray = field(default_factory=bytearray)
    """Whoever reads from the client keeps it, and counts it."""
    heard: Heard | None = None
    """Where several messages may be said."""
    asked: bool = False
    """The client has said all."""
    begun: bool = False
    pending: bytearray = field(default_factory=bytearray)
    taken: asyncio.Event | None = None
    """Somebody waits until nothing is pending."""
    trailers: bytes | None = None
    """The end, once all that is pending is sent."""
    task: asyncio.Task[None] | None = None


class Streams:
    """Those of one connection."""

    def __init__(self, calls: Calls, transport: asyncio.Transport) -> None:
        self.open: dict[int, Stream] = {}
        """By number. Whoever has its last word is open no longer."""
        self._calls = calls
        self._transport = transport
        self._stuck: OrderedDict[int, Stream] = OrderedDict()
        """Those that wait for the client to take more on all together, and would be taken more of themselves."""
        self._window = self._initial = WINDOW
        """What may be sent on all streams together, and on a new one."""

    def begin(self, number: int, path: bytes) -> Stream | None:
        """A client has opened it, and is going to say more. None: it needn't, since there is no such call."""
        stream = self.open[number] = Stream(number, path, self._initial)
        calls = self._calls
        if (run := calls.talks.get(path)) is not None:
            stream.heard = Heard(calls.most_bytes)
            self._start(stream, partial(run, stream.heard.messages(), partial(self._tell, stream)))
        elif path not in calls.unary and path not in calls.streams:
            self.refuse(stream, Status.UNIMPLEMENTED, f"there is no {path.decode('latin-1')}")
            return None
        return stream

    def call(self, stream: Stream, body: bytes) -> None:
        """The client has said all: answer, at once or by and by."""
        stream.asked = True
        message = body[5:]
        if len(body) < 5 or int.from_bytes(body[1:5], "big") != len(message):
            self.refuse(stream, Status.INTERNAL, "a call takes one whole message")
        elif body[0]:
            self.refuse(stream, Status.UNIMPLEMENTED, "messages must not be compressed")
        elif (answer := self._calls.unary.get(stream.path)) is not None:
            self._answer(stream, answer, message)
        else:
            self._start(stream, partial(self._calls.streams[stream.path], message, partial(self._say, stream)))

    def refuse(self, stream: Stream, status: Status, detail: str) -> None:
        """The end, whatever is still pending; the client may not have said all."""
        if stream.number not in self.open:
            return
        end = frame(Frame.HEADERS, END_HEADERS | END_STREAM, stream.number, refusal(status, detail, stream.begun))
        if not self._transport.is_closing():
            self._transport.write(end if stream.asked else end + reset(stream.number, Code.NO_ERROR))
        self.drop(stream)

    def drop(self, stream: Stream) -> None:
        """Its client wants nothing more of it, or has it all."""
        self.open.pop(stream.number, None)
        self._stuck.pop(stream.number, None)
        if stream.taken is not None:
            stream.taken.set()
        if stream.task is not None and stream.task is not asyncio.current_task():
            stream.task.cancel()

    def drop_all(self) -> None:
        """The client has gone."""
        for stream in list(self.open.values()):
            self.drop(stream)

    def end_all(self) -> None:
        """The server ends. Streams do without an error: after one KEDA waits before it opens the next, twice as long as the last time up to
        a minute, and begins anew only after such an end (runStreamIsActive in its external_scaler.go).
        """
        for stream in list(self.open.values()):
            if stream.task is None or stream.pending:
                self.refuse(stream, Status.UNAVAILABLE, "the gateway ends")
            else:
                self._end(stream)

    # How much the client takes

    def resize(self, initial: int) -> None:
        """It takes so many bytes on each stream, of which some may be under way."""
        more, self._initial = initial - self._initial, initial
        if more:
            for stream in list(self.open.values()):
                self._widen(stream, more)

    def widen(self, number: int, more: int) -> None:
        """It takes so many more bytes on that stream, or (0) on all together. Raises Broken."""
        if number == 0:
            self._window += more
            if self._window > LARGEST_WINDOW:
                raise Broken(Code.FLOW_CONTROL_ERROR)
            while self._stuck and self._window > 0:
                self._send(next(iter(self._stuck.values())))
        elif (stream := self.open.get(number)) is not None:
            self._widen(stream, more)

    def _widen(self, stream: Stream, more: int) -> None:
        stream.window += more
        if stream.pending:
            self._send(stream)

    # What it is told

    def _answer(self, stream: Stream, answer: Callable[[bytes], bytes], message: bytes) -> None:
        try:
            told = answer(message)
        except Refused as refused:
            self.refuse(stream, refused.status, refused.detail)
        except Exception:
            self._failed(stream)
        else:
            stream.trailers = DONE
            self._say(stream, told)

    def _start(self, stream: Stream, run: Callable[[], Awaitable[None]]) -> None:
        stream.task = asyncio.create_task(self._run(stream, run))

    async def _run(self, stream: Stream, run: Callable[[], Awaitable[None]]) -> None:
        try:
            await run()
        except Refused as refused:
            self.refuse(stream, refused.status, refused.detail)
        except Exception:
            self._failed(stream)
        except asyncio.CancelledError:  # whose stream isn't open any more; else its client would wait for ever
            self.refuse(stream, Status.UNAVAILABLE, "the gateway gave up")
            raise
        else:
            self._end(stream)

    def _failed(self, stream: Stream) -> None:
        log.exception("%s failed", stream.path.decode("latin-1"))
        self.refuse(stream, Status.INTERNAL, "this is a defect of the gateway; its log says more")

    def _end(self, stream: Stream) -> None:
        if stream.number in self.open:
            stream.trailers = DONE
            self._send(stream)

    def _say(self, stream: Stream, message: bytes) -> None:
        if stream.number in self.open:  # else its handler is about to end
            stream.pending += b"\0" + len(message).to_bytes(4, "big")
            stream.pending += message
            self._send(stream)

    async def _tell(self, stream: Stream, message: bytes) -> None:
        self._say(stream, message)
        del message  # it may be large, and is kept by the stream
        while stream.pending and stream.number in self.open:
            if stream.taken is None:
                stream.taken = asyncio.Event()
            stream.taken.clear()
            await stream.taken.wait()

    def _send(self, stream: Stream) -> None:
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
            if not stream.asked:
                pieces.append(reset(stream.number, Code.NO_ERROR))
            self.drop(stream)
        else:
            self._stuck.pop(stream.number, None)
            if stream.taken is not None:
                stream.taken.set()
        if pieces and not self._transport.is_closing():
            self._transport.write(b"".join(pieces))
