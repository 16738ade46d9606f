"""What can be called by gRPC, and how a call that gets no answer ends."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from google.protobuf.message import DecodeError

Say = Callable[[bytes], None]
Tell = Callable[[bytes], Awaitable[None]]
"""Says it, and returns when the client has taken all of it, or has gone."""
Talk = Callable[[AsyncIterator[bytes], Tell], Awaitable[None]]


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


def talk(serve: Callable[[AsyncIterator[Any], Any], AsyncGenerator[Any, None]], message: Any) -> Talk:
    """A talk by a method of what protobuf's generator makes for gRPC's library, whose client says messages of that class."""

    def understood(said: bytes) -> Any:
        try:
            return message.FromString(said)
        except DecodeError as error:
            raise Refused(Status.INVALID_ARGUMENT, f"this is no {message.DESCRIPTOR.full_name}") from error

    async def run(heard: AsyncIterator[bytes], tell: Tell) -> None:
        async with aclosing(serve((understood(each) async for each in heard), None)) as answers:
            async for told in answers:
                await tell(told.SerializeToString())

    return run
