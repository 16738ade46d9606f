"""What a caller is told in place of the service's answer, where that is a 5xx: Envoy sends the request here, we say it.

The authoriser puts it in a header. Without that header the request was for a service: this is also the last resort of every cluster, for
the moment in which a pod has gone and its address is still known. gRPC clients get what they read as UNAVAILABLE.
"""

from __future__ import annotations

import base64
import binascii
from typing import ClassVar, Final
from urllib.parse import quote

import orjson

from roadstead.gateway.http import STATUS_LINES, Connection, Request, message, retry_after, told
from roadstead.gateway.http2 import PREFACE, Http2
from roadstead.gateway.waking import Answer

HEADER: Final = b"x-roadstead-answer"
CONTENT_TYPE: Final = b"content-type"
GRPC: Final = b"application/grpc"
UNAVAILABLE: Final = 14
"""gRPC's code for what may succeed if it is tried again."""
UNKNOWN: Final = 2
GONE: Final = Answer(503, "the service can't be reached at the moment; try again", 1.0)
GONE_HEADERS: Final = (
    (b":status", b"503"),  # which is UNAVAILABLE to a client that wants gRPC
    (b"content-type", b"application/json"),
    (b"content-length", b"%d" % len(told(GONE.detail))),
    (b"retry-after", b"1"),
)


def encoded(answer: Answer) -> bytes:
    """As the header's value."""
    said = {"status": answer.status, "detail": answer.detail}
    if answer.retry_after is not None:
        said["retryAfter"] = answer.retry_after
    return base64.urlsafe_b64encode(orjson.dumps(said))


def decoded(value: bytes) -> Answer:
    """From the header's value. Raises ValueError where that is none of ours."""
    try:
        said = orjson.loads(base64.urlsafe_b64decode(value))
        answer = Answer(int(said["status"]), str(said["detail"]), said.get("retryAfter"))
    except (binascii.Error, orjson.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise ValueError("not an answer") from error
    if answer.status not in STATUS_LINES or answer.status < 500:
        raise ValueError(f"{answer.status} is no status to send here")
    return answer


class Answerer(Connection):
    """One connection of Envoy's. Bodies are neither waited for nor kept."""

    WANTED: ClassVar[frozenset[bytes]] = frozenset({HEADER, CONTENT_TYPE})

    def __init__(self) -> None:
        super().__init__()
        self._first: bytes | None = b""
        """What has come of the first bytes, until they tell HTTP/1.1 from HTTP/2."""
        self._http2: Http2 | None = None

    def data_received(self, data: bytes) -> None:
        if self._http2 is not None:
            self._http2.feed(data)
            return
        if self._first is not None:
            data = self._first + data
            if len(data) < len(PREFACE) and PREFACE.startswith(data):
                self._first = data
                return
            self._first = None
            if data.startswith(PREFACE):
                self._http2 = Http2(self._transport, GONE_HEADERS, told(GONE.detail))
                self._http2.feed(data[len(PREFACE) :])
                return
        super().data_received(data)

    def answer(self, request: Request) -> None:
        try:
            answer = decoded(request.headers[HEADER])
        except (KeyError, ValueError):
            answer = GONE
        headers = [] if answer.retry_after is None else [retry_after(answer.retry_after)]
        if request.headers.get(CONTENT_TYPE, b"").lower().startswith(GRPC):
            self.reply(message(200, b"", *headers, *grpc_status(answer), content_type=GRPC))
        else:
            self.reply(message(answer.status, told(answer.detail), *headers, head=request.method == b"HEAD"))


def grpc_status(answer: Answer) -> tuple[bytes, bytes]:
    """The header lines of a gRPC answer that consists of nothing else; gRPC's own mapping from HTTP (http-grpc-status-mapping)."""
    code = UNAVAILABLE if answer.status in (502, 503, 504) else UNKNOWN
    return b"grpc-status: %d" % code, b"grpc-message: " + quote(answer.detail, safe=" !\"#$&'()*+,/:;<=>?@[]^`{|}~").encode()
