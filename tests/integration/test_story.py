"""kubectl describe: the Events of one Workload, told by the API server, in order, over a restart of the operator."""

from __future__ import annotations

from pathlib import Path

import pytest

from hack.cluster.control import ControlCluster
from tests.build import raw_artifact, raw_workload
from tests.clusters import apply, audit_position, running_operator, wait_for, writes
from tests.world import here, patch, quiet, told, wait_state

pytestmark = pytest.mark.timeout(180)
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
