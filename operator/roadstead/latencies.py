"""How latencies are kept and estimated: counts between fixed bounds, the same in Envoy, in the gateway's ledger and in Prometheus.

That they are the same everywhere is what lets counts from different places be added. A figure between two bounds is an estimate.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

BOUNDS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 30_000, 60_000, 300_000, 600_000, 3_600_000)
"""Upper bounds in milliseconds; one more slot holds what took longer."""


def at_quantile(latencies: Sequence[int], quantile: float) -> float | None:
    """Milliseconds at a quantile, taking a bucket's requests for spread evenly over it; None without any."""
    total = sum(latencies)
    if not total:
        return None
    rank, seen, lower = quantile * total, 0, 0.0
    for count, upper in zip(latencies, BOUNDS, strict=False):
        if count and seen + count >= rank:
            return lower + (upper - lower) * max(0.0, rank - seen) / count
        seen, lower = seen + count, float(upper)
    return lower


def slower(latencies: Sequence[int], milliseconds: float) -> int:
    """How many took longer: exact at a bucket's bound, else its requests are taken for spread evenly over it."""
    found, lower = 0.0, 0.0
    for count, upper in zip(latencies, (*BOUNDS, float("inf")), strict=False):
        if milliseconds <= lower:
            found += count
        elif milliseconds < upper and upper != float("inf"):
            found += count * (upper - milliseconds) / (upper - lower)
        lower = float(upper)
    return round(found)


def by_bounds(cumulative: Iterable[tuple[float, int]]) -> list[int]:
    """Counts by our bounds, from (upper bound in milliseconds, how many took no longer) in rising order. What lies between two bounds that
    are not ours goes to the first of ours that holds all of it.
    """
    found, seen, place = [0] * (len(BOUNDS) + 1), 0, 0
    for upper, count in cumulative:
        while place < len(BOUNDS) and BOUNDS[place] < upper:
            place += 1
        found[place] += max(0, count - seen)
        seen = max(seen, count)
    return found
