"""What gateway processes tell each other: hearing a thing twice, late or by another way changes nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadstead.gateway.ledger.ledger import LAST_WORDS_SECONDS, Ledger
from tests.unit.gateway.ledger_world import BEGAN, HOUR, Clock, D, Replicas, W, known, tell

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


def test_the_last_words_of_a_process_that_is_gone_reach_those_who_never_heard_it() -> None:
    """c comes while a ends: it asked b before a's last words came there, and didn't reach a any more."""
    replicas = Replicas()
    a, b, c = (replicas(name) for name in "abc")
    a.report("a", W, 1, 5, 1)
    tell(a, b)
    tell(b, c)
    with b.follow() as changes:
        replicas.clock.now += 60
        a.report("a", W, 0, 7, 0)
        a.report("a", D, 0, 1, 0)
        tell(a, b)
        assert not b.pending  # nobody passes on what everybody hears from the source
        b.gone("a")
        assert b.pending
        message = changes.take()
        assert not b.pending
    assert message is not None
    c.merge(message)
    assert c.last_hour([W]).value == 12
    assert (c.last_hour([D]).value, c.last_request(D)) == (1, replicas.clock.now)


def test_nothing_old_is_said_again_of_a_process_that_is_gone() -> None:
    replicas = Replicas()
    a, b = replicas("a"), replicas("b")
    a.report("a", W, 0, 5, 0)
    tell(a, b)
    replicas.clock.now += LAST_WORDS_SECONDS + 60
    with b.follow() as changes:
        b.gone("a")
        message = changes.take()
    assert message is None or W not in message.decode()


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
