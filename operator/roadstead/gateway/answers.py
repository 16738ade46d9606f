"""What a caller is told in place of the service's answer, where that is a 5xx: Envoy sends the request here, we say it.

The authoriser puts it in a header. gRPC clients get what they read as UNAVAILABLE.
"""

from __future__ import annotations

import base64
import binascii
from typing import ClassVar, Final
from urllib.parse import quote

import orjson

from roadstead.gateway.http import STATUS_LINES, Connection, Request, message, retry_after, told
from roadstead.gateway.waking import Answer

HEADER: Final = b"x-roadstead-answer"
CONTENT_TYPE: Final = b"content-type"
GRPC: Final = b"application/grpc"
UNAVAILABLE: Final = 14
"""gRPC's code for what may succeed if it is tried again."""
UNKNOWN: Final = 2
DEFECT: Final = Answer(500, "this is a defect of the gateway: nobody has said what to answer")


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

    def answer(self, request: Request) -> None:
        try:
            answer = decoded(request.headers[HEADER])
        except (KeyError, ValueError):
            answer = DEFECT
        headers = [] if answer.retry_after is None else [retry_after(answer.retry_after)]
        if request.headers.get(CONTENT_TYPE, b"").lower().startswith(GRPC):
            self.reply(message(200, b"", *headers, *grpc_status(answer), content_type=GRPC))
        else:
            self.reply(message(answer.status, told(answer.detail), *headers, head=request.method == b"HEAD"))


def grpc_status(answer: Answer) -> tuple[bytes, bytes]:
    """The header lines of a gRPC answer that consists of nothing else; gRPC's own mapping from HTTP (http-grpc-status-mapping)."""
    code = UNAVAILABLE if answer.status in (502, 503, 504) else UNKNOWN
    return b"grpc-status: %d" % code, b"grpc-message: " + quote(answer.detail, safe=" !\"#$&'()*+,/:;<=>?@[]^`{|}~").encode()
