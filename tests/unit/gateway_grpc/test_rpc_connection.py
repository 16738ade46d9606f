"""Our server of HTTP/2 and gRPC, frame by frame, with clients that gRPC's own library isn't: odd, slow and hostile ones."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from hpack import Encoder

from roadstead.gateway.rpc.calls import Calls, Refused, Say, Status
from roadstead.gateway.rpc.connection import MOST_HEAD, MOST_SETTINGS, OUR_WINDOW, Connection, serving
from roadstead.gateway.rpc.frames import ACK, END_HEADERS, END_STREAM, LARGEST_FRAME, PADDED, PREFACE, PRIORITY, Frame, frame
from roadstead.gateway.rpc.heads import MOST_DETAIL
from tests.unit.gateway_grpc.rpc_client import INITIAL_WINDOW, SECONDS, Client, Connect, clients, framed

ECHO, STREAM, REFUSE, MIRROR, BREAK, LARGE = b"/t/Echo", b"/t/Stream", b"/t/Refuse", b"/t/Mirror", b"/t/Break", b"/t/Large"


@dataclass
class Server:
    """Its handlers, and what became of the stream that was opened last."""

    ended: asyncio.Event = field(default_factory=asyncio.Event)
    say: asyncio.Queue[bytes] = field(default_factory=asyncio.Queue)

    def calls(self) -> Calls:
        unary = {ECHO: bytes, REFUSE: self.refuse, MIRROR: self.mirror, BREAK: self.breaks, LARGE: lambda _: b"x" * 40_000}
        return Calls(unary, {STREAM: self.stream})

    def refuse(self, message: bytes) -> bytes:
        raise Refused(Status.UNAVAILABLE, "not 100 % known yet: é")

    def mirror(self, message: bytes) -> bytes:
        raise Refused(Status.INVALID_ARGUMENT, message.decode())

    def breaks(self, message: bytes) -> bytes:
        raise RuntimeError(message)

    async def stream(self, message: bytes, say: Say) -> None:
        try:
            while told := await self.say.get():
                say(told)
        finally:
            self.ended.set()


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
async def connect(server: Server) -> AsyncIterator[Connect]:
    async with clients(server.calls()) as connected:
        yield connected


async def test_calls_are_answered_in_one_piece_or_many(connect: Connect) -> None:
    client = await connect()
    headers, body = {}, b""
    for number in (1, 3, 5):  # the first fills the tables of both sides, the others refer to them
        client.call(number, ECHO, b"hello")
        headers, body = await client.answer(number)
        assert (headers[":status"], headers["content-type"], headers["grpc-status"]) == ("200", "application/grpc", "0")
        assert body == framed(b"hello")
    block = client.encoder.encode([(":path", ECHO.decode()), ("content-type", "application/grpc"), ("x-new", "1")])
    padded = bytes((3,)) + b"\0\0\0\0\1" + block[:4] + b"\0\0\0"
    client.send(frame(Frame.HEADERS, PADDED | PRIORITY, 7, padded), frame(Frame.CONTINUATION, 0, 7, block[4:9]))
    unknown = len(b"what").to_bytes(3, "big") + b"\x77\0\0\0\0\7what"
    client.send(frame(Frame.CONTINUATION, END_HEADERS, 7, block[9:]), unknown, frame(Frame.PING, 0, 0, b"01234567"))
    flags, payload = await client.next(Frame.PING, 0)
    assert (flags, payload) == (ACK, b"01234567")
    whole = framed(b"in pieces")
    for piece in (whole[:2], whole[2:7], whole[7:]):
        client.send(frame(Frame.DATA, PADDED, 7, bytes((2,)) + piece + b"\0\0"))
        await asyncio.sleep(0.01)
    client.send(frame(Frame.DATA, END_STREAM, 7))
    assert (await client.answer(7))[1] == framed(b"in pieces")


@pytest.mark.parametrize(
    ("path", "said", "status", "detail"),
    [
        (REFUSE, framed(b""), Status.UNAVAILABLE, "not 100 %25 known yet: %C3%A9"),
        (BREAK, framed(b""), Status.INTERNAL, "this is a defect of the gateway; its log says more"),
        (b"/t/None", framed(b""), Status.UNIMPLEMENTED, "there is no /t/None"),
        (ECHO, framed(b"x", compressed=1), Status.UNIMPLEMENTED, "messages must not be compressed"),
        (ECHO, b"", Status.INTERNAL, "a call takes one whole message"),
        (ECHO, framed(b"one") + framed(b"two"), Status.INTERNAL, "a call takes one whole message"),
        (ECHO, framed(b"short")[:-1], Status.INTERNAL, "a call takes one whole message"),
    ],
)
async def test_what_cannot_be_answered_is_refused_by_a_status(
    connect: Connect, path: bytes, said: bytes, status: Status, detail: str
) -> None:
    client = await connect()
    client.send(client.head(1, path), frame(Frame.DATA, END_STREAM, 1, said))
    headers, body = await client.answer(1)
    assert (headers["grpc-status"], headers["grpc-message"], body) == (str(int(status)), detail, b"")
    client.call(3, ECHO, b"and goes on")
    assert (await client.answer(3))[1] == framed(b"and goes on")


async def test_a_message_that_is_too_large_is_refused_before_it_is_whole(connect: Connect) -> None:
    client = await connect()
    piece = b"\0" * 10_000
    client.send(client.head(1, ECHO), frame(Frame.DATA, 0, 1, piece), frame(Frame.DATA, 0, 1, piece))
    headers, _ = await client.answer(1)
    assert headers["grpc-status"] == str(int(Status.RESOURCE_EXHAUSTED))
    await client.next(Frame.RST_STREAM, 1)
    client.send(frame(Frame.DATA, END_STREAM, 1, piece))  # was on its way
    client.call(3, ECHO)
    assert (await client.answer(3))[0]["grpc-status"] == "0"


async def test_a_refusal_fits_one_frame_whatever_was_asked(connect: Connect) -> None:
    client = await connect()
    client.send(client.head(1, MIRROR), frame(Frame.DATA, END_STREAM, 1, framed("\U0001f6a2".encode() * 4000)))
    _, payload = await client.next(Frame.HEADERS, 1)
    assert len(payload) <= LARGEST_FRAME
    assert dict(client.decoder.decode(payload))["grpc-message"] == "%F0%9F%9A%A2" * MOST_DETAIL


async def test_what_is_no_grpc_is_told_so(connect: Connect) -> None:
    client = await connect()
    client.send(client.head(1, ECHO, END_HEADERS | END_STREAM, "application/json"))
    assert (await client.answer(1))[0] == {":status": "415"}


async def test_no_more_is_sent_than_the_client_takes(connect: Connect) -> None:
    client = await connect(PREFACE + frame(Frame.SETTINGS, 0, 0, INITIAL_WINDOW + (10).to_bytes(4, "big")))
    client.call(1, ECHO, b"0123456789")
    assert (await client.next(Frame.DATA, 1))[1] == framed(b"0123456789")[:10]
    client.send(frame(Frame.WINDOW_UPDATE, 0, 1, (3).to_bytes(4, "big")))
    assert (await client.next(Frame.DATA, 1))[1] == framed(b"0123456789")[10:13]
    client.send(frame(Frame.SETTINGS, 0, 0, INITIAL_WINDOW + (100_000).to_bytes(4, "big")))
    assert (await client.answer(1))[1] == framed(b"0123456789")[13:]
    client.call(3, LARGE)
    client.call(5, LARGE)  # of the 65,535 bytes of the connection one takes 40,005
    client.call(7, ECHO, b"waits too")
    assert len((await client.answer(3))[1]) == 40_005
    left = 65_535 - 15 - 40_005
    seen = b""
    while len(seen) < left:
        seen += (await client.next(Frame.DATA, 5))[1]
    client.send(frame(Frame.WINDOW_UPDATE, 0, 0, (100_000).to_bytes(4, "big")))
    assert len((await client.answer(5))[1]) == 40_005 - left
    assert (await client.answer(7))[1] == framed(b"waits too")


async def test_windows_may_shrink_below_what_is_under_way(connect: Connect) -> None:
    client = await connect(PREFACE + frame(Frame.SETTINGS, 0, 0, INITIAL_WINDOW + (10).to_bytes(4, "big")))
    client.call(1, ECHO, b"0123456789")
    assert (await client.next(Frame.DATA, 1))[1] == framed(b"0123456789")[:10]
    client.send(frame(Frame.SETTINGS, 0, 0, INITIAL_WINDOW + (4).to_bytes(4, "big")))  # its own is now -6
    client.send(frame(Frame.WINDOW_UPDATE, 0, 1, (8).to_bytes(4, "big")))
    assert (await client.next(Frame.DATA, 1))[1] == framed(b"0123456789")[10:12]
    client.send(frame(Frame.SETTINGS, 0, 0, INITIAL_WINDOW + (5).to_bytes(4, "big")))
    assert (await client.next(Frame.DATA, 1))[1] == framed(b"0123456789")[12:13]
    client.send(frame(Frame.WINDOW_UPDATE, 0, 1, (100).to_bytes(4, "big")))
    assert (await client.answer(1))[1] == framed(b"0123456789")[13:]


async def test_messages_that_never_get_whole_take_no_more_than_the_window(connect: Connect) -> None:
    client = await connect()
    piece = b"\0" * 16_000
    for number in range(1, 2 * (OUR_WINDOW // len(piece)) + 3, 2):  # the last is sent although there is no room for it
        client.send(client.head(number, ECHO), frame(Frame.DATA, 0, number, piece))
    assert await client.closed() == 3


async def test_there_is_room_for_messages_without_end(connect: Connect) -> None:
    """With and without padding, whole, refused, given up and late: after each as much may be sent again."""
    client = await connect()
    room, opened, piece = 65_535, 0, framed(b"\0" * 12_000)
    for first in range(1, 1200, 8):
        for number, flags, data in (
            (first, END_STREAM, piece),
            (first + 2, END_STREAM | PADDED, b"\4" + piece + b"\0" * 4),
            (first + 4, 0, b"\0" * LARGEST_FRAME),
            (first + 4, 0, b"\0" * 100),
            (first + 4, END_STREAM, b"\0" * 100),
            (first + 6, 0, piece),
        ):
            if number > opened:
                client.send(client.head(number, REFUSE))
                opened = number
            while room < len(data):
                room += int.from_bytes((await client.next(Frame.WINDOW_UPDATE, 0))[1], "big")
            room -= len(data)
            client.send(frame(Frame.DATA, flags, number, data))
        client.send(frame(Frame.RST_STREAM, 0, first + 6, (8).to_bytes(4, "big")))
    client.call(1201, ECHO)
    assert (await client.answer(1201))[0]["grpc-status"] == "0"


async def test_a_stream_says_what_it_has_to_and_ends_with_the_call(connect: Connect, server: Server) -> None:
    client = await connect()
    client.call(1, STREAM)
    for word in (b"one", b"two"):
        server.say.put_nowait(word)
        assert (await client.next(Frame.DATA, 1))[1] == framed(word)
    client.send(frame(Frame.RST_STREAM, 0, 1, (8).to_bytes(4, "big")))
    await asyncio.wait_for(server.ended.wait(), SECONDS)
    server.ended.clear()
    client.call(3, STREAM)
    server.say.put_nowait(b"")
    assert (await client.answer(3))[0]["grpc-status"] == "0"
    server.ended.clear()
    client.call(5, STREAM)
    server.say.put_nowait(b"three")
    await client.next(Frame.DATA, 5)
    client.writer.close()
    await asyncio.wait_for(server.ended.wait(), SECONDS)


async def test_the_end_of_the_server_is_told_on_each_call() -> None:
    """A stream's is no error, after which KEDA would wait for longer each time."""
    server = Server()
    async with serving(lambda: Connection(server.calls()), "127.0.0.1", 0) as port:
        client = Client(*await asyncio.open_connection("127.0.0.1", port))
        client.send(PREFACE, frame(Frame.SETTINGS, 0, 0), client.head(1, ECHO))
        client.call(3, STREAM)
        server.say.put_nowait(b"one")
        await client.next(Frame.DATA, 3)
    await client.next(Frame.GOAWAY, 0)
    assert (await client.answer(1))[0]["grpc-status"] == str(int(Status.UNAVAILABLE))
    assert (await client.answer(3))[0]["grpc-status"] == "0"
    await asyncio.wait_for(server.ended.wait(), SECONDS)
    client.writer.close()


@pytest.mark.parametrize(
    ("said", "code"),  # RFC 9113 section 7
    [
        (b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", 1),
        (PREFACE + (20_000).to_bytes(3, "big") + b"\0" * 6, 6),
        (PREFACE + frame(Frame.HEADERS, END_HEADERS, 1, b"\xff\xff\xff\xff\x7f"), 9),
        (PREFACE + frame(Frame.HEADERS, END_HEADERS, 2, b"\x82"), 1),
        (PREFACE + frame(Frame.HEADERS, 0, 1, b"\x82") + frame(Frame.PING, 0, 0, b"01234567"), 1),
        (PREFACE + frame(Frame.HEADERS, 0, 1, b"\x82") + frame(Frame.CONTINUATION, 0, 1, b"\x82" * 9000) * 2, 11),
        (PREFACE + frame(Frame.CONTINUATION, END_HEADERS, 1, b"\x82"), 1),
        (PREFACE + frame(Frame.PUSH_PROMISE, END_HEADERS, 1, b"\x82"), 1),
        (PREFACE + frame(Frame.HEADERS, END_HEADERS | PADDED, 1, b"\x09\x82"), 1),
        (PREFACE + frame(Frame.WINDOW_UPDATE, 0, 0, b"\x7f\xff\xff\xff"), 3),
        (PREFACE + frame(Frame.SETTINGS, 0, 0) * (MOST_SETTINGS + 1), 11),
    ],
)
async def test_who_breaks_the_protocol_is_told_and_let_go(connect: Connect, said: bytes, code: int) -> None:
    assert await (await connect(said)).closed() == code


async def test_headers_that_expand_to_more_than_they_may_end_the_connection(connect: Connect) -> None:
    client = await connect()
    many = client.encoder.encode([("x-long", "a" * 3000)])
    client.send(frame(Frame.HEADERS, END_HEADERS, 1, many), frame(Frame.HEADERS, END_HEADERS, 3, b"\xbe" * (MOST_HEAD // 2000)))
    assert await client.closed() == 9


async def test_what_headers_stand_for_changes_with_the_tables(connect: Connect) -> None:
    """A block that is the same to the byte, after another field has taken its place in HPACK's table."""
    client = await connect()
    client.call(1, ECHO)
    await client.answer(1)
    block = client.encoder.encode([(":path", ECHO.decode()), ("content-type", "application/grpc+proto")])
    for number in (3, 5):  # the second is answered from memory
        client.send(frame(Frame.HEADERS, END_HEADERS, number, block), frame(Frame.DATA, END_STREAM, number, framed(b"same")))
        assert (await client.answer(number))[1] == framed(b"same")
    fields = [("content-type", "application/grpc+proto"), (":path", "/t/None"), ("te", "trailers")]
    other = Encoder().encode(fields)  # fills the newest places anew, as the first call did
    client.send(frame(Frame.HEADERS, END_HEADERS, 7, other), frame(Frame.DATA, END_STREAM, 7, framed(b"")))
    assert (await client.answer(7))[0]["grpc-status"] == str(int(Status.UNIMPLEMENTED))
    client.send(frame(Frame.HEADERS, END_HEADERS, 9, block), frame(Frame.DATA, END_STREAM, 9, framed(b"same")))
    headers, body = await client.answer(9)
    assert body == b""
    assert headers.get("grpc-status") != "0"


async def test_a_stream_more_than_may_be_open_is_refused_and_can_be_asked_again(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("roadstead.gateway.rpc.connection.MOST_STREAMS", 2)
    client = await connect()
    for number in (1, 3, 5):
        client.call(number, STREAM)
    assert (await client.next(Frame.RST_STREAM, 5))[1] == (7).to_bytes(4, "big")
    client.send(frame(Frame.RST_STREAM, 0, 1, (8).to_bytes(4, "big")))
    client.call(7, ECHO, b"x")
    assert (await client.answer(7))[1] == framed(b"x")


async def test_a_stream_that_has_ended_is_not_opened_again(connect: Connect) -> None:
    client = await connect()
    client.call(1, ECHO, b"x")
    await client.answer(1)
    client.call(1, ECHO, b"x")
    client.send(frame(Frame.PING, 0, 0, b"01234567"))
    assert (await client.frame())[0] == Frame.PING


async def test_who_connects_and_says_nothing_is_cut_off(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("roadstead.gateway.rpc.connection.GREETING_SECONDS", 0.1)
    silent, other = await connect(PREFACE[:10]), await connect()
    with pytest.raises(asyncio.IncompleteReadError):  # noqa: PT012 - after the server's own greeting
        while True:
            await silent.frame()
    other.call(1, ECHO, b"x")
    assert (await other.answer(1))[1] == framed(b"x")


async def test_who_asks_and_reads_nothing_is_cut_off(connect: Connect) -> None:
    client = await connect(PREFACE + frame(Frame.SETTINGS, 0, 0) + frame(Frame.WINDOW_UPDATE, 0, 0, b"\x7f\xff\0\0"))
    client.writer.transport.pause_reading()  # type: ignore[attr-defined]
    pings = frame(Frame.PING, 0, 0, b"01234567") * 60_000
    with pytest.raises(ConnectionError):  # noqa: PT012 - whichever write finds it closed
        async with asyncio.timeout(20):
            while True:
                client.writer.write(pings)
                await client.writer.drain()
