"""Artifact, Deployment and Platform on a real API server: registration, switching, drafts, settings, soft deletion."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from hack.cluster.control import ControlCluster
from tests.build import API_VERSION, raw_artifact, raw_container, raw_workload
from tests.clusters import apply, get, running_operator, wait_for
from tests.world import condition, here, patch, pod_uids, quiet, status, wait_state

pytestmark = [pytest.mark.timeout(180), pytest.mark.usefixtures("operator")]


def endpoint(namespace: str, target: str, **spec: Any) -> dict[str, Any]:
    metadata = {"name": "front", "namespace": namespace}
    return {"apiVersion": API_VERSION, "kind": "Deployment", "metadata": metadata, "spec": {"workloadRef": {"name": target}, **spec}}


class TestArtifact:
    def test_versions_count_per_collection_and_stay(self, cluster: ControlCluster, namespace: str) -> None:
        names = [f"model-{number}" for number in range(6)]
        apply(cluster, *(here(namespace, raw_artifact(name, status="registered", collection="llm")) for name in names))
        apply(cluster, here(namespace, raw_artifact("other", status="registered")))

        def versions() -> list[int] | None:
            found = [status(cluster, namespace, name, "rsa").get("version") for name in names]
            return sorted(found) if None not in found else None

        assert wait_for(versions, "versions") == [1, 2, 3, 4, 5, 6]
        wait_for(lambda: status(cluster, namespace, "other", "rsa").get("version") == 1, "the other collection")
        apply(cluster, here(namespace, raw_artifact("next", status="registered", collection="llm")))
        wait_for(lambda: status(cluster, namespace, "next", "rsa").get("version") == 7, "version 7")
        marks = (get(cluster, "rsa", "next", namespace) or {})["metadata"]["annotations"]
        assert marks["roadstead.dev/version"] == "7"

    def test_a_draft_backs_one_workload(self, cluster: ControlCluster, namespace: str) -> None:
        apply(cluster, here(namespace, raw_artifact()), here(namespace, raw_workload("first")))
        wait_state(cluster, namespace, "running", "first")
        apply(cluster, here(namespace, raw_workload("second")))
        seen = wait_state(cluster, namespace, "errored", "second")
        assert condition(seen, "ArtifactResolved")["reason"] == "DraftInUse"
        assert 'Workload "first" runs it already' in seen["message"]
        patch(cluster, "rsw", "first", namespace, suspend=True)
        wait_state(cluster, namespace, "running", "second")

    def test_registering_frees_it_for_all(self, cluster: ControlCluster, namespace: str) -> None:
        apply(cluster, here(namespace, raw_artifact()), here(namespace, raw_workload("first")))
        wait_state(cluster, namespace, "running", "first")
        apply(cluster, here(namespace, raw_workload("second")))
        wait_state(cluster, namespace, "errored", "second")
        patch(cluster, "rsa", "model", namespace, status="registered")
        wait_state(cluster, namespace, "running", "second")


class TestDeployment:
    def test_switches_when_the_new_workload_is_ready(self, cluster: ControlCluster, namespace: str) -> None:
        apply(cluster, here(namespace, raw_artifact(status="registered")), here(namespace, raw_workload("blue")))
        apply(cluster, endpoint(namespace, "blue", importance="moderate"))
        wait_for(lambda: status(cluster, namespace, "front", "rsd").get("state") == "running", "blue to serve")
        assert get(cluster, "pdb", "blue", namespace) is not None
        green = raw_artifact("green", status="registered", containers=[raw_container(resourceRequest={"cpu": 500, "memory": "1Gi"})])
        apply(cluster, here(namespace, green), here(namespace, raw_workload("green", artifact="green")))
        apply(cluster, endpoint(namespace, "green", importance="moderate"))
        seen = wait_for(
            lambda: (s := status(cluster, namespace, "front", "rsd")) and condition(s, "Progressing").get("reason") == "Switching" and s,
            "the switch to wait",
        )
        assert (seen["activeWorkload"], seen["state"]) == ("blue", "running")
        apply(cluster, here(namespace, raw_artifact("light", status="registered")))
        patch(cluster, "rsw", "green", namespace, artifactRef={"name": "light"})
        wait_for(lambda: status(cluster, namespace, "front", "rsd").get("activeWorkload") == "green", "the switch")

    def test_says_what_is_wrong_with_its_workload(self, cluster: ControlCluster, namespace: str) -> None:
        apply(cluster, endpoint(namespace, "chat"))
        reason = lambda kind="Ready": condition(status(cluster, namespace, "front", "rsd"), kind).get("reason")  # noqa: E731
        wait_for(lambda: reason() == "WorkloadMissing", "missing")
        apply(cluster, here(namespace, raw_artifact()), here(namespace, raw_workload()))
        wait_for(lambda: reason() == "WorkloadNotRegistered", "a draft")
        patch(cluster, "rsa", "model", namespace, status="registered")
        wait_for(lambda: reason() == "Serving", "serving")
        patch(cluster, "rsw", "chat", namespace, suspend=True)
        wait_for(lambda: reason("Progressing") == "WorkloadStopped", "stopped")
        wait_for(lambda: reason() is None, "nothing to wait for")

    @pytest.mark.long
    def test_importance_waits_for_the_next_rollout(self, cluster: ControlCluster, namespace: str) -> None:
        """The budget comes and goes at once; the pods' priority with the user's next change only."""
        apply(cluster, here(namespace, raw_artifact(status="registered")), here(namespace, raw_workload()))
        wait_state(cluster, namespace, "running")
        assert get(cluster, "pdb", "chat", namespace) is None
        classes = lambda: pods_field(cluster, namespace, "priorityClassName")  # noqa: E731
        assert classes() == set()
        said = lambda: condition(status(cluster, namespace), "UpToDate")  # noqa: E731
        for number, (importance, budget) in enumerate((("critical", True), ("low", False))):
            quiet(cluster)
            before, former = pod_uids(cluster, namespace), classes()
            apply(cluster, endpoint(namespace, "chat", importance=importance))
            wait_for(lambda: said().get("status") == "False", f"{importance} to be pending")
            assert "importance" in said()["message"]
            wait_for(lambda budget=budget: (get(cluster, "pdb", "chat", namespace) is not None) is budget, "the budget")
            quiet(cluster)
            assert (pod_uids(cluster, namespace), classes()) == (before, former)
            patch(cluster, "rsw", "chat", namespace, restartedAt=f"2026-11-25T12:0{number}:00Z")
            wait_for(lambda: said().get("status") == "True", "the user's restart to carry it")
            wait_for(lambda before=before: set(pod_uids(cluster, namespace).split()).isdisjoint(before.split()), "new pods")
            assert classes() == {f"roadstead-{importance}"}
            assert (get(cluster, "pdb", "chat", namespace) is not None) is budget
            value = cluster.kubectl("get", "priorityclass", f"roadstead-{importance}", "-o", "jsonpath={.value}")
            assert pods_field(cluster, namespace, "priority") == {value or "0"}


class TestPlatform:
    def test_a_change_restarts_nothing_and_is_said_to_wait(self, cluster: ControlCluster, namespace: str, settings: None) -> None:
        apply(cluster, here(namespace, raw_artifact()), here(namespace, raw_workload()))
        wait_state(cluster, namespace, "running")
        quiet(cluster)
        pods = pod_uids(cluster, namespace)
        cluster.kubectl("patch", "rsp", "default", "--type=merge", "-p", '{"spec":{"pods":{"runAsUser":12345}}}')
        wait_for(lambda: condition(status(cluster, namespace), "UpToDate").get("status") == "False", "UpToDate=False")
        assert pod_uids(cluster, namespace) == pods
        patch(cluster, "rsw", "chat", namespace, restartedAt="2026-11-25T12:00:00Z")
        wait_for(lambda: pod_uids(cluster, namespace) not in (pods, ""), "the user's restart")
        wait_for(lambda: condition(status(cluster, namespace), "UpToDate").get("status") == "True", "UpToDate")
        body = get(cluster, "deployment.apps", "chat", namespace) or {}
        assert body["spec"]["template"]["spec"]["securityContext"]["runAsUser"] == 12345

    def test_deleted_or_invalid_the_last_good_one_stays_in_force(self, cluster: ControlCluster, namespace: str, settings: None) -> None:
        apply(cluster, here(namespace, raw_artifact()), here(namespace, raw_workload()))
        wait_state(cluster, namespace, "running")
        quiet(cluster)
        pods = pod_uids(cluster, namespace)
        bundle = {"id": "odd", "cpu": 1, "memory": "1Gi", "gpu": 1, "gpuType": "nowhere"}
        spec = {"resourceBundles": [bundle], "pods": {"runAsUser": 777}}
        cluster.kubectl("patch", "rsp", "default", "--type=merge", "-p", json.dumps({"spec": spec}))
        invalid = lambda: condition(json.loads(cluster.kubectl("get", "rsp", "default", "-o", "json")).get("status") or {}, "Ready")  # noqa: E731
        wait_for(lambda: invalid().get("reason") == "Invalid", "the Platform's own condition")
        assert 'names GPU type "nowhere"' in invalid()["message"]
        cluster.kubectl("delete", "rsp", "default")
        quiet(cluster)
        assert pod_uids(cluster, namespace) == pods
        assert condition(status(cluster, namespace), "UpToDate")["status"] == "True"

    def test_network_policies_come_and_go_without_a_restart(self, cluster: ControlCluster, namespace: str, settings: None) -> None:
        apply(cluster, here(namespace, raw_artifact()), here(namespace, raw_workload()))
        wait_state(cluster, namespace, "running")
        pods = pod_uids(cluster, namespace)
        switch = lambda on: cluster.kubectl(  # noqa: E731
            "patch", "rsp", "default", "--type=merge", "-p", json.dumps({"spec": {"networkPolicy": {"enabled": on}}})
        )
        switch(True)
        seen = wait_for(lambda: get(cluster, "networkpolicy", "chat", namespace), "the NetworkPolicy")
        (rule,) = seen["spec"]["ingress"]
        assert rule["from"] == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "roadstead-system"}}}]
        cluster.kubectl("delete", "networkpolicy", "chat", "-n", namespace)
        again = lambda: (get(cluster, "networkpolicy", "chat", namespace) or seen)["metadata"]["uid"]  # noqa: E731
        wait_for(lambda: again() != seen["metadata"]["uid"], "it to be made again")
        switch(False)
        wait_for(lambda: get(cluster, "networkpolicy", "chat", namespace) is None, "it to go")
        assert pod_uids(cluster, namespace) == pods

    def test_immediate_rolls_the_pods(self, cluster: ControlCluster, namespace: str, settings: None) -> None:
        apply(cluster, here(namespace, raw_artifact()), here(namespace, raw_workload()))
        wait_state(cluster, namespace, "running")
        pods = pod_uids(cluster, namespace)
        spec = {"pods": {"runAsUser": 4242, "rollout": "Immediate"}}
        cluster.kubectl("patch", "rsp", "default", "--type=merge", "-p", json.dumps({"spec": spec}))
        wait_for(lambda: pod_uids(cluster, namespace) not in (pods, ""), "new pods")


@pytest.mark.long
def test_replaces_in_place_when_full_nodes_leave_no_room(cluster: ControlCluster, namespace: str, settings: None) -> None:
    """Two fake nodes have eight GPUs each; two pods of eight leave none for a surge pod.

    A change of Platform meanwhile waits for the next rollout, which this one is once it starts anew.
    """
    container = raw_container(resourceRequest={"cpu": 1, "memory": "1Gi", "gpu": 8})
    apply(cluster, here(namespace, raw_artifact(containers=[container])), here(namespace, raw_workload(runtime={"replicaCount": 2})))
    wait_for(lambda: status(cluster, namespace).get("readyReplicas") == 2, "two ready")
    before = set(pod_uids(cluster, namespace).split())
    patch(cluster, "rsw", "chat", namespace, restartedAt="2026-11-25T12:00:00Z")
    wait_for(lambda: condition(status(cluster, namespace), "Scheduled").get("reason") == "Unschedulable", "the surge pod to find no room")
    cluster.kubectl("patch", "rsp", "default", "--type=merge", "-p", '{"spec":{"pods":{"runAsUser":4242}}}')
    wait_for(lambda: condition(status(cluster, namespace), "UpToDate").get("status") == "False", "it to be pending")
    seen = wait_for(lambda: (s := status(cluster, namespace)).get("inPlaceRevision") and s, "the decision", 90)
    assert seen["state"] == "running"

    def replaced() -> bool:
        now = status(cluster, namespace)
        return now.get("readyReplicas") == 2 and condition(now, "Progressing").get("reason") == "RolledOut"

    wait_for(replaced, "the new version", 60)
    assert before.isdisjoint(pod_uids(cluster, namespace).split())


class TestSoftDeletion:
    def test_deleted_restored_and_purged(self, cluster: ControlCluster, namespace: str, settings: None) -> None:
        apply(cluster, here(namespace, raw_artifact()), here(namespace, raw_workload()))
        wait_state(cluster, namespace, "running")
        patch(cluster, "rsw", "chat", namespace, deleted=True)
        seen = wait_state(cluster, namespace, "stopped")
        assert "it can be restored until 2" in seen["message"]
        assert get(cluster, "deployment.apps", "chat", namespace) is None
        assert get(cluster, "service", "chat", namespace) is None
        patch(cluster, "rsw", "chat", namespace, deleted=False)
        wait_state(cluster, namespace, "running")
        marks = (get(cluster, "rsw", "chat", namespace) or {})["metadata"].get("annotations") or {}
        assert "roadstead.dev/deleted-at" not in marks
        cluster.kubectl("patch", "rsp", "default", "--type=merge", "-p", '{"spec":{"retention":{"deletedDays":0}}}')
        patch(cluster, "rsw", "chat", namespace, deleted=True)
        wait_for(lambda: get(cluster, "rsw", "chat", namespace) is None, "the purge")


def test_an_operator_restart_changes_nothing(
    cluster: ControlCluster, operator: subprocess.Popen[bytes], operator_kubeconfig: Path, namespace: str
) -> None:
    """A second replica takes over when the first stops; nothing is written and no pod restarts."""
    apply(cluster, here(namespace, raw_artifact(status="registered")), here(namespace, raw_workload()), endpoint(namespace, "chat"))
    wait_for(lambda: status(cluster, namespace, "front", "rsd").get("state") == "running", "all to run")
    quiet(cluster)
    pods = pod_uids(cluster, namespace)
    with running_operator(cluster, operator_kubeconfig):
        quiet(cluster)
        assert pod_uids(cluster, namespace) == pods


def test_says_at_once_that_no_node_offers_the_gpu_type(cluster: ControlCluster, namespace: str) -> None:
    container = raw_container(resourceRequest={"cpu": 1, "memory": "1Gi", "gpu": 1, "gpuType": "l4"})
    apply(cluster, here(namespace, raw_artifact(containers=[container])), here(namespace, raw_workload()))
    seen = wait_for(lambda: "No node offers" in (s := status(cluster, namespace)).get("message", "") and s, "the sentence")
    assert seen["state"] == "submitted"
    assert "GPUs in this cluster: NVIDIA-H100-80GB-HBM3" in seen["message"]
    assert len(pod_uids(cluster, namespace).split()) == 1


def test_an_unknown_gpu_type_is_refused_at_once(cluster: ControlCluster, namespace: str) -> None:
    container = raw_container(resourceRequest={"cpu": 1, "memory": "1Gi", "gpu": 1, "gpuType": "tpu"})
    apply(cluster, here(namespace, raw_artifact(containers=[container])), here(namespace, raw_workload()))
    seen = wait_state(cluster, namespace, "errored")
    assert condition(seen, "Stalled")["reason"] == "UnknownGpuType"
    assert get(cluster, "deployment.apps", "chat", namespace) is None


def test_whatever_is_wrong_stopping_and_deleting_work(cluster: ControlCluster, namespace: str) -> None:
    apply(cluster, here(namespace, raw_artifact(status="registered")))
    for name in ("halted", "gone"):
        apply(cluster, here(namespace, raw_workload(name)))
        wait_state(cluster, namespace, "running", name)
    cluster.kubectl("delete", "rsa", "model", "-n", namespace)
    patch(cluster, "rsw", "halted", namespace, suspend=True)
    wait_state(cluster, namespace, "stopped", "halted")
    patch(cluster, "rsw", "gone", namespace, deleted=True)
    wait_state(cluster, namespace, "stopped", "gone")
    assert get(cluster, "deployment.apps", "gone", namespace) is None


def pods_field(cluster: ControlCluster, namespace: str, field: str) -> set[str]:
    """What the pods' specs say in that field, each value once."""
    return set(cluster.kubectl("get", "pods", "-n", namespace, "-o", f"jsonpath={{.items[*].spec.{field}}}").split())
