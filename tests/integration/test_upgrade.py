"""Another version of the operator, whose pod template differs: nothing restarts, and the user's next change carries it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from hack.cluster.control import ControlCluster
from tests.build import cpu_autoscaling, raw_artifact, raw_workload
from tests.clusters import ROOT, apply, get, running_operator, wait_for
from tests.world import condition, here, patch, pod_uids, quiet, status, wait_state

pytestmark = pytest.mark.timeout(180)
FORMER, NEXT = "DRAIN_SECONDS = 5\n", "DRAIN_SECONDS = 7\n"


@pytest.fixture
def next_version(tmp_path: Path) -> Path:
    """A copy of the operator's package that differs in one number of every pod template."""
    source = tmp_path / "operator"
    shutil.copytree(ROOT / "operator", source, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    file = source / "roadstead" / "desired" / "pods.py"
    assert FORMER in file.read_text()
    file.write_text(file.read_text().replace(FORMER, NEXT))
    return source


def test_another_version_of_the_operator_restarts_nothing(
    cluster: ControlCluster, operator_kubeconfig: Path, namespace: str, next_version: Path
) -> None:
    names = ("plain", "scaled", "halted")
    apply(cluster, here(namespace, raw_artifact(status="registered")))
    apply(cluster, here(namespace, raw_workload("plain", runtime={"replicaCount": 2})))
    apply(cluster, here(namespace, raw_workload("scaled", runtime=cpu_autoscaling())))
    apply(cluster, here(namespace, raw_workload("halted", suspend=True)))

    def drain(name: str) -> int:
        spec = (get(cluster, "deployment.apps", name, namespace) or {})["spec"]["template"]["spec"]
        return int(spec["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"])

    def up_to_date(name: str) -> str:
        return str(condition(status(cluster, namespace, name), "UpToDate").get("status"))

    with running_operator(cluster, operator_kubeconfig):
        wait_for(lambda: status(cluster, namespace, "plain").get("readyReplicas") == 2, "two ready pods")
        wait_state(cluster, namespace, "running", "scaled")
        wait_state(cluster, namespace, "stopped", "halted")
        quiet(cluster)
        pods = {name: pod_uids(cluster, namespace, name) for name in names}
    with running_operator(cluster, operator_kubeconfig, PYTHONPATH=str(next_version)):
        for name in ("plain", "scaled"):
            wait_for(lambda name=name: up_to_date(name) == "False", f"{name}: what waits")
            assert "operator change waits" in condition(status(cluster, namespace, name), "UpToDate")["message"]
        wait_for(lambda: drain("halted") == 7, "the template of the stopped one, which restarts nothing")
        quiet(cluster)
        assert {name: pod_uids(cluster, namespace, name) for name in names} == pods
        assert (drain("plain"), drain("scaled")) == (5, 5)
        patch(cluster, "rsw", "plain", namespace, restartedAt="2026-11-25T12:00:00Z")
        wait_for(lambda: up_to_date("plain") == "True", "the user's change to carry it")
        assert drain("plain") == 7
        wait_for(lambda: set(pod_uids(cluster, namespace, "plain").split()).isdisjoint(pods["plain"].split()), "new pods")
        patch(cluster, "rsw", "halted", namespace, suspend=False)
        wait_state(cluster, namespace, "running", "halted")
        quiet(cluster)
        assert pod_uids(cluster, namespace, "scaled") == pods["scaled"]
        assert up_to_date("scaled") == "False"
        pods = {name: pod_uids(cluster, namespace, name) for name in names}
    with running_operator(cluster, operator_kubeconfig):  # and back again
        wait_for(lambda: up_to_date("scaled") == "True", "nothing to wait")
        wait_for(lambda: up_to_date("plain") == "False", "what waits")
        quiet(cluster)
        assert {name: pod_uids(cluster, namespace, name) for name in names} == pods
