"""One clock for all that looks again and again: loops of a process that sleep until the same moments wake it once, not each by itself.

A wake after half a second of rest costs a millisecond, whatever is done then: nothing of the process is in the processor's caches any more.
"""

from __future__ import annotations

import asyncio


def to_tick(seconds: float) -> float:
    """How long to sleep until the event loop's clock is at a whole multiple of that, in seconds.

    A timer may fire a millisecond before its time: within a tenth of a tick the one after is meant.
    """
    left = seconds - asyncio.get_running_loop().time() % seconds
    return left if left > seconds / 10 else left + seconds
