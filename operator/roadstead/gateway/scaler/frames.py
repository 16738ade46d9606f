"""HTTP/2's frames as a server has to know them that understands what it is asked: errors, padding, the end of a stream.

What is common with the answerer, which understands nothing, is in gateway/http2.py. RFC 9113 sections 6 and 7.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from roadstead.gateway.http2 import Frame, frame

PADDED: Final = 8
PRIORITY: Final = 32


class Code(IntEnum):
    """Of errors, as far as they are said here."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    FLOW_CONTROL_ERROR = 3
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    COMPRESSION_ERROR = 9
    ENHANCE_YOUR_CALM = 11


class Broken(Exception):
    """The client doesn't keep to HTTP/2: the connection can't go on."""

    def __init__(self, code: Code) -> None:
        super().__init__(code.name)
        self.code = code


def bare(payload: bytes, flags: int) -> bytes:
    """Without its padding. Raises Broken."""
    if not flags & PADDED:
        return payload
    if not payload or payload[0] >= len(payload):
        raise Broken(Code.PROTOCOL_ERROR)
    return payload[1 : len(payload) - payload[0]]


def reset(number: int, code: Code) -> bytes:
    """The frame that ends a stream, whatever its client still says."""
    return frame(Frame.RST_STREAM, 0, number, code.to_bytes(4, "big"))
