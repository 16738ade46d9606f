"""What it costs to put back what was changed by hand, also while nobody looked, and to look at everything again: counted in writes."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from hack.cluster.control import ControlCluster, free_ports
from tests.build import API_VERSION, cpu_autoscaling, raw_artifact, raw_container, raw_workload
from tests.clusters import apply, audit_position, get, running_operator, wait_for, writes
from tests.world import condition, here, quiet, status, wait_state

pytestmark = pytest.mark.timeout(180)
Body = dict[str, Any]
SILENT_SECONDS = 5.0
REFUSED = (409, 422)
"""What was added is taken away by a JSON patch that tests the version it has seen: the Deployment controller's status may come between."""
CHANGED: Body = {"terminationGracePeriodSeconds": 7}
ADDED: Body = {"containers": [{"name": "main", "env": [{"name": "ADDED", "value": "1"}]}]}
EDITS = [
    pytest.param({"spec": CHANGED}, 1, id="a field changed", marks=pytest.mark.long),
    pytest.param({"spec": ADDED}, 1, id="a variable added", marks=pytest.mark.long),
    pytest.param({"spec": CHANGED | ADDED}, 2, id="both"),
]
"""What is done to a pod template, and how many writes put it back: what was changed is applied, what was added is taken away.

Labels and annotations may be added to pods: injectors and `kubectl rollout restart` do."""


def template(cluster: ControlCluster, namespace: str) -> Body:
    found: Body = (get(cluster, "deployment.apps", "chat", namespace) or {})["spec"]["template"]
    return found


def edit(cluster: ControlCluster, namespace: str, change: Body) -> None:
    """In one request, as somebody else."""
    flags = ("--type=strategic", "-p", json.dumps({"spec": {"template": change}}))
    cluster.kubectl("patch", "deployment.apps", "chat", "-n", namespace, *flags)


def wait_put_back(cluster: ControlCluster, namespace: str, before: Body, since: int, repairs: int) -> None:
    """Wait for a template as it was, and for silence; fails unless it took so many writes."""
    wait_for(lambda: template(cluster, namespace) == before, "the repair", 60)
    quiet(cluster, SILENT_SECONDS)
    assert template(cluster, namespace) == before
    done = [entry for entry in writes(cluster, since, namespace) if entry[1].startswith("deployments")]
    assert {code for *_, code in done} <= {200, *REFUSED}, done
    written = [(verb, name) for verb, _, name, code in done if code not in REFUSED]
    assert written == [("patch", "chat")] * repairs, done


@pytest.mark.parametrize(("change", "repairs"), EDITS)
def test_hand_edits_while_the_operator_is_down(
    cluster: ControlCluster, operator_kubeconfig: Path, namespace: str, change: Body, repairs: int
) -> None:
    with running_operator(cluster, operator_kubeconfig):
        apply(cluster, here(namespace, raw_artifact()), here(namespace, raw_workload()))
        wait_state(cluster, namespace, "running")
        quiet(cluster)
    before, since = template(cluster, namespace), audit_position(cluster)
    edit(cluster, namespace, change)
    assert template(cluster, namespace) != before
    assert writes(cluster, since) == []
    with running_operator(cluster, operator_kubeconfig):
        wait_put_back(cluster, namespace, before, since, repairs)


def test_both_while_it_runs(cluster: ControlCluster, operator_kubeconfig: Path, namespace: str) -> None:
    with running_operator(cluster, operator_kubeconfig):
        apply(cluster, here(namespace, raw_artifact()), here(namespace, raw_workload()))
        wait_state(cluster, namespace, "running")
        quiet(cluster)
        before, since = template(cluster, namespace), audit_position(cluster)
        edit(cluster, namespace, {"spec": CHANGED | ADDED})
        wait_for(lambda: len([entry for entry in writes(cluster, since, namespace) if entry[1] == "deployments"]) >= 2, "two writes", 60)
        wait_put_back(cluster, namespace, before, since, 2)


def test_a_resync_writes_nothing(cluster: ControlCluster, operator_kubeconfig: Path, namespace: str) -> None:
    """Everything is looked at several times, of each kind something."""
    port = free_ports(1)[0]

    def figures() -> dict[str, float]:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        return {series: float(value) for series, _, value in (line.rpartition(" ") for line in lines if not line.startswith("#"))}

    names = ("chat", "scaled", "still", "own")
    front = {"apiVersion": API_VERSION, "kind": "Deployment", "metadata": {"name": "front"}, "spec": {"workloadRef": {"name": "chat"}}}
    inline = {"containerGroups": [{"containers": [raw_container()]}]}
    often = {"ROADSTEAD_RESYNC_SECONDS": "1", "ROADSTEAD_SWEEP_SECONDS": "1"}
    with running_operator(cluster, operator_kubeconfig, metrics_port=port, **often):
        apply(cluster, here(namespace, raw_artifact(status="registered")), here(namespace, front))
        apply(cluster, here(namespace, raw_workload()), here(namespace, raw_workload("scaled", runtime=cpu_autoscaling())))
        apply(cluster, here(namespace, raw_workload("still", suspend=True)), here(namespace, raw_workload("own", inline=inline)))
        for name in names:
            wait_state(cluster, namespace, "stopped" if name == "still" else "running", name)
        wait_for(
            lambda: condition(status(cluster, namespace, "scaled"), "AutoscalerReady").get("status") == "False",
            "the HPA's word that it gets no metrics",
            60,
        )
        quiet(cluster, SILENT_SECONDS)
        first, since = figures(), audit_position(cluster)
        kinds = {"workload": len(names), "artifact": 2, "deployment": 1, "platform": 1}

        def looked(kind: str) -> float:
            series = f'controller_runtime_reconcile_total{{controller="{kind}",result="%s"}}'
            now = figures()
            return sum(now[series % result] - first[series % result] for result in ("success", "requeue_after"))

        adds = 'workqueue_adds_total{name="roadstead"}'
        wait_for(lambda: figures()[adds] - first[adds] >= 3 * sum(kinds.values()), "keys to be queued", 60)
        for kind, count in kinds.items():
            wait_for(lambda kind=kind, count=count: looked(kind) >= 2 * count, f"each {kind} to be looked at", 60)
        assert writes(cluster, since) == []
