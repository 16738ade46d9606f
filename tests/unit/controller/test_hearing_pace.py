"""How often Events are asked for."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from roadstead.controller.hearing import Hearing
from roadstead.observed.hearing import Doubt, Heard, Kill, Topic
from roadstead.observed.views import PodView, pod_view
from tests.build import raw_pod

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
POD = pod_view(raw_pod())
DOUBT = Doubt("uid-chat-1", Topic.READINESS, NOW)
ANSWER = (Heard("Unhealthy", "Readiness probe failed: no", "main"),)


def later(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def test_an_answer_ends_the_asking() -> None:
    hearing = Hearing()
    assert hearing.wait_seconds(DOUBT, NOW) == 0
    assert hearing.wait_seconds(Doubt("uid-chat-1", Topic.READINESS, later(7)), NOW) == 7
    hearing.note(DOUBT, ANSWER, NOW)
    assert hearing.wait_seconds(DOUBT, later(3600)) is None
    assert hearing.of([POD], {}) == {"uid-chat-1": ANSWER}


def test_without_an_answer_it_is_asked_ever_more_seldom() -> None:
    hearing, now, waits = Hearing(), NOW, []
    for _ in range(8):
        hearing.note(DOUBT, (), now)
        waits.append(hearing.wait_seconds(DOUBT, now) or 0)
        now += timedelta(seconds=waits[-1])
    assert waits == [10, 20, 40, 80, 160, 320, 600, 600]


def test_one_workload_asks_every_five_seconds_at_most_whatever_the_question() -> None:
    hearing = Hearing()
    hearing.note(DOUBT, ANSWER, NOW)
    other = Doubt("uid-2", Topic.KILL, later(1))
    assert hearing.wait_seconds(other, later(1)) == 4


def test_what_was_overheard_is_said_when_it_is_due_and_waits_for_no_pause() -> None:
    hearing = Hearing()
    hearing.note(DOUBT, (), NOW)
    hearing.note(Doubt("uid-2", Topic.KILL, NOW), ANSWER, later(1))
    assert hearing.wait_seconds(DOUBT, later(2)) == 8
    assert hearing.wait_seconds(DOUBT, later(2), overheard=True) == 0
    assert hearing.wait_seconds(Doubt("uid-chat-1", Topic.STARTUP, later(7)), later(2), overheard=True) == 5
    hearing.note(DOUBT, ANSWER, later(2))
    assert hearing.wait_seconds(DOUBT, later(2), overheard=True) is None


READY = pod_view(raw_pod(ready=True, state={"running": {"startedAt": "2026-11-25T11:00:00Z"}}))
KILLED = {POD.uid: Kill("main", "liveness", "2026-11-25T11:59:59Z")}


@pytest.mark.parametrize(
    ("pod", "kills", "kept"),
    [
        (POD, {}, True),
        (READY, {}, False),
        (READY, KILLED, True),
        (READY, {POD.uid: replace(KILLED[POD.uid], at="2026-11-25T10:59:59Z")}, False),
    ],
)
def test_what_was_heard_of_a_pod_is_history_once_it_is_ready(pod: PodView, kills: dict[str, Kill], kept: bool) -> None:
    """But how often was asked is not: a pod that comes and goes doesn't make us ask at each turn."""
    hearing = Hearing()
    hearing.note(DOUBT, (), NOW)
    hearing.note(DOUBT, ANSWER, later(10))
    assert hearing.of([pod], kills) == ({POD.uid: ANSWER} if kept else {})
    assert hearing.wait_seconds(DOUBT, later(10)) == (None if kept else 20)


def test_pods_that_are_gone_are_forgotten() -> None:
    hearing = Hearing()
    hearing.note(DOUBT, ANSWER, NOW)
    assert hearing.of([replace(POD, uid="uid-2")], {}) == {}
    assert hearing.wait_seconds(DOUBT, later(60)) == 0
