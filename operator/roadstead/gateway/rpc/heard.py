"""What a client says in a call of several messages: its bytes become messages, which somebody hears one after the other.

The client is told at once that it may send as many bytes more, since a message may be larger than any window. So whoever may speak here is
trusted not to speak faster than is listened.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from roadstead.gateway.rpc.calls import Refused, Status
from roadstead.gateway.rpc.frames import WINDOW

PREFIX: Final = 5
"""Bytes before each message: whether it is compressed, and its length."""


class Heard:
    """Of one stream."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._pieces = bytearray()
        self._whole: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._taken = 0

    def feed(self, piece: bytes) -> None:
        """More of it. Raises Refused."""
        pieces = self._pieces
        pieces += piece
        while len(pieces) >= PREFIX:
            length = int.from_bytes(pieces[1:PREFIX], "big")
            if pieces[0]:
                raise Refused(Status.UNIMPLEMENTED, "messages must not be compressed")
            if length > self._most_bytes:
                raise Refused(Status.RESOURCE_EXHAUSTED, f"a message has at most {self._most_bytes} bytes")
            if len(pieces) < PREFIX + length:
                return
            self._whole.put_nowait(bytes(pieces[PREFIX : PREFIX + length]))
            del pieces[: PREFIX + length]

    def close(self) -> None:
        """The client has said all. Raises Refused."""
        if self._pieces:
            raise Refused(Status.INTERNAL, "the last message is cut off")
        self._whole.put_nowait(None)

    def took(self, size: int) -> int:
        """So many bytes have come; how many more the client is to be told now that it may send, often 0."""
        self._taken += size
        if self._taken < WINDOW // 2:
            return 0
        more, self._taken = self._taken, 0
        return more

    async def messages(self) -> AsyncIterator[bytes]:
        """One after the other, until the client has said all."""
        while (message := await self._whole.get()) is not None:
            yield message
