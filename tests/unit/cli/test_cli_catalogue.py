"""Counting what is offered and what is used."""

from __future__ import annotations

from typing import Any

import pytest

from roadstead.cli.catalogue import Stock, bundle_table, gpu_table, stock
from roadstead.cli.completing import Offer, offer
from roadstead.cli.kinds import ARTIFACT, WORKLOAD, Kind
from roadstead.cli.top import table
from tests.build import raw_workload

H100 = {
    "gpuType": "h100",
    "description": "NVIDIA H100",
    "nodeLabels": [
        {"matchLabels": {"nvidia.com/gpu.product": "H100"}, "absentLabels": ["nvidia.com/gpu.sharing"]},
        {"matchLabels": {"cloud": "h100"}},
    ],
}


def node(name: str, count: int = 8, *, ready: bool = True, unschedulable: bool = False, **labels: str) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "labels": {key.replace("__", "/").replace("_", "."): value for key, value in labels.items()}},
        "spec": {"unschedulable": unschedulable} if unschedulable else {},
        "status": {"allocatable": {"nvidia.com/gpu": str(count)}, "conditions": [{"type": "Ready", "status": str(ready)}]},
    }


def pod(where: str, gpus: int = 0, owner: str = "chat", phase: str = "Running", **requests: str) -> dict[str, Any]:
    asked = {**requests, **({"nvidia.com/gpu": str(gpus)} if gpus else {})}
    return {
        "metadata": {"name": "p", "namespace": "team", "labels": {"roadstead.dev/workload": owner}},
        "spec": {"nodeName": where, "containers": [{"resources": {"requests": asked}}, {}]},
        "status": {"phase": phase},
    }


NODES = [
    node("a", nvidia_com__gpu_product="H100"),
    node("b", cloud="h100"),
    node("other", cloud="a100"),
    node("shared", nvidia_com__gpu_product="H100", nvidia_com__gpu_sharing="mps"),
    node("down", ready=False, cloud="h100"),
    node("cordoned", unschedulable=True, cloud="h100"),
    node("bare", 0, cloud="h100"),
]


@pytest.mark.parametrize(
    ("nodes", "pods", "expected"),
    [
        (NODES, [pod("a", 3), pod("b", 1), pod("other", 8)], Stock(2, 16, 12)),
        (NODES, None, Stock(2, 16, None)),
        (None, None, Stock()),
        ([], [], Stock(0, 0, 0)),
    ],
)
def test_stock_of_a_gpu_type(nodes: list[dict[str, Any]] | None, pods: list[dict[str, Any]] | None, expected: Stock) -> None:
    assert stock(H100, nodes, pods) == expected


def test_what_may_not_be_seen_is_a_question_mark() -> None:
    assert gpu_table([H100], [Stock(2, 16, None)], wide=False).rows == (("h100", "2", "16", "?", "NVIDIA H100"),)
    assert gpu_table([H100], [Stock()], wide=True).rows[0][-1] == "nvidia.com/gpu.product=H100 or cloud=h100"


def test_bundles() -> None:
    entries = [{"id": "s", "cpu": 0.5, "memory": "1Gi"}, {"id": "g", "cpu": 8, "memory": 1024, "gpu": 1, "name": "Big"}]

    assert bundle_table(entries, wide=False).rows == (("s", "0.5", "1Gi", "0", "", ""), ("g", "8", "1024", "1", "any", "Big"))


def test_top_adds_up_the_pods_of_each_workload() -> None:
    chat = {**raw_workload(), "status": {"state": "running", "replicas": 2, "readyReplicas": 1}}
    idle = raw_workload("idle")
    pods = [pod("a", 2, cpu="500m", memory="1Gi"), pod("b", 2, cpu="1", memory="1Gi"), pod("b", 9, phase="Failed")]
    usage = {"containers": [{"usage": {"cpu": "250000000n", "memory": "524288Ki"}}, {"usage": {"cpu": "50m", "memory": "0"}}]}
    metrics = [{"metadata": pod("a")["metadata"], **usage}]

    measured = table([chat, idle], pods, metrics, namespaces=False)
    unmeasured = table([chat], pods, None, namespaces=True)

    assert measured.rows[0] == ("chat", "running", "1/2", "4", "300m", "20%", "512Mi", "25%")
    assert measured.rows[1] == ("idle", "", "0/0", "0", "0m", "", "0Mi", "")
    assert unmeasured.rows[0] == ("team", "chat", "running", "1/2", "4", "?", "", "?", "")


@pytest.mark.parametrize(
    ("before", "incomplete", "default", "expected"),
    [
        ((), "", None, Offer(words=("artifacts", "workloads", "deployments"))),
        (("workload",), "ch", None, Offer(kind=WORKLOAD)),
        ((), "rsa/", None, Offer(kind=ARTIFACT, prefix="rsa/")),
        ((), "pod/", None, Offer(prefix="pod/")),
        (("workload/a",), "", None, Offer(words=("artifact/", "workload/", "deployment/"))),
        ((), "ch", WORKLOAD, Offer(kind=WORKLOAD)),
    ],
)
def test_what_a_shell_may_offer(before: tuple[str, ...], incomplete: str, default: Kind | None, expected: Offer) -> None:
    assert offer(before, incomplete, default) == expected
