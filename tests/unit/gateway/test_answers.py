"""The answerer over real sockets: what is said in a service's place, in HTTP/1.1 and to gRPC."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadstead.gateway.answers import DEFECT, Answerer, decoded, encoded
from roadstead.gateway.http import listening
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
async def test_without_a_word_of_the_authoriser_it_is_our_defect(connection: Wire, value: str | None) -> None:
    connection.ask("/", **({} if value is None else {"x_roadstead_answer": value}))
    said = await connection.hear()
    assert (said.status, said.detail) == (500, DEFECT.detail)


async def test_nobody_waits_for_a_body(connection: Wire) -> None:
    connection.ask("/", method="POST", content_length="1000000", **header(STOPPED))
    assert (await connection.hear()).status == 503
    connection.writer.write(b"x" * 1_000_000)
    connection.ask("/", method="POST", transfer_encoding="chunked", **header(LATE))
    assert (await connection.hear()).status == 504
    connection.writer.write(b"5\r\nabcde\r\n0\r\n\r\n")
    connection.ask("/", **header(STOPPED))
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
