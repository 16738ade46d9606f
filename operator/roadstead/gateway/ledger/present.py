"""What is so at this moment, over all Envoys and processes: requests in flight and held, wakes, and their recent mean."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable
from typing import Final

from roadstead.gateway.ledger.gauges import Registers

MEAN_SECONDS: Final = 30.0
KEPT_SECONDS: Final = 3600.0
"""How long it is remembered that a writer has nothing to say any more, so that a late word of an older time isn't believed."""
NOTHING: Final = (0, False)


def endpoint(cluster: str) -> str:
    """What Envoy's cluster is counted under: ``w-<id>`` of ``w-<id>.h2c``."""
    return cluster.partition(".")[0]


class Present:
    """``flying`` holds requests in flight by Envoy and cluster, ``wanted`` what is held and woken by process and Workload.

    ``on_demand`` and ``on_traffic`` are called with the Workload or the endpoint that has changed.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.flying = Registers[int](self._flew)
        self.wanted = Registers[tuple[int, bool]](self._demanded)
        self.in_flight: Counter[str] = Counter()
        self.held: Counter[str] = Counter()
        self.waking: Counter[str] = Counter()
        self.on_demand: list[Callable[[str], None]] = []
        self.on_traffic: list[Callable[[str], None]] = []
        self._clock = clock
        self._levels: dict[str, Level] = {}
        """Of endpoints, and of what is held for Workloads."""

    def mean(self, names: Iterable[str]) -> float:
        """Requests in flight at endpoints and held for Workloads, averaged over the last MEAN_SECONDS."""
        now = self._clock()
        return sum(level.mean(now) for name in names if (level := self._levels.get(name)) is not None)

    def traffic(self, key: str) -> None:
        """Tell of requests to an endpoint."""
        for callback in self.on_traffic:
            callback(key)

    def prune(self, own: str) -> None:
        """Let go what is at rest; not this process's own registers."""
        now = self._clock()
        for name in [name for name, level in self._levels.items() if level.forgettable(now)]:
            del self._levels[name]
        for counter in (self.in_flight, self.held, self.waking):
            for name in [name for name, value in counter.items() if not value]:
                del counter[name]
        self.flying.forget((now - KEPT_SECONDS) * 1000, keep={own})
        self.wanted.forget((now - KEPT_SECONDS) * 1000, keep={own})

    def _flew(self, cluster: str, old: int | None, new: int | None) -> None:
        key, difference = endpoint(cluster), (new or 0) - (old or 0)
        self.in_flight[key] += difference
        self._level(key, difference)
        self.traffic(key)

    def _demanded(self, key: str, old: tuple[int, bool] | None, new: tuple[int, bool] | None) -> None:
        (held_before, woke), (held, wakes) = old or NOTHING, new or NOTHING
        self.held[key] += held - held_before
        self.waking[key] += int(wakes) - int(woke)
        self._level(key, held - held_before)
        for callback in self.on_demand:
            callback(key)

    def _level(self, name: str, difference: int) -> None:
        if difference:
            now = self._clock()
            level = self._levels.get(name)
            if level is None:
                level = self._levels[name] = Level(now)
            level.add(difference, now)


class Level:
    """A number over time, and its mean over the last MEAN_SECONDS, weighted by time.

    It keeps about one point a second of the area below the curve, and takes the curve for flat between two.
    """

    __slots__ = ("_area", "_at", "_points", "value")

    def __init__(self, now: float) -> None:
        self.value = 0
        self._at = now
        self._area = 0.0
        self._points: deque[tuple[float, float]] = deque([(now, 0.0)])

    def add(self, amount: int, now: float) -> None:
        """From now on it is so much higher."""
        self._forward(now)
        self.value += amount

    def mean(self, now: float) -> float:
        """The mean; before it was first heard of it was 0."""
        self._forward(now)
        since = now - MEAN_SECONDS
        points = self._points
        while len(points) > 1 and points[1][0] <= since:
            points.popleft()
        (at, area), (later_at, later_area) = points[0], points[1] if len(points) > 1 else (self._at, self._area)
        if at < since:
            area += (later_area - area) * (since - at) / (later_at - at)
        return max(0.0, self._area - area) / MEAN_SECONDS

    def forgettable(self, now: float) -> bool:
        """Whether it has been 0 for so long that nothing is lost with it."""
        return self.value == 0 and now - self._at > MEAN_SECONDS and self.mean(now) == 0

    def _forward(self, now: float) -> None:
        if now <= self._at:
            if self._at - now > MEAN_SECONDS:  # the clock has gone back: the mean begins anew
                self._at = now
                self._points = deque([(now, self._area)])
            return
        if now - self._points[-1][0] >= 1.0 and self._at > self._points[-1][0]:
            self._points.append((self._at, self._area))
            while len(self._points) > 2 and self._points[1][0] <= now - MEAN_SECONDS:
                self._points.popleft()
        self._area += self.value * (now - self._at)
        self._at = now
