"""Two writers of one object: ours is bounded, says who the other is or that it isn't known, and wins in the end."""

from __future__ import annotations

import json
from itertools import count

import pytest

from hack.cluster.control import ControlCluster
from roadstead.controller.contention import REPAIRS
from tests.build import raw_artifact, raw_workload
from tests.clusters import apply, audit_position, get, wait_for, writes
from tests.world import condition, here, patch, quiet, status, told, wait_state

pytestmark = [pytest.mark.timeout(300), pytest.mark.usefixtures("operator")]
AGENT = "the-other-writer"


def grace(cluster: ControlCluster, namespace: str) -> int:
    body = get(cluster, "deployment.apps", "chat", namespace) or {}
    return int(body["spec"]["template"]["spec"]["terminationGracePeriodSeconds"])


def fight(cluster: ControlCluster, namespace: str) -> tuple[int, int]:
    """Change a field of ours until it is told; returns what it was before, and where the audit log stood.

    A field taken again before our write's echo is repaired only once the record of that write has lapsed, so this takes a while.
    """
    apply(cluster, here(namespace, raw_artifact()), here(namespace, raw_workload()))
    wait_state(cluster, namespace, "running")
    quiet(cluster)
    ours, before = grace(cluster, namespace), audit_position(cluster)
    changes = count(100)

    def told() -> bool:
        change = {"spec": {"template": {"spec": {"terminationGracePeriodSeconds": next(changes)}}}}
        flags = ("--type=merge", f"--field-manager={AGENT}", "-p", json.dumps(change))
        cluster.kubectl("patch", "deployment.apps", "chat", "-n", namespace, *flags)
        return conflict(cluster, namespace) is not None

    wait_for(told, "the conflict to be told", 120, pause=0.2)
    return ours, before


def test_a_quarrel_is_bounded_and_named(cluster: ControlCluster, namespace: str) -> None:
    _, before = fight(cluster, namespace)
    said = conflict(cluster, namespace) or {}
    assert said["status"] == "False"
    assert AGENT in said["message"]
    assert "terminationGracePeriodSeconds of Deployment chat" in said["message"]
    repairs = [entry for entry in writes(cluster, before, namespace) if entry[1] == "deployments"]
    assert len(repairs) <= REPAIRS + 1, repairs
    patch(cluster, "rsw", "chat", namespace, template={"terminationGracePeriodSeconds": 77})
    wait_for(lambda: grace(cluster, namespace) < 100, "what is newly declared not to wait")


def test_a_quarrel_over_the_count_is_bounded_and_named(cluster: ControlCluster, namespace: str) -> None:
    apply(cluster, here(namespace, raw_artifact()), here(namespace, raw_workload()))
    wait_state(cluster, namespace, "running")
    quiet(cluster)
    before = audit_position(cluster)

    def told() -> dict[str, str] | None:
        cluster.kubectl("scale", "deployment.apps", "chat", "-n", namespace, "--replicas=3")
        return conflict(cluster, namespace)

    said = wait_for(told, "the conflict to be told", 120, pause=0.2)
    assert said is not None
    assert said["message"].startswith("kubectl keeps changing /spec/replicas of Deployment chat")
    done = [entry for entry in writes(cluster, before, namespace) if entry[1] == "deployments"]
    assert len(done) <= 5, done


@pytest.mark.parametrize(("kind", "plural", "state"), [("Service", "services", "running"), ("Deployment", "deployments", "submitted")])
def test_who_deletes_again_and_again_is_bounded_and_told(
    cluster: ControlCluster, namespace: str, kind: str, plural: str, state: str
) -> None:
    """A child deleted now and then is made again at once; a quarrel costs a bounded number of creations, and an Event."""
    apply(cluster, here(namespace, raw_artifact()), here(namespace, raw_workload()))
    wait_state(cluster, namespace, "running")
    quiet(cluster)
    before = audit_position(cluster)

    def told_of() -> dict[str, str] | None:
        cluster.kubectl("delete", f"{plural}.{'apps' if kind == 'Deployment' else ''}".rstrip("."), "chat", "-n", namespace, check=False)
        return quarrel(cluster, namespace, "ChildDeleted")

    said = wait_for(told_of, "it to be told", 120, pause=0.2)
    assert said["status"] == "False"
    assert f"keeps deleting {kind} chat" in said["message"]
    seen = wait_state(cluster, namespace, state)
    assert f"keeps deleting {kind} chat" in seen["message"]
    made = [entry for entry in writes(cluster, before, namespace) if entry[:2] == ("patch", plural) and entry[3] == 201]
    assert len(made) <= REPAIRS + 1, made
    wait_for(lambda: ("Warning", "ChildDeleted") in told(cluster, namespace), "the Event")


@pytest.mark.long
def test_a_quarrel_is_won(cluster: ControlCluster, namespace: str) -> None:
    ours, _ = fight(cluster, namespace)
    wait_for(lambda: grace(cluster, namespace) == ours, "the field to be ours again", 150)
    wait_for(lambda: condition(status(cluster, namespace), "UpToDate").get("status") == "True", "the end of the quarrel", 150)


def conflict(cluster: ControlCluster, namespace: str) -> dict[str, str] | None:
    return quarrel(cluster, namespace, "FieldConflict")


def quarrel(cluster: ControlCluster, namespace: str, reason: str) -> dict[str, str] | None:
    found = condition(status(cluster, namespace), "UpToDate")
    return found if found.get("reason") == reason else None
