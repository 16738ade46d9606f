"""How much one caller may ask of this replica: a bucket of tokens that fills at a steady rate."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

MOST: Final = 10_000
"""Callers remembered; who has been forgotten begins with a full bucket."""


class Buckets:
    """One bucket a caller. ``rate`` is requests a second in the long run, ``burst`` at once; a rate of 0 means no limit."""

    def __init__(self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, caller: str) -> float:
        """0 if a request may pass, else the seconds until the next one may."""
        if not self._rate:
            return 0.0
        level = self._level(caller)
        return 0.0 if level >= 1 else (1 - level) / self._rate

    def take(self, caller: str) -> float:
        """As ``wait``, and lets it pass."""
        wait = self.wait(caller)
        if self._rate and not wait:
            self._levels[caller] = (self._level(caller) - 1, self._clock())
            self._levels.move_to_end(caller)
            if len(self._levels) > MOST:
                self._levels.popitem(last=False)
        return wait

    def give_back(self, caller: str) -> None:
        """What was taken wasn't used."""
        if caller in self._levels:  # who has been forgotten begins with a full one anyway
            self._levels[caller] = (min(self._burst, self._level(caller) + 1), self._clock())

    def _level(self, caller: str) -> float:
        now = self._clock()
        level, then = self._levels.get(caller, (self._burst, now))
        return min(self._burst, level + (now - then) * self._rate)
