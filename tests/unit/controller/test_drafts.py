"""Who holds a draft, and who hears when that changes."""

from __future__ import annotations

from typing import Any

import pytest

from roadstead.controller.drafts import Drafts
from roadstead.controller.kinds import Key, Kind
from roadstead.controller.objects import Objects
from roadstead.errors import Reason, Refusal
from tests.build import artifact, metadata, raw_artifact, raw_workload

DRAFT = Key(Kind.ARTIFACT, "team", "model")


def named(name: str) -> Key:
    return Key(Kind.WORKLOAD, "team", name)


class Yard:
    """A draft and the Workloads that refer to it; those in ``running`` have children."""

    def __init__(self) -> None:
        self.objects = Objects(lambda _: None, lambda _: None)
        self.running: set[Key] = set()
        self.told: list[Key] = []
        self.drafts = Drafts(self.objects, self.running.__contains__, self.told.append)
        self.objects.saw(Kind.ARTIFACT, raw_artifact())

    def saw(self, name: str, created: str = "12:00", **spec: Any) -> None:
        meta = metadata(name, creationTimestamp=f"2026-11-25T{created}:00Z")
        self.objects.saw(Kind.WORKLOAD, raw_workload(name, meta=meta, **spec))

    def may_run(self, name: str) -> bool:
        try:
            self.drafts.check(named(name), artifact())
        except Refusal as refusal:
            return refusal.reason is not Reason.DRAFT_IN_USE
        return True


@pytest.fixture
def yard() -> Yard:
    return Yard()


def test_the_oldest_holds_it_and_of_one_second_the_first_by_uid(yard: Yard) -> None:
    yard.saw("b", "11:00")
    yard.saw("a", "12:00")
    yard.saw("c", "11:00")
    assert [yard.may_run(name) for name in "abc"] == [False, True, False]


def test_one_that_has_children_goes_before_an_older_one(yard: Yard) -> None:
    yard.saw("a", "11:00")
    yard.saw("b", "12:00")
    yard.running.add(named("b"))
    assert [yard.may_run(name) for name in "ab"] == [False, True]


@pytest.mark.parametrize("spec", [{"suspend": True}, {"deleted": True}])
def test_a_stopped_or_deleted_one_holds_nothing(yard: Yard, spec: dict[str, bool]) -> None:
    yard.saw("a", "11:00")
    yard.saw("b", "12:00")
    yard.running.add(named("a"))
    yard.drafts.look(DRAFT)
    yard.told.clear()
    yard.saw("a", "11:00", **spec)
    assert yard.may_run("b")
    yard.drafts.look(DRAFT)
    assert yard.told == [named("a"), named("b")]
    yard.told.clear()
    yard.drafts.look(DRAFT)
    assert yard.told == []


def test_a_registered_artifact_has_no_holder(yard: Yard) -> None:
    yard.saw("a")
    yard.saw("b")
    yard.drafts.look(DRAFT)
    assert yard.told == [named("a"), named("b")]
    yard.objects.saw(Kind.ARTIFACT, raw_artifact(status="registered"))
    yard.drafts.look(DRAFT)
    yard.drafts.check(named("b"), artifact(status="registered"))
    assert yard.told == [named("a"), named("b")]


def test_one_that_cannot_be_read_is_no_trouble_for_the_others(yard: Yard) -> None:
    """It was written under the CRDs of another version."""
    yard.saw("a", "11:00")
    yard.saw("b", "12:00", runtime={"replicaCount": "many"})
    assert yard.may_run("a")
