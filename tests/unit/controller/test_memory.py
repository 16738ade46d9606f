"""What the operator remembers of its own writes until the mirror shows them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from roadstead.controller.contention import MINUTE_SECONDS, rival_of
from roadstead.controller.memory import ECHO_SECONDS, FORMER, Memory, Sent, fingerprint
from roadstead.desired import ChildKind
from roadstead.observed.conditions import render
from roadstead.observed.views import ChildView, DeploymentView

SERVICE = ChildKind.SERVICE
MADE = ChildView("uid-1", "owner", "digest", "hash", ())


@pytest.fixture
def memory() -> Memory:
    """Right after a creation that was answered with uid-1, while the mirror still showed nothing."""
    return Memory("owner", sent={SERVICE: Sent(None, "digest", "hash", 100.0, "uid-1")})


def test_waits_for_the_echo(memory: Memory) -> None:
    assert memory.awaits_echo(SERVICE, None, 101.0)


def test_the_echo_ends_the_wait(memory: Memory) -> None:
    assert not memory.awaits_echo(SERVICE, MADE, 101.0)
    assert not memory.awaits_echo(SERVICE, None, 102.0)


def test_a_lost_echo_ends_it_too(memory: Memory) -> None:
    assert not memory.awaits_echo(SERVICE, None, 100.0 + ECHO_SECONDS)


def test_what_came_and_went_before_anybody_looked_is_gone(memory: Memory) -> None:
    """Somebody deletes a child right after it was made: the mirror shows none, as before the write."""
    memory.saw(SERVICE, None, MADE)
    memory.saw(SERVICE, MADE, None)
    assert not memory.awaits_echo(SERVICE, None, 101.0)


def test_the_going_of_its_predecessor_says_nothing(memory: Memory) -> None:
    memory.saw(SERVICE, replace(MADE, uid="uid-0"), None)
    assert memory.awaits_echo(SERVICE, None, 101.0)


AT_ZERO = DeploymentView("uid-1", "owner", "digest", "hash", (), "t", "u", 0, True, 0, 0, 0, 0, {})
AT_ONE = replace(AT_ZERO, spec_replicas=1)


def test_who_was_ready_since_the_last_look_has_served(memory: Memory) -> None:
    memory.saw(ChildKind.DEPLOYMENT, AT_ZERO, AT_ONE)
    assert not memory.served
    memory.heard_ready += 1
    memory.saw(ChildKind.DEPLOYMENT, AT_ONE, replace(AT_ONE, spec_replicas=2))
    memory.saw(ChildKind.DEPLOYMENT, AT_ONE, AT_ZERO)
    assert memory.served


def test_a_look_that_ends_after_the_next_wake_began_takes_nothing_back(memory: Memory) -> None:
    memory.heard_ready += 1
    heard = memory.heard_ready
    memory.heard_ready += 1
    memory.saw(ChildKind.DEPLOYMENT, AT_ONE, AT_ZERO)
    memory.saw(ChildKind.DEPLOYMENT, AT_ZERO, AT_ONE)
    memory.looked(heard)
    assert not memory.served


def test_who_was_ready_before_this_wake_has_not_served_in_it(memory: Memory) -> None:
    """As where the status could not be written since."""
    memory.heard_ready += 1
    memory.saw(ChildKind.DEPLOYMENT, AT_ONE, AT_ZERO)
    memory.saw(ChildKind.DEPLOYMENT, AT_ZERO, AT_ONE)
    assert not memory.served
    memory.heard_ready += 1
    assert memory.served


def test_what_was_undone_before_anybody_looked_is_seen() -> None:
    """Somebody takes a field again right after it was put back: the mirror shows what it showed before the write."""
    taken = replace(MADE, ours="less")
    memory = Memory("owner", sent={SERVICE: Sent(fingerprint(taken), "digest", "hash", 100.0, "uid-1")})
    memory.saw(SERVICE, None, taken)
    assert memory.awaits_echo(SERVICE, taken, 101.0)
    memory.saw(SERVICE, taken, MADE)
    memory.saw(SERVICE, MADE, taken)
    assert not memory.awaits_echo(SERVICE, taken, 101.0)


def test_something_else_than_before_and_than_sent_is_looked_at(memory: Memory) -> None:
    assert not memory.awaits_echo(SERVICE, replace(MADE, digest="other"), 101.0)


def test_replicas_wait_for_their_echo() -> None:
    memory = Memory("owner", replicas=(1, 3, 100.0))
    live = DeploymentView("uid", "owner", "digest", "hash", (), "t", "u", 1, True, 1, 1, 1, 1, {})
    assert memory.awaits_replicas(live, 3, 101.0)
    assert not memory.awaits_replicas(replace(live, spec_replicas=3), 3, 101.0)
    assert memory.replicas is None


def test_a_quarrel_told_before_a_restart_lasts_until_it_was_calm() -> None:
    rival = rival_of([("kubectl", "/spec/a")], "Deployment chat")
    status = {"applied": {"Deployment": "h"}, "conditions": render([rival], (), 1, datetime(2026, 11, 25, 12, 0, tzinfo=UTC))}
    memory = Memory.begun("owner", status, 100.0)
    assert memory.applied == {"Deployment": "h"}
    assert memory.quarrels[FORMER].rival == rival
    assert not memory.quarrels[FORMER].calm(100.0)
    assert memory.quarrels[FORMER].calm(100.0 + MINUTE_SECONDS)
    assert not Memory.begun("owner", {}, 100.0).quarrels
