"""Figures over a period: what isn't known is None, quantiles are those of the buckets, and the oldest hours go first."""

from __future__ import annotations

from typing import Any

import pytest

from roadstead.counts import Figures, Question
from roadstead.gateway.ledger.figures import figures
from roadstead.gateway.ledger.history import LATENCY, USER_ERRORS, History
from roadstead.gateway.ledger.ledger import RETENTION_SECONDS, Ledger
from roadstead.latencies import BOUNDS, at_quantile, slower
from tests.unit.gateway.ledger_world import BEGAN, HOUR, Clock, W


def ask(ledger: Ledger, start: float, end: float, **more: Any) -> Figures:
    return figures(ledger, Question(endpoints=[W], start=start, end=end, **more))


def test_figures_of_the_last_hour_and_of_weeks() -> None:
    clock = Clock()
    ledger = Ledger("a", clock=clock)
    for _ in range(24 * 40):  # forty days
        ledger.report("a", W, 0, 10, 1)
        clock.now += HOUR
    ledger.prune()
    ledger.report("a", W, 3, 4, 1)
    clock.now += 1
    found = ask(ledger, clock.now - 60, clock.now)
    assert (found.requests, found.server_errors, found.in_flight, found.last_request_at) == (4, 1, 3, clock.now - 1)
    assert ask(ledger, clock.now - 25 * HOUR, clock.now - HOUR - 1).requests == 24 * 10
    every = ask(ledger, 0, clock.now)
    assert every.start is not None
    assert clock.now - every.start == pytest.approx(RETENTION_SECONDS, abs=HOUR)
    assert every.requests == 31 * 24 * 10 + 4


def test_what_is_not_known_is_none() -> None:
    clock = Clock()
    ledger = Ledger("a", clock=clock)
    assert ask(ledger, BEGAN - HOUR, BEGAN - 1) == Figures(in_flight=0)
    clock.now += 120
    found = ask(ledger, BEGAN - HOUR, clock.now)
    assert (found.start, found.end, found.requests) == (BEGAN, clock.now, 0)
    assert (found.user_errors, found.response_milliseconds, found.slow_requests, found.last_request_at) == (None, None, None, None)
    ledger.rated_since = BEGAN
    found = ask(ledger, BEGAN, clock.now)
    assert (found.user_errors, found.response_milliseconds, found.slow_requests) == (0, None, 0)
    ledger.count(W, clock.now, [(USER_ERRORS, 2), (LATENCY + BOUNDS.index(2000), 10), (LATENCY + BOUNDS.index(5000), 1)])
    clock.now += 1
    found = ask(ledger, BEGAN, clock.now, quantile=0.5)
    assert (found.user_errors, found.slow_requests) == (2, 1)
    assert found.response_milliseconds == pytest.approx(1550)


def test_without_a_beginning_it_is_the_last_hour_in_minutes_and_nothing_from_before_the_endpoint_was_made() -> None:
    clock = Clock()
    ledger = Ledger("a", clock=clock)
    ledger.report("a", W, 0, 7, 0)
    clock.now += 3 * HOUR + 59
    ledger.report("a", W, 0, 4, 0)
    now = clock.now
    found = figures(ledger, Question(endpoints=[W]))
    assert (found.start, found.end, found.requests) == ((now - HOUR) // 60 * 60, now, 4)
    assert figures(ledger, Question(endpoints=[W], end=now + HOUR - 1)).requests == 4
    assert figures(ledger, Question(endpoints=[W], end=now + 3 * HOUR)).start is None, "the hour before then is yet to come"
    assert figures(ledger, Question(endpoints=[W], end=BEGAN + 60)).requests == 7
    every = figures(ledger, Question(endpoints=[W], start=0))
    assert (every.start, every.requests) == (BEGAN, 11)
    later = figures(ledger, Question(endpoints=[W], start=0, not_before=now - 60))
    assert (later.start, later.requests, later.last_request_at) == ((now - 60) // 60 * 60, 4, now)
    other = figures(ledger, Question(endpoints=[W], start=0, end=now - 2 * HOUR, not_before=now - 60))
    assert other == Figures(in_flight=0, last_request_at=now)
    clock.now += 600
    assert figures(ledger, Question(endpoints=[W], not_before=now + 60)).last_request_at is None


def test_quantiles_and_slow_ones() -> None:
    nothing = [0] * (len(BOUNDS) + 1)
    assert at_quantile(nothing, 0.5) is None
    assert slower(nothing, 1) == 0
    beyond = [*nothing[:-1], 4]
    assert at_quantile(beyond, 0.5) == BOUNDS[-1]
    assert slower(beyond, BOUNDS[-1]) == 4
    four = [*[0] * 3, 4]
    assert at_quantile(four, 0) == 5
    assert at_quantile(four, 1) == 10
    assert slower(four, 7.5) == 2
    assert slower(four, 10) == 0


def test_the_oldest_hours_go_when_there_are_too_many() -> None:
    history = History(60, RETENTION_SECONDS, hours_kept=10)
    for hour in range(20):
        history.add("a", W, BEGAN + hour * HOUR, [(0, 1)])
    now = BEGAN + 19 * HOUR
    history.prune(now)
    counts, start, _ = history.total([W], 0, now + 1, now + 1)
    assert counts[0] == 10
    assert start == history.forgotten_before == BEGAN + 10 * HOUR
    history.merge("a", W, ([], [[int(BEGAN // HOUR), 5]]), now)
    assert history.total([W], 0, now + 1, now + 1)[0][0] == 10
