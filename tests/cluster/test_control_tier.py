"""The control tier: real API semantics, tokens, an audit log, and nothing left when its process is killed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from hack.cluster.control import ControlCluster, control_cluster
from hack.cluster.processes import Identity, wait_until
from tests.clusters import audit_events

REPOSITORY_ROOT = Path(__file__).parents[2]
HOLD = """
import sys, time
from hack.cluster.control import control_cluster
with control_cluster() as cluster:
    print(*(running.process.pid for running in cluster.processes.values()), flush=True)
    time.sleep(60)
"""


@pytest.fixture(scope="module")
def cluster():
    with control_cluster(kwok=True) as running:
        yield running


def test_service_account_tokens_are_issued(cluster: ControlCluster) -> None:
    assert cluster.kubectl("create", "token", "default").count(".") == 2


def test_client_kubeconfig_acts_as_that_user(cluster: ControlCluster) -> None:
    kubeconfig = cluster.client_kubeconfig("system:serviceaccount:team:robot", ("system:serviceaccounts",))
    answer = json.loads(cluster.kubectl("auth", "whoami", "--kubeconfig", str(kubeconfig), "-o", "json"))
    assert answer["status"]["userInfo"]["username"] == "system:serviceaccount:team:robot"
    assert "system:serviceaccounts" in answer["status"]["userInfo"]["groups"]


def test_account_kubeconfig_has_a_token_of_that_account(cluster: ControlCluster) -> None:
    cluster.kubectl("create", "serviceaccount", "robot")
    kubeconfig = cluster.account_kubeconfig("default", "robot")
    answer = json.loads(cluster.kubectl("auth", "whoami", "--kubeconfig", str(kubeconfig), "-o", "json"))
    assert answer["status"]["userInfo"]["username"] == "system:serviceaccount:default:robot"
    assert {"system:serviceaccounts", "system:serviceaccounts:default"} <= set(answer["status"]["userInfo"]["groups"])
    assert "client-certificate" not in kubeconfig.read_text()
    assert kubeconfig.stat().st_mode & 0o077 == 0


def test_audit_log_has_one_line_per_finished_request(cluster: ControlCluster) -> None:
    cluster.kubectl("create", "configmap", "counted")
    creations = [
        event for event in audit_events(cluster) if event["verb"] == "create" and event.get("objectRef", {}).get("name") == "counted"
    ]
    assert [event["stage"] for event in creations] == ["ResponseComplete"]


def test_objects_survive_a_restart_of_the_api_server(cluster: ControlCluster) -> None:
    cluster.kubectl("create", "configmap", "kept")
    cluster.restart_apiserver()
    assert "kept" in cluster.kubectl("get", "configmaps", "-o", "name")


def test_kwok_runs_pods_on_fake_nodes(cluster: ControlCluster) -> None:
    capacity = {"cpu": "8", "memory": "32Gi", "pods": "100", "nvidia.com/gpu": "8"}
    metadata = {"name": "fake", "annotations": {"kwok.x-k8s.io/node": "fake"}}
    node = {"apiVersion": "v1", "kind": "Node", "metadata": metadata, "status": {"capacity": capacity, "allocatable": capacity}}
    cluster.kubectl("create", "-f", "-", input=json.dumps(node))
    cluster.kubectl("create", "deployment", "sleeper", "--image=none", "--replicas=3")
    cluster.kubectl("rollout", "status", "deployment/sleeper", "--timeout=30s")


def test_two_clusters_side_by_side(cluster: ControlCluster) -> None:
    with control_cluster() as other:
        other.kubectl("create", "configmap", "only-here")
        assert "only-here" not in cluster.kubectl("get", "configmaps", "-o", "name")


def test_a_killed_caller_leaves_no_process() -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLD], cwd=REPOSITORY_ROOT, stdout=subprocess.PIPE, text=True)
    with holder:
        assert holder.stdout is not None
        identities = [Identity.of(int(pid)) for pid in holder.stdout.readline().split()]
        assert len(identities) == 4
        holder.kill()
    wait_until(lambda: not any(identity and identity.alive for identity in identities), "the cluster's processes to end", 10)
