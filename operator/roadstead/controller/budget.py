"""How often one object's status may be written: freely for a while, then bounded, whatever flaps beneath it."""

from __future__ import annotations

from dataclasses import dataclass

BURST = 20
REFILL_SECONDS = 5.0
"""BURST writes at once and one more each REFILL_SECONDS: a status lags by that much at most, and only while it never rests."""


@dataclass(slots=True)
class Budget:
    """A token bucket; times are monotonic seconds."""

    tokens: float = BURST
    at: float = 0.0

    def wait_seconds(self, now: float) -> float:
        """How long until a write may be made; 0 where one may, which then counts as made."""
        self.tokens = min(BURST, self.tokens + max(0.0, now - self.at) / REFILL_SECONDS)
        self.at = now
        if self.tokens < 1:
            return (1 - self.tokens) * REFILL_SECONDS
        self.tokens -= 1
        return 0.0
