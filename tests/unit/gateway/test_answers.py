"""The answerer over real sockets: what is said in a service's place, in HTTP/1.1, HTTP/2 and gRPC."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator

import grpc
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadstead.gateway.answers import GONE, Answerer, decoded, encoded
from roadstead.gateway.http import listening
from roadstead.gateway.http2 import PREFACE, WINDOW, Frame, frame
from roadstead.gateway.waking import Answer
from tests.unit.gateway.reviewer import Wire, wire

STOPPED = Answer(503, "Gestoppt: größer als nötig", 12.4)
LATE = Answer(504, "No pod was ready within 60 s")


@pytest.fixture
async def port() -> AsyncIterator[int]:
    async with listening(Answerer, "127.0.0.1", 0) as found:
        yield found


@pytest.fixture
async def connection(port: int) -> AsyncIterator[Wire]:
    async with wire(port) as found:
        yield found


def header(answer: Answer) -> dict[str, str]:
    return {"x_roadstead_answer": encoded(answer).decode()}


@given(st.builds(Answer, st.sampled_from([500, 502, 503, 504]), st.text(), st.none() | st.floats(0, 1e6)))
def test_what_is_encoded_comes_back(answer: Answer) -> None:
    assert encoded(answer).isascii()
    assert decoded(encoded(answer)) == answer


@pytest.mark.parametrize(
    ("answer", "extra"), [(STOPPED, {"retry-after": "12"}), (LATE, {}), (Answer(503, "x", 0.01), {"retry-after": "1"})]
)
async def test_it_says_what_it_is_told(connection: Wire, answer: Answer, extra: dict[str, str]) -> None:
    for _ in range(2):
        connection.ask("/v1/x", **header(answer))
        said = await connection.hear()
        assert (said.status, said.detail) == (answer.status, answer.detail)
        assert said.headers == {"content-type": "application/json", "content-length": str(len(said.body)), **extra}


WRONG = [base64.urlsafe_b64encode(orjson.dumps(said)).decode() for said in ({"status": 200, "detail": "x"}, {"status": 503}, 7)]


@pytest.mark.parametrize("value", [None, "", "!", "e30", *WRONG])
async def test_without_a_word_of_the_authoriser_the_service_has_just_gone(connection: Wire, value: str | None) -> None:
    connection.ask("/", **({} if value is None else {"x_roadstead_answer": value}))
    said = await connection.hear()
    assert (said.status, said.detail, said.headers["retry-after"]) == (503, GONE.detail, "1")


async def test_nobody_waits_for_a_body(connection: Wire) -> None:
    connection.ask("/", method="POST", content_length="1000000", **header(STOPPED))
    assert (await connection.hear()).status == 503
    connection.writer.write(b"x" * 1_000_000)
    connection.ask("/", method="POST", transfer_encoding="chunked", **header(LATE))
    assert (await connection.hear()).status == 504
    connection.writer.write(b"5\r\nabcde\r\n0\r\n\r\n")
    connection.ask("/")
    assert (await connection.hear()).status == 503


async def test_a_head_has_no_body(connection: Wire) -> None:
    connection.ask("/", method="HEAD", **header(STOPPED))
    connection.ask("/", method="GET", **header(LATE))
    assert (await connection.hear(head=True)).status == 503
    assert (await connection.hear()).status == 504


@pytest.mark.parametrize(("method", "fields"), [("GET", {"connection": "Upgrade", "upgrade": "websocket"}), ("CONNECT", {})])
async def test_no_other_protocol_begins(connection: Wire, method: str, fields: dict[str, str]) -> None:
    connection.ask("/" if method == "GET" else "a:1", method=method, **fields, **header(STOPPED))
    connection.writer.write(b"\x81\x85")
    assert (await connection.hear()).status == 503
    assert await connection.over()


@pytest.mark.parametrize(("answer", "code"), [(STOPPED, "14"), (LATE, "14"), (Answer(500, "a defect"), "2")])
async def test_to_grpc_it_is_a_status_of_grpc(connection: Wire, answer: Answer, code: str) -> None:
    connection.ask("/pkg.S/M", method="POST", content_type="application/grpc+proto", transfer_encoding="chunked", **header(answer))
    said = await connection.hear()
    assert (said.status, said.body, said.headers["content-type"], said.headers["grpc-status"]) == (200, b"", "application/grpc", code)
    assert said.headers["grpc-message"].isascii()
    assert ("größer" in answer.detail) == ("gr%C3%B6%C3%9Fer als n%C3%B6tig" in said.headers["grpc-message"])


class TestHttp2:
    async def test_grpcs_own_client_finds_it_unavailable(self, port: int) -> None:
        def calls() -> list[grpc.StatusCode]:
            codes = []
            with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
                call = channel.unary_unary("/pkg.S/M")
                stream = channel.stream_stream("/pkg.S/N")
                for _ in range(3):
                    with pytest.raises(grpc.RpcError) as failed:
                        call(b"x" * 100_000, timeout=10)
                    codes.append(failed.value.code())
                    with pytest.raises(grpc.RpcError) as failed:
                        list(stream(iter([b"x"] * 3), timeout=10))
                    codes.append(failed.value.code())
            return codes

        assert await asyncio.to_thread(calls) == [grpc.StatusCode.UNAVAILABLE] * 6

    async def test_frame_by_frame(self, connection: Wire) -> None:
        for part in (PREFACE[:5], PREFACE[5:] + frame(Frame.SETTINGS, 0, 0)):
            connection.writer.write(part)
            await asyncio.sleep(0.01)
        connection.writer.write(frame(Frame.HEADERS, 0, 1, b"?") + frame(Frame.CONTINUATION, 4, 1, b"?") + frame(Frame.DATA, 0, 1, b"abc"))
        connection.writer.write(frame(Frame.HEADERS, 5, 1, b"trailers") + frame(Frame.PING, 0, 0, b"12345678") + frame(Frame.HEADERS, 5, 3))
        found = [await hear(connection) for _ in range(8)]
        assert [(kind, flags, stream) for kind, flags, stream, _ in found] == [
            (Frame.SETTINGS, 0, 0),
            (Frame.SETTINGS, 1, 0),
            (Frame.HEADERS, 4, 1),
            (Frame.DATA, 1, 1),
            (Frame.WINDOW_UPDATE, 0, 0),
            (Frame.PING, 1, 0),
            (Frame.HEADERS, 4, 3),
            (Frame.DATA, 1, 3),
        ]
        assert found[2][3].startswith(b"\x08\x03503")
        assert orjson.loads(found[3][3]) == {"detail": GONE.detail}
        assert found[5][3] == b"12345678"
        connection.writer.write(frame(Frame.GOAWAY, 0, 0, bytes(8)))
        assert await connection.over()

    async def test_bodies_stay_within_the_window(self, connection: Wire) -> None:
        """As much as fits is said with a body, the rest without; a larger window lets bodies through again."""
        connection.writer.write(PREFACE + b"".join(frame(Frame.HEADERS, 5, stream) for stream in range(1, 4000, 2)))
        ends, sent, length = 0, 0, bytes((15, 28 - 15))
        while ends < 2000:
            kind, flags, _, payload = await hear(connection)
            sent += len(payload) if kind == Frame.DATA else 0
            ends += flags & 1 if kind in (Frame.DATA, Frame.HEADERS) else 0
            if kind == Frame.HEADERS:  # a length without a body would be malformed
                assert (length in payload) == (not flags & 1)
                assert payload.startswith(b"\x08\x03503")
        assert WINDOW - 200 < sent <= WINDOW
        connection.writer.write(frame(Frame.WINDOW_UPDATE, 0, 0, WINDOW.to_bytes(4, "big")) + frame(Frame.HEADERS, 5, 4001))
        assert [(await hear(connection))[0] for _ in range(2)] == [Frame.HEADERS, Frame.DATA]

    @pytest.mark.parametrize(("window", "whole"), [(0, False), (20, False), (4096, True)])
    async def test_a_body_stays_within_the_window_of_its_stream(self, connection: Wire, window: int, whole: bool) -> None:
        settings = b"\0\3\0\0\0\x64" + b"\0\4" + window.to_bytes(4, "big")
        connection.writer.write(
            PREFACE + frame(Frame.SETTINGS, 0, 0, settings) + frame(Frame.HEADERS, 5, 1) + frame(Frame.PING, 0, 0, bytes(8))
        )
        found = [(await hear(connection))[:2] for _ in range(5 if whole else 4)]
        answered = [(Frame.HEADERS, 4), (Frame.DATA, 1)] if whole else [(Frame.HEADERS, 5)]
        assert found == [(Frame.SETTINGS, 0), (Frame.SETTINGS, 1), *answered, (Frame.PING, 1)]

    async def test_a_frame_too_large_ends_it(self, connection: Wire) -> None:
        connection.writer.write(PREFACE + b"\xff\xff\xff\0\0\0\0\0\1")
        assert (await hear(connection))[0] == Frame.SETTINGS
        assert await connection.over()


async def hear(connection: Wire) -> tuple[int, int, int, bytes]:
    """The next frame: kind, flags, stream, payload."""
    head = await connection.reader.readexactly(9)
    payload = await connection.reader.readexactly(int.from_bytes(head[:3], "big"))
    return head[3], head[4], int.from_bytes(head[5:], "big"), payload
