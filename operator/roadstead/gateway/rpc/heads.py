"""Headers of calls, as they are compressed (HPACK, RFC 7541): a client's are read here, and ours are written.

The library for it is slow, so what can be is done once: a client's heads are all but the first of a few kinds and remembered, and ours
leave no trace in the client's table, so that each is the same wherever it is sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

from hpack import Decoder, Encoder, HPACKError, NeverIndexedHeaderTuple

from roadstead.gateway.rpc.calls import Status
from roadstead.gateway.rpc.frames import Broken, Code

MOST_KINDS: Final = 64
"""Of heads whose meaning is remembered; KEDA's calls are of five."""
MOST_DETAIL: Final = 500
"""Characters of a refusal. Some come from whoever wrote a ScaledObject, each takes 12 bytes at worst, and all have to fit one frame: at a
larger one grpc-go ends the connection, and with it everybody's streams.
"""
TEXT: Final = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")
PLACES: Final = bytes(range(0x81, 0xFF))
"""Fields in HPACK that are places in the tables, of one byte each."""


class Heads:
    """One client's. Each has to be read, in turn: it may change what the next ones mean."""

    def __init__(self, most_bytes: int) -> None:
        self._decoder = Decoder(most_bytes)
        self._decoded_before: dict[bytes, Mapping[bytes, bytes]] = {}

    def read(self, block: bytes) -> Mapping[bytes, bytes]:
        """Fields by name. A block of nothing but places in the tables, as all but a client's first calls have, means the same until a block
        of another kind has changed them. Raises Broken.
        """
        if (fields := self._decoded_before.get(block)) is not None:
            return fields
        try:
            fields = dict(self._decoder.decode(block, raw=True))
        except HPACKError as error:
            raise Broken(Code.COMPRESSION_ERROR) from error
        if block.translate(None, PLACES) or len(self._decoded_before) >= MOST_KINDS:
            self._decoded_before.clear()
        else:
            self._decoded_before[block] = fields
        return fields


def refusal(status: Status, detail: str, begun: bool) -> bytes:
    """The end of a call that gets no (further) answer. ``begun``: its head has been sent."""
    said = (b"grpc-status", b"%d" % status), (b"grpc-message", quote(detail[:MOST_DETAIL], safe=TEXT).encode())
    return _block(*said) if begun else _block(STATUS, TYPE, *said)


def _block(*fields: tuple[bytes, bytes]) -> bytes:
    return Encoder().encode([NeverIndexedHeaderTuple(name, value) for name, value in fields])


STATUS, TYPE = (b":status", b"200"), (b"content-type", b"application/grpc")
HEAD: Final = _block(STATUS, TYPE)
"""Of an answer."""
DONE: Final = _block((b"grpc-status", b"0"))
"""The end of a call that went well."""
NOT_GRPC: Final = _block((b":status", b"415"))
