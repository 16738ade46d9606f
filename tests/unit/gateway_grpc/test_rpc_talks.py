"""Calls in which both sides say several messages, as Envoy's do: frame by frame, and with gRPC's own client."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import grpc.aio
import pytest
from google.protobuf.wrappers_pb2 import BytesValue

from roadstead.gateway.control import for_envoy
from roadstead.gateway.envoy.ads import Store
from roadstead.gateway.ledger.ledger import Ledger
from roadstead.gateway.rpc.calls import Calls, Refused, Status, Tell, talk
from roadstead.gateway.rpc.connection import Connection, serving
from roadstead.gateway.rpc.frames import ACK, END_HEADERS, END_STREAM, LARGEST_FRAME, PADDED, PREFACE, WINDOW, Frame, frame
from tests.unit.gateway_grpc.rpc_client import GREETING, INITIAL_WINDOW, SECONDS, Client, Connect, clients, framed

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


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
async def connect(server: Server) -> AsyncIterator[Connect]:
    """And nothing may be left of the talks, nor may one have failed without a word."""
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


async def test_several_messages_in_one_frame_are_several(connect: Connect) -> None:
    client = await connect()
    client.send(client.head(1, ECHO), frame(Frame.DATA, 0, 1, word(b"one") + word(b"") + word(b"three") + word(b"four")[:7]))
    said = word(b"one") + word(b"") + word(b"three")
    assert await next_words(client, 1, len(said)) == said
    client.send(frame(Frame.DATA, END_STREAM, 1, word(b"four")[7:] + word(b"")))
    headers, body = await client.answer(1)
    assert (words(body), headers["grpc-status"]) == ([b"four", b""], "0")


async def test_a_message_may_come_in_pieces_with_padding_and_with_nothing_in_them(connect: Connect) -> None:
    client = await connect()
    client.send(client.head(1, ECHO))
    said = word(b"in pieces") + word(b"")
    for place in range(len(said)):
        client.send(frame(Frame.DATA, PADDED, 1, b"\3" + said[place : place + 1] + bytes(3)), frame(Frame.DATA, 0, 1))
    client.send(frame(Frame.DATA, PADDED | END_STREAM, 1, b"\0"))
    headers, body = await client.answer(1)
    assert (words(body), headers["grpc-status"]) == ([b"in pieces", b""], "0")


@pytest.mark.parametrize("padding", [0, 100])
async def test_messages_larger_than_any_window_are_heard_within_the_windows(connect: Connect, padding: int) -> None:
    client = await connect()
    client.send(client.head(1, SIZES))
    sizes = [3 * MIB, 0, 1, MOST_BYTES - 5, 100]
    left = b"".join(word(bytes(size)) for size in sizes)
    room = {0: WINDOW, 1: WINDOW}
    while left:
        size = min(len(left), LARGEST_FRAME - 1 - padding, min(room.values()) - 1 - padding)
        if size <= 0:
            kind, _, number, payload = await client.frame()
            if kind == Frame.WINDOW_UPDATE:
                room[number] += int.from_bytes(payload, "big")
            continue
        whole = bytes((padding,)) + left[:size] + bytes(padding)
        client.send(frame(Frame.DATA, PADDED, 1, whole))
        left = left[size:]
        room = {number: more - len(whole) for number, more in room.items()}
    client.send(frame(Frame.DATA, END_STREAM, 1))
    assert words((await client.answer(1))[1]) == [repr(sizes).encode()]


@pytest.mark.parametrize(
    ("said", "status", "detail"),
    [
        (framed(b"x", compressed=1), Status.UNIMPLEMENTED, "messages must not be compressed"),
        (b"\0" + (MOST_BYTES + 1).to_bytes(4, "big"), Status.RESOURCE_EXHAUSTED, f"a message has at most {MOST_BYTES} bytes"),
        (framed(b"\xff\xff"), Status.INVALID_ARGUMENT, "this is no google.protobuf.BytesValue"),
    ],
    ids=["compressed", "too long", "nonsense"],
)
async def test_what_cannot_be_heard_ends_the_talk(connect: Connect, server: Server, said: bytes, status: Status, detail: str) -> None:
    client = await connect()
    client.send(client.head(1, ECHO), frame(Frame.DATA, 0, 1, word(b"one")))
    await client.next(Frame.DATA, 1)
    client.send(frame(Frame.DATA, 0, 1, said))
    _, trailers = await client.next(Frame.HEADERS, 1)
    headers = dict(client.decoder.decode(trailers))
    assert (headers["grpc-status"], headers["grpc-message"]) == (str(int(status)), detail)
    assert (await client.next(Frame.RST_STREAM, 1))[1] == bytes(4)
    await asyncio.wait_for(server.ended.wait(), SECONDS)
    client.send(frame(Frame.DATA, END_STREAM, 1, bytes(LARGEST_FRAME)))  # was on its way
    client.send(client.head(3, ECHO), frame(Frame.DATA, END_STREAM, 3, word(b"and goes on")))
    assert words((await client.answer(3))[1]) == [b"and goes on"]


@pytest.mark.parametrize("said", [word(b"cut off")[:4], word(b"cut off")[:-1]], ids=["length", "message"])
async def test_a_talk_that_ends_within_a_message_fails(connect: Connect, server: Server, said: bytes) -> None:
    client = await connect()
    client.send(client.head(1, ECHO), frame(Frame.DATA, 0, 1, word(b"one")))
    await client.next(Frame.DATA, 1)
    client.send(frame(Frame.DATA, END_STREAM, 1, said))
    headers, _ = await client.answer(1)
    assert (headers["grpc-status"], headers["grpc-message"]) == (str(int(Status.INTERNAL)), "the last message is cut off")
    await asyncio.wait_for(server.ended.wait(), SECONDS)


@pytest.mark.parametrize("end", ["nothing", "with a message", "with trailers", "at once"])
async def test_a_client_that_has_said_all_is_told_the_rest_and_that_it_was_all(connect: Connect, end: str) -> None:
    client = await connect()
    if end == "at once":
        client.send(client.head(1, SIZES, END_HEADERS | END_STREAM))
    else:
        client.send(client.head(1, SIZES), frame(Frame.DATA, 0, 1, word(b"1") + word(b"22")))
        await asyncio.sleep(0)
        trailers = frame(Frame.HEADERS, END_HEADERS | END_STREAM, 1, client.encoder.encode([("x-last", "1")]))
        last = {"nothing": b"", "with a message": word(b"333"), "with trailers": None}[end]
        client.send(trailers if last is None else frame(Frame.DATA, END_STREAM, 1, last))
    headers, body = await client.answer(1)
    expected = {"at once": b"[]", "with a message": b"[1, 2, 3]"}.get(end, b"[1, 2]")
    assert (words(body), headers["grpc-status"]) == ([expected], "0")
    await quiet(client)


async def test_a_handler_ends_when_its_client_gives_up_or_is_gone(connect: Connect, server: Server) -> None:
    for leave in (frame(Frame.RST_STREAM, 0, 1, CANCEL), frame(Frame.PUSH_PROMISE, END_HEADERS, 1, b"\x82"), b""):
        client = await connect()
        client.send(client.head(1, ECHO), frame(Frame.DATA, 0, 1, word(b"one")))
        await client.next(Frame.DATA, 1)
        assert not server.ended.is_set()
        client.send(leave)
        if not leave:
            client.writer.transport.abort()  # type: ignore[attr-defined]
        await asyncio.wait_for(server.ended.wait(), SECONDS)
        server.ended.clear()


async def test_a_handler_ends_when_its_client_breaks_the_protocol_and_reads_nothing(connect: Connect, server: Server) -> None:
    """There is much that it would have to read before it heard why."""
    client = await connect(WIDE)
    client.send(client.head(1, LARGE), frame(Frame.DATA, 0, 1, word(b"20000000")))
    await client.next(Frame.HEADERS, 1)
    client.writer.transport.pause_reading()  # type: ignore[attr-defined]
    client.send(frame(Frame.PUSH_PROMISE, END_HEADERS, 1, b"\x82"))
    await asyncio.wait_for(server.ended.wait(), SECONDS)
    client.writer.transport.abort()  # type: ignore[attr-defined]


async def test_a_talk_may_be_given_up_before_anybody_has_heard_of_it(connect: Connect, server: Server) -> None:
    client = await connect()
    for number in range(1, 400, 2):
        client.send(client.head(number, ECHO), frame(Frame.DATA, 0, number, word(b"x")), frame(Frame.RST_STREAM, 0, number, CANCEL))
    client.send(client.head(401, ECHO), frame(Frame.DATA, END_STREAM, 401, word(b"heard")))
    assert words((await client.answer(401))[1]) == [b"heard"]
    assert server.heard.qsize() == 1


@pytest.mark.parametrize(
    ("path", "status", "detail"),
    [
        (REFUSE, Status.NOT_FOUND, "no such thing"),
        (BREAK, Status.INTERNAL, "this is a defect of the gateway; its log says more"),
        (GIVEN_UP, Status.UNAVAILABLE, "the gateway gave up"),
    ],
)
async def test_a_handler_that_fails_ends_the_talk_with_a_status(
    connect: Connect, caplog: pytest.LogCaptureFixture, path: bytes, status: Status, detail: str
) -> None:
    client = await connect()
    client.send(client.head(1, path), frame(Frame.DATA, 0, 1, word(b"one")))
    headers, body = await client.answer(1)
    assert (headers["grpc-status"], headers["grpc-message"], words(body)) == (str(int(status)), detail, [b"one"])
    await client.next(Frame.RST_STREAM, 1)
    assert [record.getMessage() for record in caplog.records] == (["/t/Break failed"] if path == BREAK else [])
    client.send(client.head(3, ECHO), frame(Frame.DATA, END_STREAM, 3, word(b"and goes on")))
    assert words((await client.answer(3))[1]) == [b"and goes on"]


async def test_a_client_is_told_to_say_no_more_when_the_talk_is_over(connect: Connect) -> None:
    client = await connect()
    client.send(client.head(1, FIRST), frame(Frame.DATA, 0, 1, word(b"one")))
    headers, body = await client.answer(1)
    assert (headers["grpc-status"], words(body)) == ("0", [b"one"])
    assert await client.frame() == (Frame.RST_STREAM, 0, 1, bytes(4))
    client.send(frame(Frame.DATA, 0, 1, word(b"two")), frame(Frame.DATA, END_STREAM, 1))
    await quiet(client)


async def test_nothing_is_said_to_a_client_that_has_given_up(connect: Connect, server: Server) -> None:
    client = await connect()
    client.send(client.head(1, LATE), frame(Frame.DATA, 0, 1, word(b"one")))
    await client.next(Frame.DATA, 1)
    client.send(frame(Frame.RST_STREAM, 0, 1, CANCEL))
    await asyncio.wait_for(server.ended.wait(), SECONDS)
    await quiet(client)


async def test_a_call_that_there_is_not_is_refused_before_its_client_has_said_all(connect: Connect) -> None:
    """Whoever wants to talk waits for an answer before it says more."""
    client = await connect()
    client.send(client.head(1, b"/t/None"), frame(Frame.DATA, 0, 1, word(b"one")))
    headers, _ = await client.answer(1)
    assert (headers["grpc-status"], headers["grpc-message"]) == (str(int(Status.UNIMPLEMENTED)), "there is no /t/None")
    await client.next(Frame.RST_STREAM, 1)


async def test_answers_wait_until_the_client_takes_them(connect: Connect) -> None:
    client = await connect()
    client.send(client.head(1, LARGE), frame(Frame.DATA, END_STREAM, 1, word(b"200000 0 100000")))
    expected = word(bytes(200_000)) + word(b"") + word(bytes(100_000))
    body = await next_words(client, 1, WINDOW)
    await quiet(client)
    client.send(frame(Frame.WINDOW_UPDATE, 0, 1, (150_000).to_bytes(4, "big")))  # of its own, not of all together
    await quiet(client)
    client.send(frame(Frame.WINDOW_UPDATE, 0, 0, (100_000).to_bytes(4, "big")))
    body += await next_words(client, 1, 100_000)
    await quiet(client)
    client.send(frame(Frame.WINDOW_UPDATE, 0, 0, (1_000_000).to_bytes(4, "big")))
    body += await next_words(client, 1, 50_000)
    await quiet(client)
    client.send(frame(Frame.WINDOW_UPDATE, 0, 1, (1_000_000).to_bytes(4, "big")))
    headers, rest = await client.answer(1)
    assert body + rest == expected
    assert headers["grpc-status"] == "0"


async def test_a_handler_says_no_more_than_its_client_takes(connect: Connect, server: Server) -> None:
    """What isn't taken yet would be kept; and when it is, there may be something newer to say."""
    client = await connect()
    client.send(client.head(1, LARGE), frame(Frame.DATA, END_STREAM, 1, word(b"100000 " * 50)))
    body = await next_words(client, 1, WINDOW)
    await quiet(client)
    assert server.told == 1
    client.send(
        frame(Frame.WINDOW_UPDATE, 0, 1, (100_000).to_bytes(4, "big")), frame(Frame.WINDOW_UPDATE, 0, 0, (100_000).to_bytes(4, "big"))
    )
    body += await next_words(client, 1, 100_000)
    await quiet(client)
    assert server.told == 2
    client.send(frame(Frame.WINDOW_UPDATE, 0, 1, (10_000_000).to_bytes(4, "big")))
    client.send(frame(Frame.WINDOW_UPDATE, 0, 0, (10_000_000).to_bytes(4, "big")))
    headers, rest = await client.answer(1)
    assert (body + rest, headers["grpc-status"], server.told) == (word(bytes(100_000)) * 50, "0", 50)


@pytest.mark.parametrize("leave", ["reset", "lost", "half closed"])
async def test_a_handler_that_waits_for_its_client_to_take_more_ends_with_it(connect: Connect, server: Server, leave: str) -> None:
    client = await connect()
    client.send(client.head(1, LARGE), frame(Frame.DATA, 0, 1, word(b"100000 " * 50)))
    await next_words(client, 1, WINDOW)
    if leave == "half closed":
        client.send(frame(Frame.DATA, END_STREAM, 1))
        await quiet(client)
        assert not server.ended.is_set()  # it has more to say
    if leave != "lost":
        client.send(frame(Frame.RST_STREAM, 0, 1, CANCEL))
    else:
        client.writer.transport.abort()  # type: ignore[attr-defined]
    await asyncio.wait_for(server.ended.wait(), SECONDS)


async def test_whoever_waits_for_a_client_to_take_more_is_told_that_it_has_gone() -> None:
    """Also where it isn't the handler itself, which is ended."""
    told = asyncio.Event()

    async def run(heard: AsyncIterator[bytes], tell: Tell) -> None:
        other = asyncio.ensure_future(tell(bytes(100_000)))
        try:
            await asyncio.Event().wait()
        finally:
            await other
            told.set()

    async with clients(Calls(talks={LARGE: run})) as connect:
        client = await connect()
        client.send(client.head(1, LARGE))
        await next_words(client, 1, WINDOW)
        client.send(frame(Frame.RST_STREAM, 0, 1, CANCEL))
        await asyncio.wait_for(told.wait(), SECONDS)


async def test_who_has_not_greeted_is_let_go_without_a_word_at_the_end_of_the_server(server: Server) -> None:
    async with serving(lambda: Connection(server.calls()), "127.0.0.1", 0) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        other = Client(*await asyncio.open_connection("127.0.0.1", port))
        other.send(GREETING, PING)
        await other.next(Frame.PING, 0)  # the first has been taken by now
    async with asyncio.timeout(SECONDS):
        assert await reader.read() == b""
        await other.reader.read()
    writer.close()
    other.writer.close()


@pytest.mark.parametrize("waits", [False, True])
async def test_the_end_of_the_server_is_no_error_for_a_talk(server: Server, waits: bool) -> None:
    """Unless an answer isn't whole."""
    async with serving(lambda: Connection(server.calls()), "127.0.0.1", 0) as port:
        client = Client(*await asyncio.open_connection("127.0.0.1", port))
        client.send(GREETING, client.head(1, LARGE), frame(Frame.DATA, 0, 1, word(b"100000" if waits else b"100")))
        await next_words(client, 1, 100)
    await client.next(Frame.GOAWAY, 0)
    _, trailers = await client.next(Frame.HEADERS, 1)
    assert dict(client.decoder.decode(trailers))["grpc-status"] == (str(int(Status.UNAVAILABLE)) if waits else "0")
    await asyncio.wait_for(server.ended.wait(), SECONDS)
    async with asyncio.timeout(SECONDS):
        await client.reader.read()
    client.writer.close()


@pytest.mark.parametrize("said", [b"", PREFACE[:5]], ids=["nothing", "half a greeting"])
async def test_a_health_check_comes_and_goes_unnoticed(connect: Connect, caplog: pytest.LogCaptureFixture, said: bytes) -> None:
    caplog.set_level(logging.INFO)
    for leave in ("close", "abort") * 10:
        client = await connect(said)
        getattr(client.writer.transport, leave)()
    client = await connect()
    client.send(client.head(1, ECHO), frame(Frame.DATA, END_STREAM, 1, word(b"x")))
    assert words((await client.answer(1))[1]) == [b"x"]
    assert caplog.records == []


async def test_who_never_greets_is_not_greeted_and_cut_off(
    connect: Connect, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("roadstead.gateway.rpc.connection.GREETING_SECONDS", 0.1)
    client = await connect(PREFACE[:-1])
    async with asyncio.timeout(SECONDS):
        assert await client.reader.read() == b""
    assert caplog.records == []


async def test_what_envoy_says_beside_its_calls_ends_nothing(connect: Connect) -> None:
    """Its settings, pings, a goodbye of its own, and frames that aren't known here."""
    client = await connect()
    client.send(client.head(1, ECHO), frame(Frame.DATA, 0, 1, word(b"one")))
    await client.next(Frame.DATA, 1)
    settings = b"".join(
        number.to_bytes(2, "big") + value.to_bytes(4, "big")
        for number, value in ((1, 4096), (2, 0), (3, 100), (5, 2**24 - 1), (6, 65_536), (8, 1), (0x4D44, 7))
    )
    unknown = b"\0\0\4\x77\0\0\0\0\1what" + b"\0\0\5\x02\0\0\0\0\1\0\0\0\0\1"  # the second is of PRIORITY
    client.send(frame(Frame.SETTINGS, 0, 0, settings), unknown, frame(Frame.GOAWAY, 0, 0, bytes(8)), frame(Frame.PING, ACK, 0, b"01234567"))
    await client.next(Frame.SETTINGS, 0)
    client.send(frame(Frame.DATA, END_STREAM, 1, word(b"1" * 16_000) + word(b"2")))
    headers, body = await client.answer(1)
    assert (words(body), headers["grpc-status"]) == ([b"1" * 16_000, b"2"], "0")


@pytest.mark.parametrize(
    "method", ["discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources", "load_stats.v3.LoadReportingService/StreamLoadStats"]
)
async def test_what_envoy_is_not_understood_in_is_an_error(method: str) -> None:
    """And not the end of a talk that went well, after which nobody would look for a reason."""
    store = Store()
    async with clients(for_envoy(store, Ledger("a"))) as connect:
        client = await connect()
        client.send(client.head(1, f"/envoy.service.{method}".encode()), frame(Frame.DATA, 0, 1, framed(b"\xff\xff")))
        headers, _ = await client.answer(1)
        assert headers["grpc-status"] == str(int(Status.INVALID_ARGUMENT))
        assert store.envoys == []


async def test_large_messages_go_both_ways_with_grpcs_own_client(server: Server) -> None:
    sizes = [3 * MIB, 0, MOST_BYTES - 10, 1, 5 * MIB]
    options = [("grpc.max_receive_message_length", -1)]
    async with (
        serving(lambda: Connection(server.calls()), "127.0.0.1", 0) as port,
        grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options) as channel,
    ):
        method: Callable[..., Any] = channel.stream_stream(ECHO.decode(), BytesValue.SerializeToString, BytesValue.FromString)
        call = method()
        for size in sizes:
            await call.write(BytesValue(value=bytes(size)))
            assert len((await call.read()).value) == size
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
        assert await call.code() == grpc.StatusCode.OK
        call = method(iter(BytesValue(value=bytes(size)) for size in sizes * 2))  # as fast as it can
        assert [len(told.value) async for told in call] == sizes * 2
        call = method()
        await call.write(BytesValue(value=b"x"))
        await call.read()
        server.ended.clear()
        call.cancel()
        await asyncio.wait_for(server.ended.wait(), SECONDS)
