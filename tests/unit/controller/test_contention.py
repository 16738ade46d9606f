"""How often a field is put back that another writer changes again and again."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadstead.controller.contention import CHILD_DELETED, FIELD_CONFLICT, Quarrel, deleter_of, former_rival, rival_of
from roadstead.observed.conditions import Condition, render

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)


def fought(quarrel: Quarrel, seconds: float, begin: float = 0.0) -> list[float]:
    """The times of our writes while somebody undoes each of them at once."""
    times, now = [], begin
    while now < begin + seconds:
        if (wait := quarrel.wait_seconds("d", now)) > 0:
            now += wait
        else:
            quarrel.wrote("d", now)
            times.append(now)
            now += 0.1
    return times


def test_repairs_become_rare() -> None:
    quarrel = Quarrel()
    quarrel.wrote("d", 0.0)
    times = fought(quarrel, 3600, begin=10.0)
    assert [round(at) for at in times[:8]] == [10, 10, 10, 70, 190, 430, 910, 1510]
    assert len(times) <= 12


def test_what_is_newly_declared_never_waits() -> None:
    quarrel = Quarrel()
    fought(quarrel, 300)
    assert quarrel.wait_seconds("d", 301) > 0
    assert quarrel.wait_seconds("new", 301) == 0
    quarrel.wrote("new", 301)
    assert quarrel.wait_seconds("new", 302) == 0


def test_a_hand_edit_now_and_then_is_put_back_at_once() -> None:
    quarrel = Quarrel()
    for hour in range(24):
        assert quarrel.wait_seconds("d", hour * 3600.0) == 0
        quarrel.wrote("d", hour * 3600.0)


def test_after_calm_it_begins_anew() -> None:
    quarrel = Quarrel()
    last = fought(quarrel, 3600)[-1]
    assert not quarrel.calm(last + 59)
    assert quarrel.calm(last + 60)
    assert len(fought(quarrel, 1, begin=last + 1200)) >= 1
    assert quarrel.rounds == 0 or quarrel.wait_seconds("d", last + 1202) <= 60


@given(st.lists(st.floats(0, 600), min_size=1, max_size=200))
def test_never_more_than_a_handful_a_minute(gaps: list[float]) -> None:
    quarrel, now, times = Quarrel(), 0.0, []
    quarrel.wrote("d", now)
    for gap in gaps:
        now += gap
        now += quarrel.wait_seconds("d", now)
        quarrel.wrote("d", now)
        times.append(now)
    assert max(sum(start <= at < start + 60 for at in times) for start in times) <= 4


def test_the_other_is_named() -> None:
    said = rival_of([("kubectl-patch", "/spec/a"), ("kubectl-patch", "/spec/b")], "Deployment chat")
    assert said.reason == FIELD_CONFLICT
    assert said.message.startswith("kubectl-patch keeps changing /spec/a, /spec/b of Deployment chat")
    assert rival_of([], "Deployment chat").message.startswith("somebody keeps changing fields of")


@pytest.mark.parametrize("rival", [rival_of([("kubectl", "/spec/a")], "Deployment chat"), deleter_of("Service chat")])
def test_a_status_tells_of_the_quarrel_as_it_was(rival: Condition) -> None:
    assert rival.reason in (FIELD_CONFLICT, CHILD_DELETED)
    assert former_rival({"conditions": render([rival], (), 1, NOW)}) == rival
    assert former_rival({"conditions": render([replace(rival, reason="ChangePending")], (), 1, NOW)}) is None
    assert former_rival({}) is None
