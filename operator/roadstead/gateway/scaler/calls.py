"""What can be called by gRPC, and how a call that gets no answer ends."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum

Say = Callable[[bytes], None]


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
    """What can be called, by path. Handlers get a message, and raise Refused; those of streams may say several and end with the call."""

    unary: Mapping[bytes, Callable[[bytes], bytes]]
    streams: Mapping[bytes, Callable[[bytes, Say], Awaitable[None]]]
