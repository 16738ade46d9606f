"""Calls in which both sides say several messages, as Envoy's do: frame by frame, and with gRPC's own client."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import grpc.aio
import pytest
from google.protobuf.wrappers_pb2 import BytesValue

from roadstead.gateway.control import for_envoy
from roadstead.gateway.envoy.ads import Store
from roadstead.gateway.ledger.ledger import Ledger
from roadstead.gateway.rpc.calls import Status
from roadstead.gateway.rpc.connection import Connection, serving
from roadstead.gateway.rpc.frames import ACK, END_HEADERS, END_STREAM, LARGEST_FRAME, PADDED, WINDOW, Frame, frame
from tests.unit.gateway_grpc.rpc_client import SECONDS, Connect, clients, framed
from tests.unit.gateway_grpc.rpc_talker import (
    ECHO,
    LARGE,
    MIB,
    MOST_BYTES,
    SIZES,
    Server,
    next_words,
    quiet,
    word,
    words,
)


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
