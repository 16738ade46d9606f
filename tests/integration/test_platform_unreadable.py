"""A Platform that this version of the operator can't read, as the CRDs of a newer one let somebody write it."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hack.cluster.console import ClusterError
from hack.cluster.control import ControlCluster
from tests.build import raw_artifact, raw_workload
from tests.clusters import apply, get, wait_for
from tests.support.replicas import QUICK_LEASE, holder, replica
from tests.world import condition, here, patch, quiet, status, wait_state

pytestmark = pytest.mark.timeout(240)
FIELD = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/pods/properties/rollout/enum"


@pytest.fixture
def newer_crd(cluster: ControlCluster, settings: None) -> Iterator[None]:
    """The Platform's CRD knows a value of ``pods.rollout`` that the types don't."""
    edit_crd(cluster, ["OnChange", "Immediate", "Sometimes"])
    yield
    cluster.kubectl("patch", "rsp", "default", "--type=merge", "-p", json.dumps({"spec": {"pods": {"rollout": "OnChange"}}}))
    edit_crd(cluster, ["OnChange", "Immediate"])


def edit_crd(cluster: ControlCluster, values: list[str]) -> None:
    edit = [{"op": "replace", "path": FIELD, "value": values}]
    cluster.kubectl("patch", "crd", "platforms.roadstead.dev", "--type=json", "-p", json.dumps(edit))


def write_platform(cluster: ControlCluster, **pods: Any) -> None:
    """The API server takes a moment to know a changed CRD."""

    def written() -> bool:
        try:
            cluster.kubectl("patch", "rsp", "default", "--type=merge", "-p", json.dumps({"spec": {"pods": pods}}))
        except ClusterError:
            return False
        return True

    wait_for(written, "the Platform to be accepted", 60, pause=0.5)


def ready(cluster: ControlCluster) -> dict[str, Any]:
    return condition(status(cluster, "default", "default", "rsp"), "Ready")


def user_of(cluster: ControlCluster, namespace: str, name: str) -> int | None:
    body = get(cluster, "deployment.apps", name, namespace)
    return body["spec"]["template"]["spec"]["securityContext"]["runAsUser"] if body else None


@pytest.mark.usefixtures("newer_crd")
def test_the_last_good_settings_stay_in_force_also_after_a_failover(
    cluster: ControlCluster, operator_kubeconfig: Path, namespace: str
) -> None:
    apply(cluster, here(namespace, raw_artifact(status="registered")))
    with replica(cluster, operator_kubeconfig, "a", **QUICK_LEASE) as a:
        wait_for(lambda: holder(cluster) == "a", "a to lead")
        with replica(cluster, operator_kubeconfig, "b", **QUICK_LEASE):
            write_platform(cluster, runAsUser=23456)
            wait_for(lambda: ready(cluster).get("status") == "True", "the good one to be in force")
            write_platform(cluster, runAsUser=34567, rollout="Sometimes")
            said = wait_for(lambda: (c := ready(cluster)).get("reason") == "Invalid" and c, "the Platform's own condition")
            assert "spec.pods.rollout can't be read by this version of the operator" in said["message"]
            assert "the last good settings stay in force" in said["message"]
            generation = (get(cluster, "rsp", "default", "default") or {})["metadata"]["generation"]
            assert said["observedGeneration"] == generation
            apply(cluster, here(namespace, raw_workload("first")))
            wait_state(cluster, namespace, "running", "first")
            a.send_signal(signal.SIGTERM)
            a.wait(30)
            apply(cluster, here(namespace, raw_workload("second")))
            wait_state(cluster, namespace, "running", "second")
            assert {user_of(cluster, namespace, name) for name in ("first", "second")} == {23456}


@pytest.mark.usefixtures("newer_crd")
def test_without_a_good_one_nothing_is_created_and_deletion_works(
    cluster: ControlCluster, operator_kubeconfig: Path, namespace: str
) -> None:
    """An operator that starts with only an unreadable Platform stamps what is deleted, so that the time counts, and purges nothing."""
    apply(cluster, here(namespace, raw_artifact(status="registered")), here(namespace, raw_artifact("spare")))
    with replica(cluster, operator_kubeconfig, "a", **QUICK_LEASE):
        apply(cluster, here(namespace, raw_workload("old")))
        wait_state(cluster, namespace, "running", "old")
        quiet(cluster)
    write_platform(cluster, rollout="Sometimes")
    with replica(cluster, operator_kubeconfig, "a", **QUICK_LEASE):
        wait_for(lambda: "nothing is created until it is corrected" in ready(cluster).get("message", ""), "the Platform's condition")
        apply(cluster, here(namespace, raw_workload("new")))
        seen = wait_for(lambda: condition(status(cluster, namespace, "new"), "Stalled"), "the new one's condition")
        assert seen["reason"] == "PlatformInvalid"
        assert get(cluster, "deployment.apps", "new", namespace) is None
        assert status(cluster, namespace, "old")["state"] == "running"
        patch(cluster, "rsw", "old", namespace, deleted=True)
        patch(cluster, "rsa", "spare", namespace, deleted=True)
        for kind, name in (("rsw", "old"), ("rsa", "spare")):
            wait_for(lambda kind=kind, name=name: stamped(cluster, namespace, kind, name), f"the stamp of {name}")
        assert wait_state(cluster, namespace, "stopped", "old")["message"] == "Deleted; it can be restored by setting spec.deleted to false"
        assert get(cluster, "deployment.apps", "old", namespace) is None
        write_platform(cluster, rollout="OnChange")
        wait_for(lambda: "it can be restored until 2" in status(cluster, namespace, "old").get("message", ""), "the time")
        wait_state(cluster, namespace, "running", "new")


def stamped(cluster: ControlCluster, namespace: str, kind: str, name: str) -> bool:
    body = get(cluster, kind, name, namespace) or {}
    return "roadstead.dev/deleted-at" in (body["metadata"].get("annotations") or {})
