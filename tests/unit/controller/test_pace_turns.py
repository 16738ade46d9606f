"""Turns of rollouts that no user asked for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from roadstead.controller import pace as module
from roadstead.controller.pace import Name, Pace, under_way
from roadstead.observed.views import Condition, DeploymentView

RESTING = DeploymentView(
    "uid", "owner", "d1", "hash", (), "t1", "u1", 1, True, 1, 1, 1, 1, {"Progressing": Condition("True", "NewReplicaSetAvailable", "")}
)
ROLLING = replace(RESTING, digest="d2", conditions={"Progressing": Condition("True", "ReplicaSetUpdated", "")})
ROLLED = replace(RESTING, digest="d2")
REFUSED = replace(ROLLING, current=False, conditions={"Progressing": Condition("False", "ReplicaSetCreateError", "exceeded quota")})
STUCK = replace(ROLLING, conditions={"Progressing": Condition("False", "ProgressDeadlineExceeded", "")})


class World:
    """A pace whose clock stands still unless a test moves it, the deployments it sees, and whom it woke."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **deployments: DeploymentView) -> None:
        self.now = 100.0
        self.woken: list[str] = []
        self.deployments = deployments
        monkeypatch.setattr(module.time, "monotonic", lambda: self.now)
        self.pace = Pace(lambda name: self.woken.append(name[1]), lambda: [(name_of(k), v) for k, v in self.deployments.items()])

    def look(self, name: str, at_once: int = 2) -> bool:
        """A look at a Workload that asks for its turn and uses it."""
        self.now += 0.01
        began, before = self.now, self.deployments.get(name, RESTING)
        if admitted := self.pace.admits(name_of(name), at_once):
            self.pace.began(name_of(name), before)
        self.pace.settle(name_of(name), before, began)
        return admitted

    def see(self, name: str, live: DeploymentView | None) -> None:
        """A look at a Workload that asks for nothing."""
        self.now += 0.01
        self.pace.settle(name_of(name), live, self.now)


def name_of(name: str) -> Name:
    return ("team", name)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


@pytest.mark.parametrize(
    ("live", "expected"),
    [
        (RESTING, False),
        (ROLLING, True),
        (STUCK, False),
        (REFUSED, False),
        (replace(RESTING, current=False), True),
        (replace(RESTING, conditions={}), True),
    ],
)
def test_the_deployments_condition_says_what_is_under_way(live: DeploymentView, expected: bool) -> None:
    assert under_way(live) is expected


def test_the_next_begins_when_an_earlier_one_has_ended(world: World) -> None:
    assert [world.look(name) for name in "abcd"] == [True, True, False, False]
    world.see("a", ROLLING)
    assert world.woken == []
    world.see("a", ROLLED)
    assert world.woken == ["c"]
    assert not world.look("d")
    assert world.look("c")


def test_a_rollout_that_failed_gives_its_turn_back_at_its_deadline(world: World) -> None:
    assert [world.look(name, 1) for name in "ab"] == [True, False]
    world.see("a", STUCK)
    assert world.woken == ["b"]


def test_a_turn_outlives_a_mirror_that_lags(world: World) -> None:
    assert [world.look(name, 1) for name in "ab"] == [True, False]
    world.see("a", RESTING)
    assert world.woken == []
    world.now += module.ECHO_SECONDS
    world.see("a", RESTING)
    assert world.woken == ["b"]


def test_a_turn_that_is_not_used_goes_to_the_next(world: World) -> None:
    assert [world.look(name, 1) for name in "abc"] == [True, False, False]
    world.see("a", None)
    assert world.woken == ["b"]
    world.see("b", RESTING)  # its user changed it meanwhile, or its write is refused
    assert world.woken == ["b", "c"]


def test_a_turn_given_during_a_look_is_kept_for_the_next(world: World) -> None:
    assert [world.look(name, 1) for name in "ab"] == [True, False]
    began = world.now
    world.see("a", ROLLED)
    world.pace.settle(name_of("b"), RESTING, began)
    assert world.look("b", 1)


def test_a_refused_write_does_not_block_the_others(world: World) -> None:
    assert world.pace.admits(name_of("a"), 1)
    world.see("a", RESTING)
    assert world.look("b", 1)


def test_a_new_leader_counts_what_the_former_one_began(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, a=ROLLING, b=RESTING, c=STUCK)
    assert [world.look(name) for name in "bc"] == [True, False]
    world.pace.forget()
    world.deployments |= {"a": ROLLED, "b": ROLLING}
    assert [world.look(name) for name in "cd"] == [True, False]


def test_a_raised_limit_wakes_those_that_waited_longer(world: World) -> None:
    assert [world.look(name, 1) for name in "abc"] == [True, False, False]
    assert world.look("d", 4)
    assert world.woken == ["b", "c"]
