"""What one gateway process counts: the sliding hour and the mean against lists of moments, and that what is at rest costs nothing."""

from __future__ import annotations

import itertools

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadstead.gateway.ledger.ledger import RETENTION_SECONDS, Count, Ledger
from tests.unit.gateway.ledger_world import BEGAN, HOUR, Clock, Replicas, W

MOMENTS = st.lists(st.tuples(st.floats(0, 3 * HOUR), st.integers(1, 50)), max_size=40)


@given(MOMENTS, st.lists(st.floats(0, 4.2 * HOUR), min_size=1, max_size=10), st.floats(0, 60))
def test_a_request_counts_for_60_minutes_and_never_for_more_than_61(
    requests: list[tuple[float, int]], looks: list[float], offset: float
) -> None:
    clock = Clock(BEGAN + offset)
    began, ledger = clock.now, Ledger("a", clock=clock)
    steps = sorted([(at, count) for at, count in requests] + [(at, 0) for at in looks])
    naive: list[tuple[float, int]] = []
    for at, count in steps:
        clock.now = began + at
        if count:
            ledger.report("a", W, 0, count, 0)
            naive.append((clock.now, count))
            continue
        found = ledger.last_hour([W]).value
        assert found >= sum(n for when, n in naive if when >= clock.now - HOUR)
        assert found <= sum(n for when, n in naive if when > clock.now - HOUR - 60)
        ledger.prune()
        assert ledger.last_hour([W]).value == found


def test_the_hour_is_exact_at_its_edges() -> None:
    clock = Clock(BEGAN + 59.999)  # the end of a minute (BEGAN is the start of one)
    assert BEGAN % 60 == 0
    ledger = Ledger("a", clock=clock)
    ledger.report("a", W, 0, 7, 0)
    clock.now += HOUR
    assert ledger.last_hour([W]).value == 7
    clock.now += 0.002
    assert ledger.last_hour([W]).value == 0


def test_an_hour_that_began_before_us_is_known_only_in_part() -> None:
    replicas = Replicas()
    ledger = replicas("a")
    ledger.report("a", W, 0, 5, 0)
    assert ledger.last_hour([W]) == Count(5, exact=False)
    replicas.clock.now += HOUR
    assert ledger.last_hour([W]) == Count(5, exact=True)


def test_time_can_be_compressed() -> None:
    clock = Clock()
    ledger = Ledger("a", clock=clock, minute_seconds=1)
    ledger.report("a", W, 0, 5, 0)
    clock.now += 60
    assert ledger.last_hour([W]) == Count(5, exact=True)
    clock.now += 1
    assert ledger.last_hour([W]) == Count(0, exact=True)


@given(st.lists(st.tuples(st.floats(0.01, 20), st.integers(0, 9)), max_size=30), st.floats(0, 40))
def test_the_mean_is_weighted_by_time(steps: list[tuple[float, int]], wait: float) -> None:
    clock = Clock()
    ledger = Ledger("a", clock=clock)
    curve: list[tuple[float, int]] = []
    for seconds, value in steps:
        clock.now += seconds
        ledger.report("a", W, value, 0, 0)
        curve.append((clock.now, value))
    clock.now += wait
    ends = [*(at for at, _ in curve), clock.now][1:]
    naive = sum(value * max(0.0, end - max(at, clock.now - 30)) for (at, value), end in zip(curve, ends, strict=True)) / 30
    most = max((value for _, value in curve), default=0)
    assert ledger.mean([W], "n/w") == pytest.approx(naive, abs=most * 1.0 / 30 + 1e-6)  # flat between points a second apart


def test_what_has_been_at_rest_costs_nothing() -> None:
    clock = Clock()
    ledger = Ledger("a", clock=clock)
    for number in range(50):
        ledger.report("a", f"w-{number:024d}", 1, 1, 0)
        ledger.report("a", f"w-{number:024d}", 0, 0, 0)
        ledger.set_demand(f"n/{number}", 1, True)
        ledger.set_demand(f"n/{number}", 0, False)
    clock.now += RETENTION_SECONDS + 2 * HOUR
    ledger.prune()
    assert list(itertools.chain.from_iterable(orjson.loads(part).get("counts", {}) for part in ledger.parts())) == []
    assert not ledger._present._levels
    assert not ledger._requested.at
    assert not ledger._demanded.at
    assert not ledger._present.in_flight
