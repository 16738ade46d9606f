"""Loops that look again and again wake the process at the same moments."""

from __future__ import annotations

import asyncio

import pytest

from roadstead.ticks import to_tick


class Clock(asyncio.SelectorEventLoop):
    """A loop whose clock stands where it is told."""

    now = 0.0

    def time(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("now", "seconds", "sleep"), [(0.0, 1.0, 1.0), (7.25, 1.0, 0.75), (7.25, 2.0, 0.75), (6.999, 1.0, 1.001), (17.5, 10.0, 2.5)]
)
def test_they_meet_at_whole_multiples(now: float, seconds: float, sleep: float) -> None:
    loop = Clock()

    async def asked() -> float:
        loop.now = now
        return to_tick(seconds)

    try:
        assert loop.run_until_complete(asked()) == pytest.approx(sleep)
    finally:
        loop.close()
