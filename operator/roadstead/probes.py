"""What liveness and readiness ask of every process that mirrors the cluster."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Final, Protocol

from roadstead.kube.resource import Resource
from roadstead.lag import LoopLag

SILENT_SECONDS: Final = 180.0
"""Bookmarks come once a minute; a watch without a word for three has been lost."""
LATE_SECONDS: Final = 5.0
"""An event loop so late renews no Lease, and answers nobody, in time."""


class Watched(Protocol):
    """A watch: a Reflector's, or one that is seen from outside. Times are monotonic."""

    @property
    def resource(self) -> Resource: ...

    @property
    def present(self) -> bool: ...

    @property
    def last_heard(self) -> float: ...

    @property
    def last_failed(self) -> float: ...


def silent(watches: Iterable[Watched]) -> str | None:
    """Which watch a restart may bring back, in a sentence. An API server that can't be reached is no such thing."""
    now = time.monotonic()
    for watch in watches:
        seconds = now - max(watch.last_heard, watch.last_failed)
        if watch.present and seconds > SILENT_SECONDS:
            return f"the watch of {watch.resource.plural} has been silent for {seconds:.0f} s"
    return None


def late(lag: LoopLag) -> str | None:
    """Whether the event loop turns in time, in a sentence."""
    seconds = lag.worst_seconds
    return f"the event loop was {seconds:.1f} s late" if seconds > LATE_SECONDS else None
