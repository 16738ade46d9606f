"""HTTP/2's frames, as far as a server of gRPC needs to know them: RFC 9113 sections 6 and 7."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
END_STREAM = ACK = 1
END_HEADERS: Final = 4
PADDED: Final = 8
PRIORITY: Final = 32
LARGEST_FRAME: Final = 16_384
WINDOW: Final = 65_535
INITIAL_WINDOW_SIZE: Final = 4
"""The setting's number."""


class Frame(IntEnum):
    """Kinds that matter here; all others are passed over."""

    DATA = 0
    HEADERS = 1
    RST_STREAM = 3
    SETTINGS = 4
    PUSH_PROMISE = 5
    PING = 6
    GOAWAY = 7
    WINDOW_UPDATE = 8
    CONTINUATION = 9


def frame(kind: Frame, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """One frame."""
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


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
