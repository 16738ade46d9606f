"""What outlives a restart of the operator: the story that kubectl describe tells, a quarrel, the patience with a registry."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from hack.cluster.control import ControlCluster
from tests.build import raw_artifact, raw_workload
from tests.clusters import apply, audit_position, running_operator, wait_for, writes
from tests.integration.test_causes_told import asked, event, tell
from tests.integration.test_two_writers import conflict, fight
from tests.world import condition, here, patch, quiet, status, told, unready, wait_state

pytestmark = pytest.mark.timeout(300)
STORY = [
    ("Warning", "ArtifactMissing"),
    ("Normal", "Running"),
    ("Normal", "Stopping"),
    ("Normal", "Stopped"),
    ("Normal", "Running"),
]


def test_describe_reads_as_a_story(cluster: ControlCluster, namespace: str, operator_kubeconfig: Path) -> None:
    with running_operator(cluster, operator_kubeconfig):
        apply(cluster, here(namespace, raw_workload()))
        wait_state(cluster, namespace, "errored")
        apply(cluster, here(namespace, raw_artifact()))
        wait_state(cluster, namespace, "running")
        patch(cluster, "rsw", "chat", namespace, suspend=True)
        wait_state(cluster, namespace, "stopped")
        patch(cluster, "rsw", "chat", namespace, suspend=False)
        wait_state(cluster, namespace, "running")
        quiet(cluster)
        wait_for(lambda: len(told(cluster, namespace)) >= len(STORY) - 1, "the Events")
    before = told(cluster, namespace)
    assert [entry for entry in before if entry[1] != "Stopping"] == [entry for entry in STORY if entry[1] != "Stopping"]

    position = audit_position(cluster)
    with running_operator(cluster, operator_kubeconfig):
        quiet(cluster)
        assert writes(cluster, position, namespace) == []
    assert told(cluster, namespace) == before

    described = cluster.kubectl("describe", "rsw", "chat", "-n", namespace)
    events = described[described.index("\nEvents:") :]
    print(events)
    lines = [line.split()[:2] for line in events.splitlines()[4:] if line]
    assert [(kind, reason) for kind, reason in lines] == before, "by time"
    assert 'Artifact "model" does not exist' in events
    assert "set spec.suspend to false to start it" in events


def test_what_was_said_before_is_asked_for_once(cluster: ControlCluster, namespace: str, operator_kubeconfig: Path) -> None:
    """A probe's answer is told by an Event alone, and nobody listened."""
    with running_operator(cluster, operator_kubeconfig):
        apply(cluster, here(namespace, raw_artifact()), here(namespace, raw_workload()))
        wait_state(cluster, namespace, "running")
        quiet(cluster)
    pod = unready(cluster, namespace)
    assert pod is not None
    tell(cluster, event(pod))
    position = audit_position(cluster)
    with running_operator(cluster, operator_kubeconfig):
        wait_for(lambda: "statuscode: 503" in status(cluster, namespace)["message"], "the probe's answer")
        quiet(cluster)
        assert asked(cluster, position, namespace) == 1


def test_a_quarrel_is_told_once_over_a_restart(cluster: ControlCluster, namespace: str, operator_kubeconfig: Path) -> None:
    """Who starts anew remembers no repair, and yet doesn't say that all is well until nothing had to be put back for a while."""
    with running_operator(cluster, operator_kubeconfig):
        fight(cluster, namespace)
        wait_for(lambda: ("Warning", "FieldConflict") in told(cluster, namespace), "the Event")
        said = conflict(cluster, namespace)
    with running_operator(cluster, operator_kubeconfig):
        quiet(cluster)
        assert conflict(cluster, namespace) == said
    assert told(cluster, namespace) == [("Normal", "Running"), ("Warning", "FieldConflict")]


@pytest.mark.long
def test_the_wait_for_a_registry_outlives_the_operator(cluster: ControlCluster, namespace: str, operator_kubeconfig: Path) -> None:
    """Since when a pull fails is in the status, so whoever takes over halfway gives it up at the same time."""
    with running_operator(cluster, operator_kubeconfig):
        apply(cluster, here(namespace, raw_artifact()), here(namespace, raw_workload()))
        wait_state(cluster, namespace, "running")
        unreachable(cluster, namespace)
        since = wait_for(lambda: status(cluster, namespace).get("pullFailingSince"), "the failing pull to be told")
        assert "image can't be pulled" in wait_state(cluster, namespace, "initializing")["message"]
    with running_operator(cluster, operator_kubeconfig):
        seen = wait_state(cluster, namespace, "errored", seconds=90)
        assert (seen["pullFailingSince"], condition(seen, "Stalled")["reason"]) == (since, "ImagePullFailed")
        given_up = datetime.fromisoformat(condition(seen, "Stalled")["lastTransitionTime"])
        assert given_up - datetime.fromisoformat(since) >= timedelta(seconds=30)


def unreachable(cluster: ControlCluster, namespace: str) -> None:
    """A pod that is not ready any more since its image can't be had, as the kubelet tells it."""
    pod = json.loads(cluster.kubectl("get", "pods", "-n", namespace, "-o", "json"))["items"][0]["metadata"]["name"]
    waiting = {"reason": "ImagePullBackOff", "message": 'Back-off pulling image "x": ErrImagePull: dial tcp 10.0.0.9:443: i/o timeout'}
    container = {"name": "main", "image": "x", "imageID": "", "ready": False, "restartCount": 0, "state": {"waiting": waiting}}
    change = {"status": {"phase": "Pending", "conditions": [{"type": "Ready", "status": "False"}], "containerStatuses": [container]}}
    cluster.kubectl("patch", "pod", pod, "-n", namespace, "--subresource=status", "-p", json.dumps(change))
