"""How often Events are asked for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from roadstead.controller.hearing import Hearing
from roadstead.observed.hearing import Doubt, Heard, Topic

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
DOUBT = Doubt("uid-1", Topic.READINESS, NOW)
ANSWER = (Heard("Unhealthy", "Readiness probe failed: no", "main"),)


def later(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def test_an_answer_ends_the_asking() -> None:
    hearing = Hearing()
    assert hearing.wait_seconds(DOUBT, NOW) == 0
    assert hearing.wait_seconds(Doubt("uid-1", Topic.READINESS, later(7)), NOW) == 7
    hearing.note(DOUBT, ANSWER, NOW)
    assert hearing.wait_seconds(DOUBT, later(3600)) is None
    assert hearing.of(["uid-1"]) == {"uid-1": ANSWER}


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
    assert hearing.wait_seconds(Doubt("uid-1", Topic.STARTUP, later(7)), later(2), overheard=True) == 5
    hearing.note(DOUBT, ANSWER, later(2))
    assert hearing.wait_seconds(DOUBT, later(2), overheard=True) is None


def test_pods_that_are_gone_are_forgotten() -> None:
    hearing = Hearing()
    hearing.note(DOUBT, ANSWER, NOW)
    assert hearing.of(["uid-2"]) == {}
    assert hearing.wait_seconds(DOUBT, later(60)) == 0
