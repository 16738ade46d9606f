"""What the cluster scripts say to a person: one error type and one progress line."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field


class ClusterError(Exception):
    """Something the person at the terminal has to know or change; its text is the whole message."""


def clock(seconds: float) -> str:
    """Seconds as m:ss."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def say(text: str) -> None:
    """Print one line to standard error (standard output is kept for what scripts read)."""
    print(text, file=sys.stderr, flush=True)


@dataclass(slots=True)
class Progress:
    """Lines for a long task: what is being done, the time elapsed, and about how much is left.

    ``left_seconds`` is the sum of the steps' expected durations; it shrinks as steps begin.
    """

    title: str
    left_seconds: float
    started: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        say(f"{self.title} (about {clock(self.left_seconds)} on two cores)")

    def step(self, what: str, seconds: float) -> None:
        say(f"  [{clock(time.monotonic() - self.started)} elapsed, about {clock(max(self.left_seconds, 0))} left] {what}")
        self.left_seconds -= seconds

    def skip(self, seconds: float) -> None:
        self.left_seconds -= seconds

    def done(self) -> None:
        say(f"  [{clock(time.monotonic() - self.started)} elapsed] done")
