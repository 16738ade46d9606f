"""What can be called by gRPC, and how a call that gets no answer ends."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

Say = Callable[[bytes], None]
Talk = Callable[[AsyncIterator[bytes], Say], Awaitable[None]]


class Status(IntEnum):
    """gRPC's, as far as they are said here."""

    OK = 0
    INVALID_ARGUMENT = 3
    NOT_FOUND = 5
    RESOURCE_EXHAUSTED = 8
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14


class Refused(Exception):
    """A call that gets no answer, and why."""

    def __init__(self, status: Status, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Calls:
    """What can be called, by path, and how much a client may say and leave unread. Handlers get a message, and raise Refused; those of
    streams may say several and end with the call; those of talks hear several too.
    """

    unary: Mapping[bytes, Callable[[bytes], bytes]] = field(default_factory=dict)
    streams: Mapping[bytes, Callable[[bytes, Say], Awaitable[None]]] = field(default_factory=dict)
    talks: Mapping[bytes, Talk] = field(default_factory=dict)
    most_bytes: int = 16_384
    """Of a message."""
    most_unread: int = 4_194_304
    """Bytes that a client may leave unread before it is cut off."""


def talk(serve: Callable[[AsyncIterator[Any], Any], AsyncIterator[Any]], message: Any) -> Talk:
    """A talk by a method of what protobuf's generator makes for gRPC's library, whose client says messages of that class."""

    async def run(heard: AsyncIterator[bytes], say: Say) -> None:
        async for told in serve((message.FromString(each) async for each in heard), None):
            say(told.SerializeToString())

    return run
