"""The counts of all gateway processes together, as this one knows them: pure bookkeeping, no I/O.

Counters, gauges and moments are such that everybody may tell everybody everything again: see ``history``, ``gauges`` and ``moments``.
All clocks are wall clocks, seconds since 1970; a process whose clock is wrong by seconds is wrong by as much in when its requests leave
the hour.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Final

import orjson

from roadstead.gateway.ledger.changes import Changes, Followers
from roadstead.gateway.ledger.history import ISSUED, SERVER_ERRORS, Buckets, History
from roadstead.gateway.ledger.moments import Moments
from roadstead.gateway.ledger.present import NOTHING, Present, endpoint
from roadstead.gateway.ledger.state import State, read
from roadstead.gateway.ledger.totals import Totals

RETENTION_SECONDS: Final = 31 * 86_400.0
LAST_WORDS_SECONDS: Final = 300.0
"""How far back it is said again what one counted that is gone."""
BUCKETS_A_PART: Final = 2000
"""Minutes and hours in one message of the whole state: 150 KB at most, a few milliseconds to write or read."""


@dataclass(frozen=True, slots=True)
class Count:
    """Requests of the last hour. If it is not ``exact`` there were so many at least."""

    value: int
    exact: bool


class Ledger:
    """``process`` names this process, the same after a restart; ``minute_seconds`` is 60 but in tests that compress time.

    ``on_demand`` and ``on_traffic`` take callbacks: the first is called with a Workload (``namespace/name``) when the requests held for it
    or its wakes have changed anywhere, the second with an endpoint when it has got requests.
    """

    def __init__(
        self,
        process: str,
        *,
        clock: Callable[[], float] = time.time,
        minute_seconds: float = 60.0,
        retention_seconds: float = RETENTION_SECONDS,
    ) -> None:
        now = clock()
        self.process = process
        self.known_since = now
        """Since when every request is known of: it began with us, unless peers or the disk know more."""
        self.attended_since = now
        """Since when there has always been a process to let callers in: with us, unless a peer was there before. Who called in a time
        without any has been refused, and comes back by and by."""
        self.rated_since: float | None = None
        """The same of latencies and refusals."""
        self.totals = Totals(process)
        """What this process itself has counted, for Prometheus."""
        self._clock = clock
        self._origin = f"{process}/{now * 1000:.0f}"
        self._latest = 0
        self._history = History(minute_seconds, retention_seconds)
        self._retention_seconds = retention_seconds
        self._requested = Moments()
        self._demanded = Moments()
        self._present = Present(clock)
        self._flying, self._wanted = self._present.flying, self._present.wanted
        self._named: defaultdict[str, set[str]] = defaultdict(set)
        """Clusters that an Envoy has named in the report that is coming in."""
        self.reports: Counter[str] = Counter()
        """Reports that were told here, by Envoy."""
        self._followers = Followers(self._told)
        # Whatever an earlier life of this process held is over: peers are to hear so.
        self._wanted.merge(process, self._version(now), {})

    # What is counted here

    def report(self, node: str, cluster: str, in_progress: int, issued: int, errors: int) -> None:
        """What an Envoy says of a cluster: requests in flight now, and those that began and those that failed since its last report."""
        if in_progress:
            self._named[node].add(cluster)
        register = self._flying.writers.get(node)
        same = in_progress == (register.values.get(cluster, 0) if register is not None else 0)
        if same and not issued and not errors:
            return
        key, now = endpoint(cluster), self._clock()
        if issued or errors:
            self.count(key, now, [(ISSUED, issued), (SERVER_ERRORS, errors)])
            if issued:
                self._requested.note(key, now)
        if not same:
            self._fly(node, cluster, in_progress, now)
        else:
            self._present.traffic(key)

    def reported(self, node: str) -> None:
        """The Envoy's report is complete: what it hasn't named, it doesn't know any more."""
        now, named = self._clock(), self._named.pop(node, set())
        self.reports[node] += 1
        register = self._flying.writers.get(node)
        if register is None:
            self._flying.merge(node, self._version(now), {})
            self._followers.flown(node)
            return
        for cluster in [cluster for cluster in register.values if cluster not in named]:
            self._fly(node, cluster, 0, now)

    def knows(self, node: str) -> bool:
        """Whether that Envoy has ever reported, here or to a peer whose word we have."""
        return node in self._flying.writers

    def gone(self, node: str) -> None:
        """The pod of that Envoy and of the process beside it is gone; a mere silence is no reason to say so.

        What it counted last is said again: who came meanwhile may have asked us before we heard it, and never have reached that process.
        """
        now = self._clock()
        self._named.pop(node, None)
        del self.reports[node]
        for origin, key, minutes in self._history.counted_since(now - LAST_WORDS_SECONDS, f"{node}/"):
            self._followers.counted(origin, key, minutes)
        if node in self._flying.writers:
            self._flying.merge(node, self._version(now), {})
            self._followers.flown(node)
        if node in self._wanted.writers and node != self.process:
            self._wanted.merge(node, self._version(now), {})
            self._followers.wanted(node)

    def listed(self, names: Collection[str]) -> None:
        """These are all the pods that there are: what others have said last, or the disk says of them, holds no longer."""
        for node in [
            name
            for writers in (self._flying.writers, self._wanted.writers)
            for name, each in writers.items()
            if each.values and name not in names and name != self.process
        ]:
            self.gone(node)

    def count(self, key: str, at: float, counts: Collection[tuple[int, int]]) -> None:
        """Add (slot, amount) pairs to what this process has counted for an endpoint."""
        self._history.add(self._origin, key, at, counts)
        self.totals.add(key, at, counts)
        self._followers.counted(self._origin, key, (self._history.minute(at),))

    def set_demand(self, key: str, held: int, waking: bool) -> None:
        """So many requests are held in this process for a Workload (``namespace/name``), and it wakes it or doesn't."""
        now = self._clock()
        value = (held, waking)
        before = self._wanted.writers[self.process].values.get(key, NOTHING)
        if value == before:
            return
        self._demanded.note(key, now)
        self._wanted.set(self.process, key, None if value == NOTHING else value, self._version(now))
        self._followers.wanted(self.process)
        self._followers.demanded(key, urgent=before == NOTHING)

    # What is known of all

    def in_flight(self, keys: Iterable[str]) -> int:
        """Requests under way at these endpoints, at all Envoys; one that is silent counts with its last word."""
        return sum(self._present.in_flight[key] for key in keys)

    def held(self, key: str) -> int:
        """Requests that are held for a Workload in all processes."""
        return self._present.held[key]

    def waking(self, key: str) -> bool:
        """Whether any process wakes the Workload."""
        return self._present.waking[key] > 0

    def mean(self, keys: Iterable[str], workload: str) -> float:
        """Requests in flight at the endpoints and held for the Workload, averaged over the last 30 seconds."""
        return self._present.mean((*keys, workload))

    def last_hour(self, keys: Iterable[str]) -> Count:
        """Requests of the last 60 minutes (and of up to 59 seconds before, see ``history``)."""
        now = self._clock()
        return Count(self._history.last_hour(keys, now), self.known_since <= now - self._history.hour_seconds)

    def last_request(self, key: str) -> float | None:
        """When an endpoint last got a request, to the second (Envoy's reports); None if not within retention."""
        return self._requested.at.get(key)

    def requested(self) -> Collection[tuple[str, float]]:
        """The same of all endpoints, as (endpoint, moment)."""
        return tuple(self._requested.at.items())

    def last_demand(self, key: str) -> float | None:
        """When the requests held for a Workload last changed in number."""
        return self._demanded.at.get(key)

    @property
    def history(self) -> History:
        """For figures over a period."""
        return self._history

    @property
    def now(self) -> float:
        """The time by this ledger's clock."""
        return self._clock()

    def on_demand(self, callback: Callable[[str], None]) -> None:
        """See the class."""
        self._present.on_demand.append(callback)

    def on_traffic(self, callback: Callable[[str], None]) -> None:
        """See the class."""
        self._present.on_traffic.append(callback)

    # What is told and heard

    @property
    def pending(self) -> bool:
        """Whether some listener has not been told yet of what has changed."""
        return self._followers.pending

    def follow(self) -> AbstractContextManager[Changes]:
        """Collect, for one listener, what changes here from now on."""
        return self._followers.follow()

    def parts(self) -> Iterator[bytes]:
        """All that is known, in messages of moderate size; the last one is ``whole``. Counting may go on between two of them."""
        yield self._written(
            flying={node: _register(each) for node, each in self._flying.writers.items()},
            wanted={process: _register(each) for process, each in self._wanted.writers.items()},
            requested=self._requested.at,
            demanded=self._demanded.at,
        )
        counts: defaultdict[str, dict[str, Buckets]] = defaultdict(dict)
        size = 0
        for origin, key, buckets in self._history.everything():
            counts[origin][key] = buckets
            size += len(buckets[0]) + len(buckets[1])
            if size >= BUCKETS_A_PART:
                yield self._written(counts=counts)
                counts.clear()
                size = 0
        if counts:
            yield self._written(counts=counts)
        since = {"known_since": self.known_since, "rated_since": self.rated_since, "attended_since": self.attended_since}
        yield self._written(whole=True, **since)

    def _told(self, changes: Changes) -> bytes:
        """The present values of what has changed."""
        counts: defaultdict[str, dict[str, Buckets]] = defaultdict(dict)
        for (origin, key), minutes in changes.minutes.items():
            counts[origin][key] = self._history.said(origin, key, minutes)
        return self._written(
            counts=counts,
            requested=self._requested.told({key for _, key in changes.minutes}),
            demanded=self._demanded.told(changes.demanded),
            flying={node: _register(self._flying.writers[node]) for node in changes.nodes if node in self._flying.writers},
            wanted={name: _register(self._wanted.writers[name]) for name in changes.processes if name in self._wanted.writers},
        )

    def merge(self, data: bytes, *, complete: bool = True) -> State:
        """Take over what another process says or the disk holds. Raises ValueError, and takes nothing, if it is malformed.

        ``complete`` says whether the writer's word on how far back it knows everything still holds.
        """
        state = read(data)
        now = self._clock()
        for origin, endpoints in state.counts.items():
            for key, buckets in endpoints.items():
                self._history.merge(origin, key, buckets, now)
        self._requested.merge(state.requested, now)
        self._demanded.merge(state.demanded, now)
        for node, flying in state.flying.items():
            self._latest = max(self._latest, flying.version)
            self._flying.merge(node, flying.version, {name: count for name, count in flying.values.items() if count})
        for process, wanted in state.wanted.items():
            self._latest = max(self._latest, wanted.version)
            if process != self.process:
                self._wanted.merge(process, wanted.version, wanted.values)
            elif wanted.version > (own := self._wanted.writers[process]).version:  # only we know what we hold: say it again
                own.version = self._version(now)
                self._followers.wanted(process)
        if state.whole and complete:
            if state.known_since is not None:
                self.known_since = min(self.known_since, state.known_since)
            if state.attended_since is not None:
                self.attended_since = min(self.attended_since, state.attended_since)
            if state.rated_since is not None:
                self.rated_since = min(self.rated_since or state.rated_since, state.rated_since)
        for key in state.requested:
            self._present.traffic(key)
        return state

    def prune(self) -> None:
        """Let go what is too old. To be called about once a minute; costs a look at every endpoint in use."""
        now = self._clock()
        self._history.prune(now)
        self.totals.prune(now - self._retention_seconds)
        for moments in (self._requested, self._demanded):
            moments.prune(now, self._retention_seconds)
        self._present.prune(self.process)

    def _fly(self, node: str, cluster: str, count: int, now: float) -> None:
        if self._flying.set(node, cluster, count or None, self._version(now)):
            self._followers.flown(node)

    def _version(self, now: float) -> int:
        self._latest = max(self._latest + 1, int(now * 1000))
        return self._latest

    def _written(self, **fields: Any) -> bytes:
        return orjson.dumps({"process": self.process, "at": self._clock(), **fields})


def _register(register: Any) -> dict[str, Any]:
    return {"version": register.version, "values": register.values}
