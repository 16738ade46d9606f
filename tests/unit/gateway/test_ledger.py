"""What the gateway counts: the sliding hour against a list of moments, and that hearing a thing twice or by another way changes nothing."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadstead.counts import Figures, Question
from roadstead.gateway.ledger.figures import at_quantile, figures, slower
from roadstead.gateway.ledger.history import LATENCY, LATENCY_BOUNDS, USER_ERRORS, History
from roadstead.gateway.ledger.ledger import RETENTION_SECONDS, Count, Ledger

W, D = "w-" + "0" * 24, "d-" + "1" * 24
BEGAN = 1_800_000_000.0
HOUR = 3600.0


@dataclass
class Clock:
    now: float = BEGAN

    def __call__(self) -> float:
        return self.now


@dataclass
class Replicas:
    """Ledgers of some processes on one clock; each has an Envoy of its own name."""

    clock: Clock = field(default_factory=Clock)

    def __call__(self, name: str, **more: Any) -> Ledger:
        return Ledger(name, clock=self.clock, **more)


def tell(source: Ledger, *others: Ledger) -> None:
    """All that one knows, to others."""
    for part in list(source.parts()):
        for other in others:
            other.merge(part)


def known(ledger: Ledger) -> Any:
    """All that a ledger knows, in an order that doesn't depend on how it came to know it."""
    found: dict[str, Any] = {"counts": {}}
    for part in ledger.parts():
        said = orjson.loads(part)
        for origin, endpoints in said.pop("counts", {}).items():
            for key, buckets in endpoints.items():
                found["counts"][origin, key] = [sorted(each) for each in buckets]
        found |= {name: value for name, value in said.items() if name not in ("process", "at")}
    found["wanted"] = {process: each for process, each in found["wanted"].items() if each["values"]}  # each begins with a word of its own
    return found


# The sliding hour

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


# Several processes

Act = Callable[[list[Ledger], Clock], None]


def _report(who: int, node: str, cluster: str, flying: int, issued: int, errors: int) -> Act:
    return lambda ledgers, _: ledgers[who].report(node, cluster, flying, issued, errors)


def _demand(who: int, key: str, held: int, waking: bool) -> Act:
    return lambda ledgers, _: ledgers[who].set_demand(key, held, waking)


def _gone(who: int, node: str) -> Act:
    return lambda ledgers, _: ledgers[who].gone(node)


def _later(seconds: float) -> Act:
    def act(_: list[Ledger], clock: Clock) -> None:
        clock.now += seconds

    return act


WHO = st.integers(0, 2)
NODES, CLUSTERS = st.sampled_from("abc"), st.sampled_from([W, D, f"{W}.h2c"])
ACTS = st.one_of(
    st.builds(_report, WHO, NODES, CLUSTERS, st.integers(0, 3), st.integers(0, 9), st.integers(0, 2)),
    st.builds(_demand, WHO, st.sampled_from(["n/w", "n/x"]), st.integers(0, 2), st.booleans()),
    st.builds(_gone, WHO, NODES),
    st.builds(_later, st.floats(0.1, 200)),
    st.builds(lambda source, to: lambda ledgers, _: tell(ledgers[source], ledgers[to]), WHO, WHO),
)


@given(st.lists(ACTS, max_size=30), st.permutations([0, 1, 2]), st.permutations([0, 1, 2]))
def test_it_does_not_matter_who_tells_whom_in_which_order_and_how_often(acts: list[Act], one: list[int], other: list[int]) -> None:
    clock = Clock()
    ledgers = [Ledger(name, clock=clock) for name in "abc"]
    for act in acts:
        act(ledgers, clock)
    direct, roundabout, grouped = (Ledger("x", clock=clock) for _ in range(3))
    for number in one:
        tell(ledgers[number], direct)
    for number in (*other, *one):
        tell(ledgers[number], roundabout)
    between = Ledger("y", clock=clock)
    tell(ledgers[other[0]], between)
    tell(ledgers[other[1]], between)
    tell(ledgers[other[2]], grouped)
    tell(between, grouped)
    assert known(direct) == known(roundabout) == known(grouped)
    before = known(direct)
    tell(roundabout, direct)
    assert known(direct) == before
    for key in (W, D):
        assert direct.in_flight([key]) == grouped.in_flight([key]) >= 0


@given(st.lists(ACTS, max_size=30))
def test_changes_told_one_by_one_are_worth_the_whole(acts: list[Act]) -> None:
    clock = Clock()
    ledgers = [Ledger(name, clock=clock) for name in "abc"]
    listener = Ledger("x", clock=clock)
    for ledger in ledgers:
        tell(ledger, listener)
    with ledgers[0].follow() as a, ledgers[1].follow() as b, ledgers[2].follow() as c:
        for act in acts:
            act(ledgers, clock)
            for changes in (a, b, c):
                if (message := changes.take()) is not None:
                    listener.merge(message)
                    listener.merge(message)
        assert a.take() is None
    everything = Ledger("x", clock=clock)
    for ledger in ledgers:
        tell(ledger, everything)
    told, whole = known(listener), known(everything)
    for name in ("counts", "requested", "demanded", "flying"):
        assert told[name] == whole[name], name
    for key in ("n/w", "n/x"):
        assert (listener.held(key), listener.waking(key)) == (everything.held(key), everything.waking(key))


def test_the_hour_of_a_process_that_is_gone_goes_on_by_way_of_another() -> None:
    replicas = Replicas()
    a, b = replicas("a"), replicas("b")
    a.report("a", W, 0, 10, 1)
    tell(a, b)
    replicas.clock.now += 10
    b.report("b", W, 0, 1, 0)
    c = replicas("c")
    tell(b, c)
    b.gone("a")
    assert c.last_hour([W]).value == 11
    replicas.clock.now += HOUR - 10
    assert c.last_hour([W]).exact  # what a knew since then, b knew, and now c


def test_the_next_life_of_a_process_counts_under_another_name() -> None:
    replicas = Replicas()
    first, peer = replicas("a"), replicas("b")
    first.report("a", W, 3, 10, 0)
    first.set_demand("n/w", 2, True)
    tell(first, peer)
    replicas.clock.now += 1
    second = replicas("a")
    second.report("a", W, 1, 4, 0)
    tell(second, peer)
    assert peer.last_hour([W]).value == 14
    assert peer.in_flight([W]) == 1
    assert (peer.held("n/w"), peer.waking("n/w")) == (0, False)  # what it held has broken off with it
    tell(peer, second)
    assert second.last_hour([W]).value == 14
    assert second.held("n/w") == 0


def test_an_envoy_that_changes_to_a_process_whose_clock_is_behind_is_believed_at_once() -> None:
    ahead, behind = Ledger("a", clock=Clock(BEGAN + 500)), Ledger("b", clock=Clock(BEGAN))
    ahead.report("e", W, 5, 5, 0)
    tell(ahead, behind)
    behind.report("e", W, 2, 0, 0)
    tell(behind, ahead)
    assert ahead.in_flight([W]) == behind.in_flight([W]) == 2


def test_what_an_envoy_no_longer_names_is_over_and_a_silent_one_counts_until_it_is_gone() -> None:
    replicas = Replicas()
    ledger, peer = replicas("a"), replicas("b")
    assert not ledger.knows("e")
    ledger.report("e", W, 5, 0, 0)
    ledger.report("e", f"{W}.h2c", 2, 0, 0)
    ledger.report("e", D, 1, 0, 0)
    ledger.reported("e")
    assert ledger.in_flight([W]) == 7
    ledger.report("e", W, 5, 0, 0)
    ledger.reported("e")
    assert ledger.in_flight([W, D]) == 5
    replicas.clock.now += 10 * HOUR
    ledger.prune()
    assert ledger.in_flight([W, D]) == 5
    tell(ledger, peer)
    ledger.gone("e")
    tell(ledger, peer)
    assert ledger.in_flight([W, D]) == peer.in_flight([W, D]) == 0


def test_an_envoy_without_clusters_has_reported_too() -> None:
    replicas = Replicas()
    ledger, peer = replicas("a"), replicas("b")
    with ledger.follow() as changes:
        ledger.reported("e")
        assert ledger.knows("e")
        message = changes.take()
    assert message is not None
    peer.merge(message)
    assert peer.knows("e")


def test_demand_that_begins_is_urgent_and_every_change_is_told() -> None:
    replicas = Replicas()
    a, b = replicas("a"), replicas("b")
    told: list[tuple[str, int, bool]] = []
    b.on_demand(lambda key: told.append((key, b.held(key), b.waking(key))))
    with a.follow() as changes:
        for held, waking in ((1, True), (2, True), (2, True), (0, True), (0, False)):
            changes.urgent.clear()
            a.set_demand("n/w", held, waking)
            assert changes.urgent.is_set() == ((held, waking) == (1, True) and not told)
            if (message := changes.take()) is not None:
                b.merge(message)
    assert told == [("n/w", 1, True), ("n/w", 2, True), ("n/w", 0, True), ("n/w", 0, False)]
    assert b.last_demand("n/w") == BEGAN


def test_an_endpoint_with_traffic_is_told_of_wherever_it_came_in() -> None:
    replicas = Replicas()
    a, b = replicas("a"), replicas("b")
    told: list[str] = []
    b.on_traffic(told.append)
    with a.follow() as changes:
        a.report("a", f"{W}.h2c", 0, 1, 0)
        message = changes.take()
    assert message is not None
    b.merge(message)
    assert set(told) == {W}
    assert b.last_request(W) == BEGAN


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b'{"counts": 1}',
        b'{"counts": {"o": {"k": [[[]], []]}}}',
        b'{"counts": {"o": {"k": [[[1, -1]], []]}}}',
        b'{"requested": {"k": null}}',
    ],
)
def test_what_is_malformed_is_not_taken_over(data: bytes) -> None:
    ledger = Replicas()("a")
    before = known(ledger)
    with pytest.raises(ValueError, match="not a state of a ledger"):
        ledger.merge(data)
    assert known(ledger) == before


# The mean


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


# Figures


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
    ledger.count(W, clock.now, [(USER_ERRORS, 2), (LATENCY + LATENCY_BOUNDS.index(2000), 10), (LATENCY + LATENCY_BOUNDS.index(5000), 1)])
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
    nothing = [0] * (len(LATENCY_BOUNDS) + 1)
    assert at_quantile(nothing, 0.5) is None
    assert slower(nothing, 1) == 0
    beyond = [*nothing[:-1], 4]
    assert at_quantile(beyond, 0.5) == LATENCY_BOUNDS[-1]
    assert slower(beyond, LATENCY_BOUNDS[-1]) == 4
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
