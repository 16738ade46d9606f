"""Two writers of one child: repairs become rare, so that a quarrel costs a bounded number of writes, and it is said who the other is.

A child written again with the very content it was written with before is a repair, be it that fields were changed or that it was
deleted. The times are the caller's (monotonic seconds).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from roadstead.observed.conditions import Condition, Verdict

REPAIRS = 3
"""So many repairs within a minute are made at once."""
MINUTE_SECONDS = 60.0
LONGEST_SECONDS = 600.0
PATHS_NAMED = 3
FIELD_CONFLICT, CHILD_DELETED = "FieldConflict", "ChildDeleted"


@dataclass(slots=True)
class Quarrel:
    """The repairs of one child. ``rival`` is who is in the way and over what, as the condition to be shown, once a repair was held back."""

    digest: str | None = None
    recent: list[float] = field(default_factory=list)
    rounds: int = 0
    last: float = float("-inf")
    rival: Condition | None = None

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


def rival_of(rivals: Iterable[tuple[str, str]], child: str) -> Condition:
    """Who writes what of ours; ``rivals`` are pairs of field manager and path."""
    known = sorted(set(rivals))
    managers = ", ".join(dict.fromkeys(manager for manager, _ in known)) or "somebody"
    paths = ", ".join(list(dict.fromkeys(path for _, path in known))[:PATHS_NAMED]) or "fields"
    remedy = "which is put back ever more seldom; stop it, or let it write another object"
    return Condition("UpToDate", Verdict.FALSE, FIELD_CONFLICT, f"{managers} keeps changing {paths} of {child}, {remedy}")


def deleter_of(child: str) -> Condition:
    """That somebody deletes it. Who that is, no object tells: what is gone has no managedFields."""
    remedy = "which is made again ever more seldom; find who it is in the API server's audit log, and stop it"
    return Condition("UpToDate", Verdict.FALSE, CHILD_DELETED, f"Somebody (the cluster doesn't say who) keeps deleting {child}, {remedy}")


def former_rival(status: Mapping[str, Any]) -> Condition | None:
    """The quarrel that a status tells of, if it does."""
    found = next((entry for entry in status.get("conditions") or () if entry["type"] == "UpToDate"), None)
    if found is None or found["reason"] not in (FIELD_CONFLICT, CHILD_DELETED):
        return None
    return Condition("UpToDate", Verdict.FALSE, found["reason"], found["message"])
