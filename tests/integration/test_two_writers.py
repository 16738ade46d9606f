"""Two writers of one field: ours is bounded, says who the other is, and wins in the end."""

from __future__ import annotations

import json
from itertools import count

import pytest

from hack.cluster.control import ControlCluster
from roadstead.controller.contention import REPAIRS
from tests.build import raw_artifact, raw_workload
from tests.clusters import apply, audit_position, get, wait_for, writes
from tests.world import condition, here, patch, quiet, status, wait_state

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


@pytest.mark.long
def test_a_quarrel_is_won(cluster: ControlCluster, namespace: str) -> None:
    ours, _ = fight(cluster, namespace)
    wait_for(lambda: grace(cluster, namespace) == ours, "the field to be ours again", 150)
    wait_for(lambda: condition(status(cluster, namespace), "UpToDate").get("status") == "True", "the end of the quarrel", 150)


def conflict(cluster: ControlCluster, namespace: str) -> dict[str, str] | None:
    found = condition(status(cluster, namespace), "UpToDate")
    return found if found.get("reason") == "FieldConflict" else None
