"""When something was last so, by name: the latest word of anybody wins, whoever tells whom in which order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping


class Moments:
    """Wall clock, in seconds since 1970; ``now`` is the reader's."""

    def __init__(self) -> None:
        self.at: dict[str, float] = {}

    def note(self, name: str, now: float) -> None:
        """It is so now."""
        self.at[name] = max(now, self.at.get(name, 0.0))

    def told(self, names: Iterable[str]) -> dict[str, float]:
        """Of these, what is known."""
        return {name: self.at[name] for name in names if name in self.at}

    def merge(self, said: Mapping[str, float], now: float) -> None:
        """Take over what is later, but nothing is later than now: a clock that is ahead would keep a Workload awake until ours is there."""
        for name, at in said.items():
            if at > self.at.get(name, 0.0):
                self.at[name] = min(at, now)

    def prune(self, now: float, retention_seconds: float) -> None:
        """Let go what is too old."""
        for name, at in list(self.at.items()):
            if at < now - retention_seconds:
                del self.at[name]
            elif at > now:  # the clock has gone back
                self.at[name] = now
