"""Workloads at zero as the cluster shows them: sure to wake or not, wakes that fail, and an operator that is away meanwhile.

KEDA's kinds are there; the tests write what KEDA would, the ScaledObject's conditions and the Deployment's scale, so that each moment can
be looked at. The gateway is a Service and its EndpointSlice. (With KEDA itself: test_keda.py.)
"""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hack.cluster import keda
from hack.cluster.control import ControlCluster, control_cluster
from tests.build import API_VERSION, http_autoscaling, raw_artifact, raw_workload
from tests.clusters import (
    add_fake_nodes,
    apply,
    audit_position,
    declare_platform,
    get,
    install_crds,
    install_rbac,
    operator_access,
    running_operator,
    wait_for,
    writes,
)
from tests.world import condition, gateway, here, new_namespace, quiet, room, status, told, wait_state

pytestmark = pytest.mark.timeout(180)
Body = dict[str, Any]
URL = "https://ai.example.com"
ASLEEP = "Scaled to zero; its first request wakes it"


@pytest.fixture(scope="module")
def cluster() -> Iterator[ControlCluster]:
    with control_cluster(kwok=True) as running:
        install_crds(running)
        keda.install_crds(running)
        install_rbac(running)
        add_fake_nodes(running)
        declare_platform(running, scaling={"cooldownSeconds": 1}, gateway={"url": URL})
        yield running


@pytest.fixture(scope="module")
def kubeconfig(cluster: ControlCluster) -> Path:
    return operator_access(cluster)


@pytest.fixture
def namespace(cluster: ControlCluster) -> Iterator[str]:
    """With a gateway that serves, and a node that takes pods."""
    gateway(cluster, ready=True)
    with new_namespace(cluster) as name:
        yield name
    room(cluster, there=True)


def scale(cluster: ControlCluster, namespace: str, count: int, name: str = "chat") -> None:
    """As KEDA does."""
    cluster.kubectl("scale", "deployments.apps", name, "-n", namespace, f"--replicas={count}")


def taken_up(cluster: ControlCluster, namespace: str, name: str = "chat") -> None:
    """The ScaledObject is there, and KEDA says that all is well with it."""
    wait_for(lambda: get(cluster, "scaledobjects.keda.sh", name, namespace), "the ScaledObject")
    said = {"status": {"conditions": [{"type": "Ready", "status": "True", "reason": "ScaledObjectReady", "message": "fine"}]}}
    cluster.kubectl("patch", "scaledobjects.keda.sh", name, "-n", namespace, "--subresource=status", "--type=merge", "-p", json.dumps(said))


def asleep(cluster: ControlCluster, namespace: str, name: str = "chat") -> None:
    """A Workload that was proven, and that has gone to zero."""
    apply(cluster, here(namespace, raw_artifact(status="registered")), here(namespace, raw_workload(name, runtime=http_autoscaling())))
    taken_up(cluster, namespace, name)
    lowest = lambda: (get(cluster, "scaledobjects.keda.sh", name, namespace) or {})["spec"]["minReplicaCount"]  # noqa: E731
    wait_for(lambda: lowest() == 0, "the minimum to fall")
    scale(cluster, namespace, 0, name)
    wait_for(lambda: status(cluster, namespace, name).get("message") == ASLEEP, "it to be asleep")


def woken_in_vain(cluster: ControlCluster, namespace: str) -> Body:
    """A Workload that is woken, and for whose pod there is no room; returns its status."""
    asleep(cluster, namespace)
    room(cluster, there=False)
    scale(cluster, namespace, 1)
    return seen(cluster, namespace, "submitted", "has no node")


def seen(cluster: ControlCluster, namespace: str, state: str, words: str) -> Body:
    """Wait for a state and words in its message; returns the status."""

    def reached() -> Body | None:
        found = status(cluster, namespace)
        return found if found.get("state") == state and words in found["message"] else None

    return wait_for(reached, f"{state}: {words}")


def test_asleep_without_a_gateway_and_awake(cluster: ControlCluster, kubeconfig: Path, namespace: str) -> None:
    with running_operator(cluster, kubeconfig):
        asleep(cluster, namespace)
        found = status(cluster, namespace)
        assert found["state"] == "running"
        assert (condition(found, "Ready")["status"], condition(found, "Ready")["reason"]) == ("True", "ScaledToZero")
        assert (condition(found, "Available")["status"], condition(found, "AutoscalerReady")["status"]) == ("False", "True")
        assert "lastWake" not in found
        assert found["endpoint"] == f"{URL}/api/v2/endpoints/workloads/{found['id']}/"
        quiet(cluster)

        gateway(cluster, ready=False)
        found = seen(cluster, namespace, "submitted", "the gateway isn't serving")
        assert condition(found, "Ready")["status"] == "False"
        gateway(cluster, ready=True)
        seen(cluster, namespace, "running", ASLEEP)
        quiet(cluster)

        before = audit_position(cluster)
        scale(cluster, namespace, 1)
        seen(cluster, namespace, "running", "1 of 1 replicas ready")
        scale(cluster, namespace, 0)
        found = seen(cluster, namespace, "running", ASLEEP)
        assert "lastWake" not in found
        quiet(cluster)
        written = writes(cluster, before, namespace)
        assert len(written) <= 8, written
        assert [event for event in told(cluster, namespace) if event[0] != "Normal"] == []
        before = audit_position(cluster)
    with running_operator(cluster, kubeconfig):
        quiet(cluster)
        assert writes(cluster, before, namespace) == [], "a restart says nothing new"


def test_a_wake_that_fails_and_one_that_succeeds(cluster: ControlCluster, kubeconfig: Path, namespace: str) -> None:
    with running_operator(cluster, kubeconfig):
        found = woken_in_vain(cluster, namespace)
        assert set(found["lastWake"]) == {"at"}
        scale(cluster, namespace, 0)
        wait_state(cluster, namespace, "errored")
        wait_for(lambda: not status(cluster, namespace).get("replicas"), "the pods to be gone")  # which is told by another status
        found = status(cluster, namespace)
        assert "has no node" in found["message"]
        assert (found["lastWake"]["succeeded"], found["lastWake"]["message"]) == (False, found["message"])
        assert (condition(found, "Stalled")["reason"], condition(found, "Ready")["reason"]) == ("WakeFailed", "WakeFailed")
        quiet(cluster)
        assert status(cluster, namespace) == found
        assert ("Warning", "WakeFailed") in told(cluster, namespace)

        scale(cluster, namespace, 1)
        assert set(wait_state(cluster, namespace, "submitted")["lastWake"]) == {"at"}
        room(cluster, there=True)
        assert "lastWake" not in wait_state(cluster, namespace, "running")
        scale(cluster, namespace, 0)
        seen(cluster, namespace, "running", ASLEEP)


def test_an_operator_that_is_behind_while_a_wake_succeeds(cluster: ControlCluster, kubeconfig: Path, namespace: str) -> None:
    """When it looks again the pod that was ready has gone; of its readiness it hears all the same."""
    patient = {"ROADSTEAD_LEASE_SECONDS": "90", "ROADSTEAD_RENEW_DEADLINE_SECONDS": "60"}  # else it gives up its leadership, and ends
    with running_operator(cluster, kubeconfig, **patient) as process:
        woken_in_vain(cluster, namespace)
        process.send_signal(signal.SIGSTOP)
        try:
            room(cluster, there=True)
            wait_for(lambda: (get(cluster, "deployments.apps", "chat", namespace) or {})["status"].get("readyReplicas"), "a ready pod")
            scale(cluster, namespace, 0)
            wait_for(lambda: not cluster.kubectl("get", "pods", "-n", namespace, "-o", "name"), "the pod to be gone")
        finally:
            process.send_signal(signal.SIGCONT)
        found = seen(cluster, namespace, "running", ASLEEP)
        assert "lastWake" not in found
        quiet(cluster)
        assert status(cluster, namespace) == found
        assert ("Warning", "WakeFailed") not in told(cluster, namespace)

        room(cluster, there=False)  # of the next wake nothing has been heard yet
        scale(cluster, namespace, 1)
        seen(cluster, namespace, "submitted", "has no node")
        scale(cluster, namespace, 0)
        wait_state(cluster, namespace, "errored")


def test_an_operator_that_is_away_while_a_wake_fails(cluster: ControlCluster, kubeconfig: Path, namespace: str) -> None:
    with running_operator(cluster, kubeconfig):
        woken_in_vain(cluster, namespace)
    scale(cluster, namespace, 0)
    with running_operator(cluster, kubeconfig):
        found = wait_state(cluster, namespace, "errored")
        assert "has no node" in found["lastWake"]["message"]


def test_a_version_put_right_is_not_blamed(cluster: ControlCluster, kubeconfig: Path, namespace: str) -> None:
    with running_operator(cluster, kubeconfig):
        woken_in_vain(cluster, namespace)
        scale(cluster, namespace, 0)
        failed = wait_state(cluster, namespace, "errored")
        changed = raw_workload(runtime=http_autoscaling(), restartedAt="2026-11-26T12:00:00Z")
        apply(cluster, here(namespace, changed))
        wait_for(lambda: status(cluster, namespace)["observedGeneration"] > failed["observedGeneration"], "a look at the new one")
        assert status(cluster, namespace)["state"] == "submitted"
        room(cluster, there=True)
        wait_state(cluster, namespace, "running")


def test_a_deployment_switches_once_its_workload_is_awake(cluster: ControlCluster, kubeconfig: Path, namespace: str) -> None:
    def front(workload: str) -> Body:
        spec = {"workloadRef": {"name": workload}}
        return {"apiVersion": API_VERSION, "kind": "Deployment", "metadata": {"name": "front", "namespace": namespace}, "spec": spec}

    def said() -> Body:
        return status(cluster, namespace, "front", "deployments.roadstead.dev")

    with running_operator(cluster, kubeconfig):
        asleep(cluster, namespace, "old")
        asleep(cluster, namespace, "chat")
        apply(cluster, front("old"))
        wait_for(lambda: said().get("state") == "running", "the Deployment, whose Workload sleeps")
        assert said()["endpoint"] == f"{URL}/api/v2/endpoints/deployments/{said()['id']}/"
        apply(cluster, front("chat"))
        wait_for(lambda: condition(said(), "Progressing").get("reason") == "Switching", "the switch to begin")
        quiet(cluster)
        assert said()["activeWorkload"] == "old"
        scale(cluster, namespace, 1)
        wait_for(lambda: said()["activeWorkload"] == "chat", "the switch")
        assert condition(said(), "Progressing")["reason"] == "Switched"

        apply(cluster, front("old"))
        wait_for(lambda: condition(said(), "Progressing").get("reason") == "Switching", "the switch back to begin")
        cluster.kubectl("delete", "rsw", "chat", "-n", namespace)
        wait_for(lambda: said()["activeWorkload"] == "old", "the switch, since nobody else can serve")


def test_another_url_reaches_every_status(cluster: ControlCluster, kubeconfig: Path, namespace: str) -> None:
    front = {"apiVersion": API_VERSION, "kind": "Deployment", "metadata": {"name": "front", "namespace": namespace}}
    with running_operator(cluster, kubeconfig):
        asleep(cluster, namespace)
        apply(cluster, {**front, "spec": {"workloadRef": {"name": "chat"}}})
        kinds = {"chat": "workloads.roadstead.dev", "front": "deployments.roadstead.dev"}

        def wait_urls(start: str) -> None:
            for name, kind in kinds.items():
                wait_for(lambda n=name, k=kind: status(cluster, namespace, n, k).get("endpoint", "").startswith(start), f"{name}: {start}")

        wait_urls(URL)
        try:
            cluster.kubectl("patch", "rsp", "default", "--type=merge", "-p", '{"spec": {"gateway": {"url": "https://other.example.com"}}}')
            wait_urls("https://other.example.com/")
        finally:
            cluster.kubectl("patch", "rsp", "default", "--type=merge", "-p", json.dumps({"spec": {"gateway": {"url": URL}}}))
        wait_urls(URL)
