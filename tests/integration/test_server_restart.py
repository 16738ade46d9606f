"""The API server goes and comes back under two whole operators, and etcd forgets what happened meanwhile; and minutes without a change.

The short absence is survived by the leader's term, the long one isn't: then whoever comes first leads, and knows nothing of what the
former leader wrote.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from hack.cluster.control import ControlCluster
from tests.build import cpu_autoscaling, raw_artifact, raw_workload
from tests.clusters import apply, audit_position, get, wait_admission, wait_for, writes
from tests.support.etcd import compact, erase
from tests.support.replicas import LEASE_SECONDS, QUICK_LEASE, holder, replica, strays
from tests.world import condition, here, patch, pod_uids, quiet, status, wait_state

pytestmark = pytest.mark.timeout(1200)
COUNT = 12
WAIT_SECONDS = 150
"""The cluster's own controllers come back to an API server that was away after up to a minute."""
IDLE_SECONDS = 600 if os.environ.get("ROADSTEAD_LONG") else 10


@pytest.fixture(scope="module")
def began(cluster: ControlCluster) -> int:
    """Where the audit log was before the first replica's first word; operators of other modules have other Leases' times."""
    return audit_position(cluster)


@pytest.fixture(scope="module")
def replicas(cluster: ControlCluster, operator_kubeconfig: Path, began: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    with ExitStack() as stack:
        yield [stack.enter_context(replica(cluster, operator_kubeconfig, identity, **QUICK_LEASE)) for identity in ("a", "b")]


def declare(cluster: ControlCluster, namespace: str) -> None:
    """Fixed ones, one that an HPA scales, and one that is stopped; returns when nothing moves any more."""
    apply(cluster, here(namespace, raw_artifact(status="registered")))
    apply(cluster, *(here(namespace, raw_workload(f"w{number}")) for number in range(COUNT)))
    apply(cluster, here(namespace, raw_workload("scaled", runtime=cpu_autoscaling())))
    apply(cluster, here(namespace, raw_workload("halted", suspend=True)))
    for name in (*(f"w{number}" for number in range(COUNT)), "scaled"):
        wait_state(cluster, namespace, "running", name, seconds=90)
        wait_for(lambda name=name: not condition(status(cluster, namespace, name), "Reconciling"), "the rollout's end")  # type: ignore[misc]
    wait_state(cluster, namespace, "stopped", "halted")


@pytest.mark.parametrize("away", [1.0, pytest.param(4 * LEASE_SECONDS, marks=pytest.mark.long)])
def test_nothing_is_lost_when_the_api_server_is_away(
    cluster: ControlCluster, replicas: list[subprocess.Popen[bytes]], began: int, namespace: str, away: float
) -> None:
    """As soon as it answers again, and before any watch is back, children and Workloads are changed, made and deleted, and the versions at
    which the watches would resume are compacted away. A Workload and an Artifact go while nobody can be told."""
    declare(cluster, namespace)
    apply(cluster, here(namespace, raw_artifact("spare", status="registered")))
    quiet(cluster)
    untouched = {f"w{number}": pod_uids(cluster, namespace, f"w{number}") for number in range(6, COUNT)}
    before = audit_position(cluster)
    cluster.stop_component("kube-apiserver")
    erase(cluster, f"roadstead.dev/workloads/{namespace}/w5")
    erase(cluster, f"roadstead.dev/artifacts/{namespace}/spare")
    time.sleep(away)
    cluster.start_component("kube-apiserver")
    cluster.kubectl("delete", "service/w0", "deployment.apps/w1", "-n", namespace, "--wait=false")
    cluster.kubectl("set", "env", "deployment.apps/w2", "-n", namespace, "ADDED=1")
    cluster.kubectl("delete", "workloads.roadstead.dev/w3", "-n", namespace)
    compact(cluster)
    wait_admission(cluster)
    patch(cluster, "workloads.roadstead.dev", "w4", namespace, runtime={"replicaCount": 2})
    apply(cluster, here(namespace, raw_workload("coming")))

    wait_state(cluster, namespace, "running", "coming", seconds=WAIT_SECONDS)
    wait_for(lambda: get(cluster, "service", "w0", namespace), "the service", WAIT_SECONDS)
    wait_for(lambda: get(cluster, "deployment.apps", "w1", namespace), "the deployment", WAIT_SECONDS)
    wait_state(cluster, namespace, "running", "w1", seconds=WAIT_SECONDS)
    wait_for(lambda: "ADDED" not in json.dumps(get(cluster, "deployment.apps", "w2", namespace)), "the repair", WAIT_SECONDS)
    for gone in ("w3", "w5"):
        wait_for(lambda name=gone: get(cluster, "deployment.apps", name, namespace) is None, "the collector", WAIT_SECONDS)  # type: ignore[misc]
    wait_for(lambda: status(cluster, namespace, "w4").get("readyReplicas") == 2, "two replicas", WAIT_SECONDS)
    apply(cluster, here(namespace, raw_workload("late", "spare")))
    wait_for(lambda: condition(status(cluster, namespace, "late"), "Ready").get("reason") == "ArtifactMissing", "word on the Artifact", 30)
    quiet(cluster)
    assert get(cluster, "deployment.apps", "w5", namespace) is None  # nor made again for an owner that is gone
    assert {name: pod_uids(cluster, namespace, name) for name in untouched} == untouched
    written = [entry for entry in writes(cluster, before, namespace) if entry[2] in (*untouched, "halted")]
    assert not written
    assert all(process.poll() is None for process in replicas)
    assert holder(cluster) in ("a", "b")
    assert not strays(cluster, began, LEASE_SECONDS)


def test_minutes_without_a_change_are_minutes_without_a_write(
    cluster: ControlCluster, replicas: list[subprocess.Popen[bytes]], namespace: str
) -> None:
    """Ten minutes in the long run. The HPA has no metrics here, and its controller looks at it all the time."""
    declare(cluster, namespace)
    wait_for(
        lambda: condition(status(cluster, namespace, "scaled"), "AutoscalerReady").get("status") == "False", "the word on metrics", 120
    )
    quiet(cluster, 5)
    before = audit_position(cluster)
    time.sleep(IDLE_SECONDS)
    assert not writes(cluster, before)
    assert all(process.poll() is None for process in replicas)
