"""The bound on status writes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from roadstead.controller.budget import BURST, REFILL_SECONDS, Budget


@given(st.lists(st.floats(0, 20), max_size=300))
def test_writes_are_bounded_and_none_waits_long(gaps: list[float]) -> None:
    budget, now, made = Budget(), 1000.0, []
    for gap in gaps:
        now += gap
        wait = budget.wait_seconds(now)
        assert 0 <= wait <= REFILL_SECONDS
        if wait == 0:
            made.append(now)
    for start in made:
        assert sum(start <= at <= start + 60 for at in made) <= BURST + 60 / REFILL_SECONDS + 1


def test_what_rests_may_be_written_at_once() -> None:
    budget = Budget()
    while budget.wait_seconds(10.0) == 0:
        pass
    assert budget.wait_seconds(10.0 + REFILL_SECONDS + 0.1) == 0
