"""/metrics of a running operator."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path

import pytest

from hack.cluster.control import ControlCluster, free_ports
from tests.build import API_VERSION, raw_artifact, raw_container, raw_workload
from tests.clusters import apply, running_operator, wait_for
from tests.world import here, patch, status, wait_state


@pytest.mark.timeout(120)
def test_a_running_operator_answers(cluster: ControlCluster, operator_kubeconfig: Path, namespace: str) -> None:
    port = free_ports(1)[0]

    def lines() -> list[str]:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            assert answer.headers["Content-Type"].startswith("text/plain; version=")
            return answer.read().decode().splitlines()

    def number(series: str) -> float:
        return next(float(line.rsplit(" ", 1)[1]) for line in lines() if line.rsplit(" ", 1)[0] == series)

    def running() -> int:
        everywhere = json.loads(cluster.kubectl("get", "rsw", "-A", "-o", "json"))["items"]
        return sum(workload.get("status", {}).get("state") == "running" for workload in everywhere)

    with running_operator(cluster, operator_kubeconfig, metrics_port=port):
        wait_for(lambda: number('leader_election_master_status{name="roadstead-operator"}') == 1, "the Lease")
        apply(cluster, here(namespace, raw_artifact()), here(namespace, raw_workload()))
        wait_state(cluster, namespace, "running")
        wait_for(lambda: number('roadstead_workload_state{state="running"}') == running() > 0, "the state")
        assert number('controller_runtime_reconcile_total{controller="workload",result="success"}') > 0
        assert number('controller_runtime_reconcile_time_seconds_count{controller="workload"}') > 0
        assert number('rest_client_requests_total{code="200",method="GET"}') > 0
        assert number('rest_client_requests_total{code="201",method="PATCH"}') > 0
        assert number('workqueue_queue_duration_seconds_count{name="roadstead"}') > 0
        wait_for(lambda: number('roadstead_workload_replicas{replicas="ready"}') >= 1, "the replica")
        assert number('roadstead_reflector_objects{resource="nodes"}') == 2
        wait_for(lambda: number("roadstead_event_loop_lag_seconds_count") > 0, "a sample of the event loop")
        assert number('roadstead_reflector_silent_seconds{resource="pods"}') < 60
        silent = 'roadstead_reflector_silent_seconds{resource="workloads.roadstead.dev"}'  # kopf's watch
        wait_for(lambda: number(silent) > 2, "a watch without a word")
        patch(cluster, "rsw", "chat", namespace, restartedAt="2026-11-25T12:00:00Z")
        wait_for(lambda: number(silent) < 1, "the word of a change")
        assert number("process_resident_memory_bytes") > 0


@pytest.mark.timeout(120)
def test_gpus_are_counted_by_type_and_importance(cluster: ControlCluster, operator_kubeconfig: Path, namespace: str) -> None:
    """The fake nodes have two times eight H100: two pods of six get a node, the third doesn't."""
    port = free_ports(1)[0]

    def number(series: str) -> float:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        return next(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(series + " "))

    container = raw_container(resourceRequest={"cpu": 1, "memory": "1Gi", "gpu": 6, "gpuType": "h100"})
    front = {"metadata": {"name": "front"}, "apiVersion": API_VERSION, "kind": "Deployment"}
    front["spec"] = {"workloadRef": {"name": "chat"}, "importance": "high"}
    with running_operator(cluster, operator_kubeconfig, metrics_port=port):
        apply(cluster, here(namespace, raw_artifact(containers=[container], status="registered")), here(namespace, front))
        apply(cluster, here(namespace, raw_workload(runtime={"replicaCount": 3})))
        labels = '{gpu_type="h100",importance="high"}'
        wait_for(lambda: number("roadstead_gpus_requested" + labels) == 18, "those requested")
        wait_for(lambda: number("roadstead_gpus_allocated" + labels) == 12, "those allocated")
        patch(cluster, "rsw", "chat", namespace, suspend=True)
        wait_for(lambda: number("roadstead_gpus_requested" + labels) == number("roadstead_gpus_allocated" + labels) == 0, "none")


@pytest.mark.timeout(120)
def test_the_level_of_the_logs_changes_without_a_restart(cluster: ControlCluster, operator_kubeconfig: Path, namespace: str) -> None:
    """JSON lines that name the object that was being reconciled."""

    def level(name: str | None) -> None:
        cluster.kubectl("patch", "rsp", "default", "--type=merge", "-p", json.dumps({"spec": {"logging": {"level": name}}}))

    def logged() -> list[dict[str, str]]:
        newest = max(cluster.state.glob("operator-*.log"), key=lambda file: file.stat().st_mtime)
        return [json.loads(line) for line in newest.read_text().splitlines()]

    with running_operator(cluster, operator_kubeconfig, ROADSTEAD_LOG_FORMAT="json"):
        apply(cluster, here(namespace, raw_artifact()), here(namespace, raw_workload()))
        wait_state(cluster, namespace, "running")
        about = f"Workload {namespace}/chat"
        assert any(entry.get("object") == about and "is written" in entry["message"] for entry in logged())
        try:
            level("ERROR")
            wait_for(lambda: any("from level ERROR on" in entry["message"] for entry in logged()), "the change")
            seen = len(logged())
            patch(cluster, "rsw", "chat", namespace, runtime={"replicaCount": 2})
            wait_for(lambda: status(cluster, namespace).get("readyReplicas") == 2, "two ready")
            assert len(logged()) == seen
        finally:
            level(None)
        wait_for(lambda: any("from level INFO on" in entry["message"] for entry in logged()), "the change back")
