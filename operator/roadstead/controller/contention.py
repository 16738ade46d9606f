"""Two writers of one field: repairs become rare, so that a quarrel costs a bounded number of writes, and it is said who the other is.

A child written again with the very content it was written with before is a repair. The times are the caller's (monotonic seconds).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

REPAIRS = 3
"""So many repairs within a minute are made at once."""
MINUTE_SECONDS = 60.0
LONGEST_SECONDS = 600.0
PATHS_NAMED = 3


@dataclass(slots=True)
class Quarrel:
    """The repairs of one child. ``rival`` is who is in the way and over what, once a repair was held back."""

    digest: str | None = None
    recent: list[float] = field(default_factory=list)
    rounds: int = 0
    last: float = float("-inf")
    rival: str | None = None

    def wrote(self, digest: str, now: float) -> None:
        """It was written with this content."""
        if digest != self.digest:
            self.digest, self.recent, self.rounds, self.rival = digest, [], 0, None
            return
        if now - self.last > self._pause() + MINUTE_SECONDS:
            self.rounds = 0
        self.recent = [*(at for at in self.recent if now - at < MINUTE_SECONDS), now]
        if self.rounds or len(self.recent) >= REPAIRS:
            self.rounds += 1
        self.last = now

    def wait_seconds(self, digest: str, now: float) -> float:
        """How long the next write of this content has to wait; new content never does."""
        return max(0.0, self.last + self._pause() - now) if digest == self.digest else 0.0

    def calm(self, now: float) -> bool:
        """Whether nothing had to be repaired for a minute."""
        return now - self.last >= MINUTE_SECONDS

    def _pause(self) -> float:
        return min(MINUTE_SECONDS * 2 ** (self.rounds - 1), LONGEST_SECONDS) if self.rounds else 0.0


def rival_of(rivals: Iterable[tuple[str, str]], child: str) -> str:
    """Who writes what of ours, in a sentence; ``rivals`` are pairs of field manager and path."""
    known = sorted(set(rivals))
    managers = ", ".join(dict.fromkeys(manager for manager, _ in known)) or "somebody"
    paths = ", ".join(list(dict.fromkeys(path for _, path in known))[:PATHS_NAMED]) or "fields"
    return f"{managers} keeps changing {paths} of {child}, which is put back ever more seldom; stop it, or let it write another object"
