"""What this process has counted since it began, by endpoint: counters for Prometheus.

Each has a name of its own for its whole life, in which it only grows. Prometheus can't see what a counter begins with, nor that one began
anew and has overtaken the old one; by the names the REST API can (rest/promql.py). That is also why these are not Envoy's own counters:
those go with each scale to zero, and begin anew with the request that wakes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from roadstead.gateway.ledger.history import SLOTS, Counts


@dataclass(slots=True)
class Total:
    """One endpoint's. ``counter`` is the name; times are seconds since 1970."""

    counter: str
    since: float
    latest: float
    counts: Counts = field(default_factory=lambda: [0] * SLOTS)


class Totals:
    """A few hundred bytes for each endpoint in use; nothing for the others."""

    def __init__(self, process: str) -> None:
        self._process = process
        self._totals: dict[str, Total] = {}

    def __len__(self) -> int:
        return len(self._totals)

    def __iter__(self) -> Iterator[tuple[str, Total]]:
        """By endpoint. Counting may go on between two of them."""
        return iter(list(self._totals.items()))

    def add(self, key: str, at: float, counts: Iterable[tuple[int, int]]) -> None:
        """Count (slot, amount) pairs."""
        total = self._totals.get(key)
        if total is None:
            total = self._totals[key] = Total(f"{self._process}/{at * 1000:.0f}", at, at)
        for slot, amount in counts:
            total.counts[slot] += amount
        total.latest = at

    def prune(self, before: float) -> None:
        """Let go of endpoints that have counted nothing since."""
        for key in [key for key, total in self._totals.items() if total.latest < before]:
            del self._totals[key]
