"""Requests by origin, endpoint and minute: counters that only grow, so that merging what others say is taking the larger.

An *origin* is one life of one gateway process; it alone counts under its name, and nobody ever has to subtract. Saying a thing twice,
late or by way of a third process changes nothing. An endpoint costs nothing until it is used.

Resolution: minutes for the sliding hour, hours for statistics. A request counts in the hour for 60 minutes at least and 61 at most,
since its minute leaves as a whole: too long by at most a minute, never too short. Finer buckets would cost more memory than they are
worth where the number is divided by a target per hour.

Memory, measured with counts of three and four digits and ten latencies in use: a minute 0.7 KB, so up to 43 KB for an endpoint that
is used in every minute, by origin; an hour 0.7 KB, and no more than HOURS_KEPT of them in all (the oldest go first), about 70 MB.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Final, TypeAlias

from roadstead.latencies import BOUNDS

Counts: TypeAlias = list[int]
"""By slot: ISSUED, SERVER_ERRORS, USER_ERRORS, then latencies by their bounds. Slots at the end that are missing are 0."""
Bucket: TypeAlias = list[int]
"""Number of a minute or an hour since 1970, then its Counts."""
Buckets: TypeAlias = tuple[list[Bucket], list[Bucket]]
"""Minutes and hours."""
ISSUED, SERVER_ERRORS, USER_ERRORS, LATENCY = 0, 1, 2, 3
SLOTS: Final = LATENCY + len(BOUNDS) + 1
MINUTES: Final = 60
"""Minutes in an hour; a name, since tests compress both."""
HOURS_KEPT: Final = 100_000


class _Series:
    """One endpoint's counts by one origin."""

    __slots__ = ("hours", "minutes")

    def __init__(self) -> None:
        self.minutes: dict[int, Counts] = {}
        self.hours: dict[int, Counts] = {}


class History:
    """``minute_seconds`` is 60, but in tests that compress time. Times are seconds since 1970."""

    def __init__(self, minute_seconds: float, retention_seconds: float, hours_kept: int = HOURS_KEPT) -> None:
        self.minute_seconds = minute_seconds
        self.hour_seconds = minute_seconds * MINUTES
        self._retention_seconds = retention_seconds
        self._hours_kept = hours_kept
        self._origins: defaultdict[str, dict[str, _Series]] = defaultdict(dict)
        self.forgotten_before = 0.0
        """Hours that ended before have been let go."""

    def minute(self, at: float) -> int:
        """Number of the minute."""
        return int(at // self.minute_seconds)

    def add(self, origin: str, key: str, at: float, counts: Iterable[tuple[int, int]]) -> None:
        """Count (slot, amount) pairs at a time."""
        series = self._series(origin, key)
        minute = self.minute(at)
        for buckets, number in ((series.minutes, minute), (series.hours, minute // MINUTES)):
            into = buckets.get(number)
            if into is None:
                into = buckets[number] = []
            for slot, amount in counts:
                if len(into) <= slot:
                    into.extend([0] * (slot + 1 - len(into)))
                into[slot] += amount

    def merge(self, origin: str, key: str, buckets: Buckets, now: float) -> None:
        """Take over what is new in an origin's counts; what is too old to be kept is passed over."""
        series = self._series(origin, key)
        _merge(series.minutes, buckets[0], self._first_minute(now))
        _merge(series.hours, buckets[1], self._first_hour(now))
        if not series.minutes and not series.hours:
            del self._origins[origin][key]
            if not self._origins[origin]:
                del self._origins[origin]

    def said(self, origin: str, key: str, minutes: Iterable[int]) -> Buckets:
        """What is to be told of some minutes, and of the hours that they are in."""
        series = self._series(origin, key)
        wanted = sorted(minutes)
        return _numbered(series.minutes, wanted), _numbered(series.hours, sorted({minute // MINUTES for minute in wanted}))

    def counted_since(self, at: float, prefix: str) -> Iterator[tuple[str, str, list[int]]]:
        """Minutes since then that something was counted in, by origin (of those so named) and endpoint."""
        first = self.minute(at)
        for origin, endpoints in self._origins.items():
            if origin.startswith(prefix):
                for key, series in endpoints.items():
                    if minutes := [number for number in series.minutes if number >= first]:
                        yield origin, key, minutes

    def everything(self) -> Iterator[tuple[str, str, Buckets]]:
        """All there is to tell, by origin and endpoint. Counting may go on between two steps."""
        for origin in list(self._origins):
            for key in list(self._origins.get(origin, ())):
                if (series := self._origins.get(origin, {}).get(key)) is not None:
                    yield origin, key, (_numbered(series.minutes, series.minutes), _numbered(series.hours, series.hours))

    def last_hour(self, keys: Iterable[str], now: float) -> int:
        """Requests of the sliding hour."""
        first, found = self._first_minute(now), 0
        for series in self._of(keys):
            for minute, counts in series.minutes.items():
                if minute >= first and counts:
                    found += counts[ISSUED]
        return found

    def total(self, keys: Iterable[str], start: float, end: float, now: float) -> tuple[Counts, float, float]:
        """Counts of a period, and the period that they are really about: in whole minutes, or whole hours if it began more than one ago."""
        fine = self.minute(start) >= self._first_minute(now)
        length = self.minute_seconds if fine else self.hour_seconds
        first, beyond = int(start // length), int(-(-end // length))
        found = [0] * SLOTS
        for series in self._of(keys):
            for number, counts in (series.minutes if fine else series.hours).items():
                if first <= number < beyond:
                    for slot, amount in enumerate(counts):
                        found[slot] += amount
        return found, max(first * length, self.forgotten_before), min(beyond * length, now)

    def prune(self, now: float) -> None:
        """Let go what is too old, and the oldest hours if there are too many. Costs a look at every endpoint in use."""
        first_minute, first_hour = self._first_minute(now), self._first_hour(now)
        by_hour: defaultdict[int, int] = defaultdict(int)
        for _, _, series in self._all():
            for hour in series.hours:
                by_hour[hour] += 1
        kept = sum(by_hour.values())
        for hour in sorted(by_hour):
            if kept <= self._hours_kept:
                break
            kept -= by_hour[hour]
            first_hour = max(first_hour, hour + 1)
        self.forgotten_before = max(self.forgotten_before, first_hour * self.hour_seconds)
        for origin, key, series in list(self._all()):
            _prune(series.minutes, first_minute)
            _prune(series.hours, first_hour)
            if not series.minutes and not series.hours:
                del self._origins[origin][key]
                if not self._origins[origin]:
                    del self._origins[origin]

    def _first_minute(self, now: float) -> int:
        """The oldest minute of which a part is less than an hour ago."""
        return self.minute(now - self.hour_seconds)

    def _first_hour(self, now: float) -> int:
        return int(max(now - self._retention_seconds, self.forgotten_before) // self.hour_seconds)

    def _series(self, origin: str, key: str) -> _Series:
        endpoints = self._origins[origin]
        if (series := endpoints.get(key)) is None:
            series = endpoints[key] = _Series()
        return series

    def _of(self, keys: Iterable[str]) -> Iterator[_Series]:
        wanted = tuple(keys)
        for endpoints in self._origins.values():
            for key in wanted:
                if (series := endpoints.get(key)) is not None:
                    yield series

    def _all(self) -> Iterator[tuple[str, str, _Series]]:
        for origin, endpoints in self._origins.items():
            for key, series in endpoints.items():
                yield origin, key, series


def _merge(into: dict[int, Counts], said: Iterable[Bucket], first: int) -> None:
    for number, *counts in said:
        if number < first:
            continue
        known = into.get(number)
        if known is None:
            into[number] = counts
            continue
        if len(known) < len(counts):
            known.extend([0] * (len(counts) - len(known)))
        for slot, amount in enumerate(counts):
            known[slot] = max(known[slot], amount)


def _numbered(buckets: dict[int, Counts], numbers: Iterable[int]) -> list[Bucket]:
    return [[number, *buckets[number]] for number in numbers if number in buckets]


def _prune(buckets: dict[int, Counts], first: int) -> None:
    for number in [number for number in buckets if number < first]:
        del buckets[number]
