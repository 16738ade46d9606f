"""How late the event loop is: everything in the process waits that long, its answers to probes included."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

from roadstead.ticks import to_tick

PAUSE_SECONDS: Final = 1.0
KEPT: Final = 30
"""Samples: half a minute."""


class LoopLag:
    """Measures while ``run()`` runs. ``sampled`` is told of each lag, in seconds."""

    def __init__(self, sampled: Callable[[float], None] = lambda _: None) -> None:
        self._sampled = sampled
        self._recent: deque[float] = deque(maxlen=KEPT)

    @property
    def worst_seconds(self) -> float:
        """The worst lag of the last half minute."""
        return max(self._recent, default=0.0)

    async def run(self) -> None:
        """Measure until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            pause = to_tick(PAUSE_SECONDS)
            due = loop.time() + pause
            await asyncio.sleep(pause)
            lag = max(0.0, loop.time() - due)
            self._recent.append(lag)
            self._sampled(lag)
