"""Refusals (4xx) and latencies, from the statistics that Envoy's administration shows: totals since its start, turned into what was added.

Load reports tell neither, and access logs would cost a quarter of a request's CPU and lose records while this process is away. Nothing
scales by these figures, so that it does no harm to lose the last seconds of them when this process is killed.
"""

from __future__ import annotations

import asyncio
import logging
import re
from typing import Final, Protocol

from pydantic import BaseModel, ConfigDict, ValidationError

from roadstead.api.container import Protocol as Wire
from roadstead.gateway.ledger.history import LATENCY, USER_ERRORS
from roadstead.gateway.ledger.ledger import Ledger
from roadstead.latencies import by_bounds
from roadstead.ticks import to_tick

log = logging.getLogger(__name__)
_WIRES: Final = "|".join(wire for wire in Wire if wire is not Wire.HTTP)
FILTER: Final = rf"^(server\.uptime|cluster\.[wd]-[0-9a-f]{{24}}(\.({_WIRES}))?\.upstream_rq_(4xx|time))$"
"""Not the same figures once more, as Envoy shows them by where a request came from (``….external.upstream_rq_time``)."""
POLL_SECONDS: Final = 10.0
YOUNG_SECONDS: Final = 60.0
_NAME: Final = re.compile(rf"cluster\.([wd]-[0-9a-f]{{24}})(?:\.(?:{_WIRES}))?\.upstream_rq_(4xx|time)")


class Readings(Protocol):
    """Envoy's statistics by the filter, as JSON with cumulative buckets; None while it can't be asked (gateway/admin.py)."""

    async def figures(self, filter: str) -> str | None: ...


class _Bucket(BaseModel):
    upper_bound: float
    cumulative: int


class _Histogram(BaseModel):
    name: str
    buckets: list[_Bucket] = []


class _Stat(BaseModel):
    name: str = ""
    value: int | str = 0
    histograms: list[_Histogram] | None = None


class _Stats(BaseModel):
    stats: list[_Stat]


class Seen(BaseModel):
    """Totals of an Envoy when it was last looked at: kept over a restart of this process, but not of Envoy."""

    model_config = ConfigDict(frozen=True)

    uptime_seconds: int
    totals: dict[str, list[int]]
    """By the statistic's name: one number, or one by latency."""


class EnvoyStats:
    """The totals of the Envoy beside us, and the ledger that is told what was added to them."""

    def __init__(self, ledger: Ledger, seen: Seen | None = None) -> None:
        self.seen = seen
        self._ledger = ledger
        self._began = ledger.now

    async def run(self, readings: Readings) -> None:
        """Look every POLL_SECONDS."""
        while True:
            try:
                await self.look(readings)
            except ValueError as error:
                log.warning("Can't read Envoy's statistics: %s", error)
            await asyncio.sleep(to_tick(POLL_SECONDS))

    async def look(self, readings: Readings) -> None:
        """Look once; nothing happens while Envoy can't be asked."""
        text = await readings.figures(FILTER)
        if text is not None:
            self.take(text)

    def take(self, text: str) -> None:
        """Add to the ledger what is new. Raises ValueError if Envoy says something else than statistics."""
        now, read = self._ledger.now, parse(text)
        before = self.seen
        if before is None and read.uptime_seconds > now - self._began + YOUNG_SECONDS:
            before = read  # it has run for long without us: what it counted then has been counted, or is lost
        elif before is None or read.uptime_seconds < before.uptime_seconds:
            before = Seen(uptime_seconds=0, totals={})
        for name, totals in read.totals.items():
            found = _NAME.fullmatch(name)
            if found is None:
                continue
            first = USER_ERRORS if found[2] == "4xx" else LATENCY
            old = before.totals.get(name)
            if old is None or any(new < past for new, past in zip(totals, old, strict=True)):
                old = [0] * len(totals)  # the cluster is new, or was away: it began at 0 again
            added = [(first + slot, new - past) for slot, (new, past) in enumerate(zip(totals, old, strict=True)) if new > past]
            if added:
                self._ledger.count(found[1], now, added)
        self.seen = read
        if self._ledger.rated_since is None:
            self._ledger.rated_since = now


def parse(text: str) -> Seen:
    """Totals in Envoy's answer. Raises ValueError if it isn't one."""
    try:
        stats = _Stats.model_validate_json(text).stats
    except ValidationError as error:
        raise ValueError(f"not statistics of Envoy: {error.errors()[0]['msg']}") from error
    totals: dict[str, list[int]] = {}
    uptime = 0
    for stat in stats:
        for histogram in stat.histograms or ():
            totals[histogram.name] = by_bounds((bucket.upper_bound, bucket.cumulative) for bucket in histogram.buckets)
        if stat.name == "server.uptime":
            uptime = int(stat.value)
        elif stat.name:
            totals[stat.name] = [int(stat.value)]
    return Seen(uptime_seconds=uptime, totals=totals)
