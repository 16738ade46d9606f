"""How a call in which both sides say several messages ends: by its client, its handler, the protocol or the server."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest

from roadstead.gateway.rpc.calls import Calls, Status, Tell
from roadstead.gateway.rpc.connection import Connection, serving
from roadstead.gateway.rpc.frames import END_HEADERS, END_STREAM, PREFACE, WINDOW, Frame, frame
from tests.unit.gateway_grpc.rpc_client import GREETING, SECONDS, Client, Connect, clients
from tests.unit.gateway_grpc.rpc_talker import (
    BREAK,
    CANCEL,
    ECHO,
    FIRST,
    GIVEN_UP,
    LARGE,
    LATE,
    PING,
    REFUSE,
    WIDE,
    Server,
    next_words,
    quiet,
    word,
    words,
)


@pytest.mark.parametrize("said", [word(b"cut off")[:4], word(b"cut off")[:-1]], ids=["length", "message"])
async def test_a_talk_that_ends_within_a_message_fails(connect: Connect, server: Server, said: bytes) -> None:
    client = await connect()
    client.send(client.head(1, ECHO), frame(Frame.DATA, 0, 1, word(b"one")))
    await client.next(Frame.DATA, 1)
    client.send(frame(Frame.DATA, END_STREAM, 1, said))
    headers, _ = await client.answer(1)
    assert (headers["grpc-status"], headers["grpc-message"]) == (str(int(Status.INTERNAL)), "the last message is cut off")
    await asyncio.wait_for(server.ended.wait(), SECONDS)


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
