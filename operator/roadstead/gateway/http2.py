"""HTTP/2's frames (RFC 9113 section 6), as far as a server of gRPC needs to know them."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
END_STREAM = ACK = 1
END_HEADERS: Final = 4
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
