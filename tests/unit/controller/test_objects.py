"""Who hears of a change: the object, and those whom it concerns."""

from __future__ import annotations

from typing import Any

from roadstead.controller.kinds import Key, Kind
from roadstead.controller.objects import Objects

OLD, NEW, FRONT = (Key(Kind.WORKLOAD, "team", "old"), Key(Kind.WORKLOAD, "team", "new"), Key(Kind.DEPLOYMENT, "team", "front"))


def endpoint(active: str, **more: Any) -> dict[str, Any]:
    metadata = {"name": "front", "namespace": "team", "uid": "uid-1", "generation": 2}
    return {"metadata": metadata, "spec": {"workloadRef": {"name": "new"}}, "status": {"activeWorkload": active, **more}}


class Ear:
    """Collects the keys that are told, and apart from them those that can wait."""

    def __init__(self) -> None:
        self.told: set[Key] = set()
        self.later: set[Key] = set()
        self.objects = Objects(self.told.add, self.later.add)

    def saw(self, body: dict[str, Any]) -> None:
        self.told.clear()
        self.later.clear()
        self.objects.saw(Kind.DEPLOYMENT, body)


def test_a_switch_told_in_the_status_reaches_the_workload_that_was_left() -> None:
    """Its importance came with the Deployment, so its budget goes."""
    ear = Ear()
    ear.saw(endpoint("old"))
    ear.saw(endpoint("new"))
    assert ear.told == {OLD, NEW, FRONT}


def test_any_other_status_is_an_echo_that_can_wait() -> None:
    ear = Ear()
    ear.saw(endpoint("old"))
    ear.saw(endpoint("old", state="running"))
    assert (ear.told, ear.later) == (set(), {FRONT})
