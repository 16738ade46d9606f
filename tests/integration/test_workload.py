"""One Workload's life on a real API server, with the operator as a process and kwok in the kubelet's place."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hack.cluster.control import ControlCluster
from tests.build import cpu_autoscaling, raw_artifact, raw_container, raw_workload
from tests.clusters import apply, audit_position, get, running_operator, wait_for, writes
from tests.support.replicas import QUICK_LEASE, holder, replica
from tests.support.versions import changes, recording
from tests.world import condition, here, patch, pod_uids, quiet, status, wait_state

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="class")
def operator(cluster: ControlCluster, operator_kubeconfig: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Gone after the class, so that the last test's own operators lead."""
    with running_operator(cluster, operator_kubeconfig) as process:
        yield process


@pytest.mark.usefixtures("operator")
class TestLife:
    def test_from_creation_to_running_within_the_budget(self, cluster: ControlCluster, namespace: str) -> None:
        apply(cluster, here(namespace, raw_artifact()))
        wait_for(lambda: status(cluster, namespace, "model", "rsa").get("id"), "the artifact's status")
        before = audit_position(cluster)
        apply(cluster, here(namespace, raw_workload(runtime=cpu_autoscaling())))
        wait_state(cluster, namespace, "running")
        quiet(cluster)
        done = [entry for entry in writes(cluster, before, namespace) if entry[1] != "artifacts/status"]
        seen = status(cluster, namespace)
        metrics_missed = condition(seen, "AutoscalerReady").get("status") == "False"  # there are none here, which the HPA says in its time
        applies = [entry for entry in done if entry[0] == "patch" and entry[1] in ("deployments", "services", "horizontalpodautoscalers")]
        assert len(applies) == 3, done
        assert len([entry for entry in done if entry[1] == "workloads/status"]) <= 3 + metrics_missed, done
        assert len([entry for entry in done if entry[1] == "events"]) <= 2, done
        assert seen["readyReplicas"] == 1
        assert seen["observedGeneration"] == 1
        assert condition(seen, "Ready")["status"] == "True"
        assert seen["internalUrl"] == f"http://chat.{namespace}.svc.cluster.local"

    def test_at_rest_nothing_is_written(self, cluster: ControlCluster, namespace: str) -> None:
        apply(cluster, here(namespace, raw_artifact()), here(namespace, raw_workload(runtime={"replicaCount": 3})))
        wait_for(lambda: status(cluster, namespace).get("readyReplicas") == 3, "three ready replicas")
        wait_for(lambda: not condition(status(cluster, namespace), "Reconciling"), "the rollout's end")
        quiet(cluster)

    def test_the_replica_count_is_explained_and_costs_no_write_of_its_own(self, cluster: ControlCluster, namespace: str) -> None:
        """The HPA takes what is above its maximum without any metric; then a fixed count again, and a stop."""

        def explained(count: int) -> dict[str, Any] | None:
            scaler: dict[str, Any] = status(cluster, namespace).get("scaler") or {}
            return scaler if scaler.get("replicas") == count else None

        apply(cluster, here(namespace, raw_artifact()), here(namespace, raw_workload(runtime={"replicaCount": 3})))
        wait_for(lambda: status(cluster, namespace).get("readyReplicas") == 3, "three ready replicas")
        assert (explained(3) or {})["why"] == "spec.runtime.replicaCount"
        quiet(cluster)
        with recording(cluster, namespace) as versions:
            wait_for(lambda: (cluster.state / f"versions-{namespace}.json").stat().st_size, "the first version")
            apply(cluster, here(namespace, raw_workload(runtime=cpu_autoscaling(low=1, high=2))))
            scaler = wait_for(lambda: explained(2), "the word on the step", 60)
            made = get(cluster, "hpa", "chat", namespace) or {}
            assert scaler == {
                "kind": "HorizontalPodAutoscaler",
                "replicas": 2,
                "when": made["status"]["lastScaleTime"],
                "why": "Scaled from 3 to 2: maxCount is 2",
            }
            quiet(cluster)
            apply(cluster, here(namespace, raw_workload(runtime={"replicaCount": 1})))
            wait_for(lambda: explained(1), "the word on the fixed count")
            quiet(cluster)
            patch(cluster, "rsw", "chat", namespace, suspend=True)
            assert wait_for(lambda: explained(0), "the word on the stop")["why"] == "spec.suspend"
            wait_state(cluster, namespace, "stopped")
            quiet(cluster)
        print(changes(versions))
        assert {"scaler"} not in changes(versions)

    def test_missing_artifact_heals(self, cluster: ControlCluster, namespace: str) -> None:
        apply(cluster, here(namespace, raw_workload()))
        seen = wait_state(cluster, namespace, "errored")
        assert condition(seen, "ArtifactResolved")["reason"] == "ArtifactMissing"
        assert seen["message"].startswith('Artifact "model" does not exist')
        assert seen["observedGeneration"] == 1
        apply(cluster, here(namespace, raw_artifact()))
        seen = wait_state(cluster, namespace, "running")
        assert not condition(seen, "Stalled")

    def test_deleting_the_artifact_leaves_pods_alone(self, cluster: ControlCluster, namespace: str) -> None:
        apply(cluster, here(namespace, raw_artifact()), here(namespace, raw_workload()))
        wait_state(cluster, namespace, "running")
        pods = pod_uids(cluster, namespace)
        cluster.kubectl("delete", "rsa", "model", "-n", namespace)
        wait_for(lambda: condition(status(cluster, namespace), "ArtifactResolved").get("status") == "False", "the condition")
        assert status(cluster, namespace)["state"] == "running"
        assert pod_uids(cluster, namespace) == pods

    def test_inline_artifact_becomes_an_object(self, cluster: ControlCluster, namespace: str) -> None:
        inline = {"containerGroups": [{"containers": [raw_container()]}]}
        apply(cluster, here(namespace, raw_workload(inline=inline)))
        wait_state(cluster, namespace, "running")
        made = get(cluster, "rsa", "chat", namespace)
        assert made is not None
        assert made["metadata"]["ownerReferences"][0]["kind"] == "Workload"
        wait_for(lambda: (get(cluster, "rsa", "chat", namespace) or {}).get("status", {}).get("usedBy", {}).get("count") == 1, "usedBy")

    def test_hand_edits_are_put_back_with_one_write(self, cluster: ControlCluster, namespace: str) -> None:
        apply(cluster, here(namespace, raw_artifact()), here(namespace, raw_workload()))
        wait_state(cluster, namespace, "running")
        quiet(cluster)
        before = audit_position(cluster)
        patch = {"spec": {"template": {"spec": {"terminationGracePeriodSeconds": 7}}}}
        cluster.kubectl("patch", "deployment.apps", "chat", "-n", namespace, "--type=merge", "-p", json.dumps(patch))
        wait_for(lambda: grace(cluster, namespace) == 65, "the repair")
        cluster.kubectl("set", "env", "deployment.apps/chat", "-n", namespace, "ADDED=1")
        wait_for(lambda: "ADDED" not in json.dumps(template(cluster, namespace)), "the removal")
        quiet(cluster)
        done = [entry for entry in writes(cluster, before, namespace) if entry[1] == "deployments" and entry[3] < 400]
        assert [entry[0] for entry in done] == ["patch", "patch"], done

    def test_deleted_children_come_back(self, cluster: ControlCluster, namespace: str) -> None:
        apply(cluster, here(namespace, raw_artifact()), here(namespace, raw_workload()))
        wait_state(cluster, namespace, "running")
        cluster.kubectl("delete", "service/chat", "deployment.apps/chat", "-n", namespace)
        wait_for(lambda: get(cluster, "service", "chat", namespace) and get(cluster, "deployment.apps", "chat", namespace), "the children")
        wait_state(cluster, namespace, "running")

    def test_a_strangers_object_is_never_taken_over(self, cluster: ControlCluster, namespace: str) -> None:
        cluster.kubectl("create", "service", "clusterip", "chat", "-n", namespace, "--tcp=81:81")
        theirs = (get(cluster, "service", "chat", namespace) or {})["spec"]
        apply(cluster, here(namespace, raw_artifact()), here(namespace, raw_workload()))
        wait_for(lambda: "NameTaken" in json.dumps(status(cluster, namespace)), "the condition")
        assert "internalUrl" not in status(cluster, namespace)
        assert (get(cluster, "service", "chat", namespace) or {})["spec"] == theirs

    def test_stop_and_start(self, cluster: ControlCluster, namespace: str) -> None:
        apply(cluster, here(namespace, raw_artifact()), here(namespace, raw_workload(runtime={"replicaCount": 2})))
        wait_for(lambda: status(cluster, namespace).get("readyReplicas") == 2, "two ready")
        cluster.kubectl("patch", "rsw", "chat", "-n", namespace, "--type=merge", "-p", '{"spec":{"suspend":true}}')
        wait_state(cluster, namespace, "stopped")
        cluster.kubectl("patch", "rsw", "chat", "-n", namespace, "--type=merge", "-p", '{"spec":{"suspend":false}}')
        wait_for(lambda: status(cluster, namespace).get("readyReplicas") == 2, "two ready again")

    def test_created_stopped_never_starts_a_pod(self, cluster: ControlCluster, namespace: str) -> None:
        apply(cluster, here(namespace, raw_artifact()), here(namespace, raw_workload(suspend=True)))
        wait_state(cluster, namespace, "stopped")
        wait_for(lambda: get(cluster, "deployment.apps", "chat", namespace), "the deployment")
        assert (get(cluster, "deployment.apps", "chat", namespace) or {})["spec"]["replicas"] == 0
        assert "ScalingReplicaSet" not in cluster.kubectl("get", "events", "-n", namespace, "-o", "json")

    def test_fixed_to_autoscaled_and_back_keeps_the_count(self, cluster: ControlCluster, namespace: str) -> None:
        apply(cluster, here(namespace, raw_artifact()), here(namespace, raw_workload(runtime={"replicaCount": 3})))
        wait_for(lambda: status(cluster, namespace).get("readyReplicas") == 3, "three ready")
        generation = (get(cluster, "deployment.apps", "chat", namespace) or {})["metadata"]["generation"]
        apply(cluster, here(namespace, raw_workload(runtime=cpu_autoscaling(low=2, high=5))))
        wait_for(lambda: get(cluster, "hpa", "chat", namespace), "the HPA")
        apply(cluster, here(namespace, raw_workload(runtime={"replicaCount": 3})))
        wait_for(lambda: get(cluster, "hpa", "chat", namespace) is None, "the HPA's end")
        quiet(cluster)
        live = get(cluster, "deployment.apps", "chat", namespace) or {}
        assert (live["spec"]["replicas"], live["metadata"]["generation"]) == (3, generation)

    def test_deletion_takes_the_children(self, cluster: ControlCluster, namespace: str) -> None:
        apply(cluster, here(namespace, raw_artifact()), here(namespace, raw_workload()))
        wait_state(cluster, namespace, "running")
        cluster.kubectl("delete", "rsw", "chat", "-n", namespace)
        wait_for(
            lambda: not get(cluster, "deployment.apps", "chat", namespace) and not get(cluster, "service", "chat", namespace), "nothing"
        )
        quiet(cluster)
        assert get(cluster, "deployment.apps", "chat", namespace) is None


@pytest.mark.long
def test_converges_when_killed_at_any_moment(cluster: ControlCluster, operator_kubeconfig: Path, namespace: str) -> None:
    """Kill -9 at different moments of a burst of creations; whatever was half-done, the next process finishes it."""
    apply(cluster, here(namespace, raw_artifact(status="registered")))
    names = [f"chat-{number}" for number in range(5)]
    for number, name in enumerate(names):
        settled = number % 2 == 0
        with replica(cluster, operator_kubeconfig, name, ready=settled, **QUICK_LEASE) as process:
            if settled:
                wait_for(lambda name=name: holder(cluster) == name, "it to lead", 60)
            begun = audit_position(cluster)
            apply(cluster, here(namespace, raw_workload(name, runtime={"replicaCount": 2})))
            if not settled:
                wait_for(lambda begun=begun: writes(cluster, begun, namespace), "a first write", 60, pause=0.01)
            process.send_signal(signal.SIGKILL)
            process.wait()
    with replica(cluster, operator_kubeconfig, "last", **QUICK_LEASE):
        for name in names:
            wait_for(lambda name=name: status(cluster, namespace, name).get("readyReplicas") == 2, f"{name} to run", 60)
        quiet(cluster)
    before = audit_position(cluster)
    with replica(cluster, operator_kubeconfig, "after", **QUICK_LEASE):
        wait_for(lambda: holder(cluster) == "after", "it to lead")
        quiet(cluster)
    assert writes(cluster, before, namespace) == []


def template(cluster: ControlCluster, namespace: str) -> dict[str, Any]:
    found: dict[str, Any] = (get(cluster, "deployment.apps", "chat", namespace) or {})["spec"]["template"]["spec"]
    return found


def grace(cluster: ControlCluster, namespace: str) -> int:
    return int(template(cluster, namespace)["terminationGracePeriodSeconds"])
