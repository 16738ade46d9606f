"""How long to wait after the n-th failure in a row: the one formula that client, mirrors, queue and elector share."""

from __future__ import annotations

import random


def backoff(failures: int, *, base: float, cap: float) -> float:
    """Seconds to wait after ``failures`` (>= 1) failures in a row: doubles from ``base`` up to ``cap``, then takes 50-100 % of it.

    The random part keeps replicas and keys that failed together from coming back together.
    """
    longest = min(cap, base * 2.0 ** min(failures - 1, 32))
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 - spreading load, not a secret
