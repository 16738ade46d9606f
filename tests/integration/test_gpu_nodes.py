"""Where the scheduler puts pods of each GPU type: the chart's catalogue and docs/gpu.md against nodes labelled as in the wild."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
import yaml

from hack.cluster.control import ControlCluster
from tests.build import raw_container, raw_workload
from tests.clusters import CHART, ROOT, apply, wait_for
from tests.world import here

pytestmark = [pytest.mark.timeout(180), pytest.mark.usefixtures("operator")]
PRODUCT, GKE, KARPENTER, EKS = (
    "nvidia.com/gpu.product",
    "cloud.google.com/gke-",
    "karpenter.k8s.aws/instance-gpu-",
    "eks.amazonaws.com/instance-gpu-",
)
GPU = "nvidia.com/gpu"
Body = dict[str, Any]
NODES: dict[str, tuple[Body, Body]] = {
    "gfd-l4": ({PRODUCT: "NVIDIA-L4"}, {GPU: "1"}),
    "gfd-l4-shared": ({PRODUCT: "NVIDIA-L4-SHARED"}, {GPU: "8"}),
    "gfd-l4-renamed": ({PRODUCT: "NVIDIA-L4"}, {GPU: "0", "nvidia.com/gpu.shared": "8"}),
    "gfd-a100-mig-single": ({PRODUCT: "NVIDIA-A100-SXM4-80GB-MIG-1g.10gb", "nvidia.com/mig.strategy": "single"}, {GPU: "7"}),
    "gfd-h100-mig-mixed": ({PRODUCT: "NVIDIA-H100-80GB-HBM3", "nvidia.com/mig.strategy": "mixed"}, {"nvidia.com/mig-3g.40gb": "2"}),
    "gke-l4": ({f"{GKE}accelerator": "nvidia-l4"}, {GPU: "1"}),
    "gke-l4-shared": ({f"{GKE}accelerator": "nvidia-l4", f"{GKE}gpu-sharing-strategy": "time-sharing"}, {GPU: "8"}),
    "gke-a100-1g": ({f"{GKE}accelerator": "nvidia-a100-80gb", f"{GKE}gpu-partition-size": "1g.10gb"}, {GPU: "7"}),
    "karpenter-a100-40": ({f"{KARPENTER}name": "a100", f"{KARPENTER}memory": "40960"}, {GPU: "8"}),
    "eks-a100-80": ({f"{EKS}name": "a100", f"{EKS}memory": "81920"}, {GPU: "8"}),
}
"""Labels and offer of each node."""


def catalogue() -> list[Body]:
    """The chart's entries, and those that docs/gpu.md shows."""
    entries: list[Body] = yaml.safe_load((CHART / "values.yaml").read_text())["platform"]["gpuTypes"]
    for block in re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "gpu.md").read_text(), re.DOTALL):
        entries += yaml.safe_load(block)
    return entries


@pytest.fixture
def nodes(cluster: ControlCluster, settings: None) -> Iterator[None]:
    """The nodes, tainted as GPU nodes are, and the whole catalogue in force; gone afterwards."""
    for name, (labels, gpus) in NODES.items():
        offer = {"cpu": "64", "memory": "256Gi", "pods": "100", **gpus}
        node = {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": name, "annotations": {"kwok.x-k8s.io/node": "fake"}, "labels": {"kubernetes.io/hostname": name, **labels}},
            "spec": {"taints": [{"key": GPU, "value": "present", "effect": "NoSchedule"}]},
            "status": {"allocatable": offer, "capacity": offer},
        }
        cluster.kubectl("create", "-f", "-", input=json.dumps(node))
    cluster.kubectl("patch", "rsp", "default", "--type=merge", "-p", json.dumps({"spec": {"gpuTypes": catalogue()}}))
    yield
    cluster.kubectl("delete", "nodes", *NODES, "--wait=false")


@pytest.mark.usefixtures("nodes")
def test_each_type_finds_its_nodes_and_no_others(cluster: ControlCluster, namespace: str) -> None:
    """As many replicas as fill the nodes of a type, where it matters that no others will do."""
    wanted: dict[str, tuple[int, int, set[str]]] = {  # GPUs a pod, replicas, nodes
        "l4": (1, 2, {"gfd-l4", "gke-l4"}),
        "l4-shared": (8, 2, {"gfd-l4-shared", "gke-l4-shared"}),
        "l4-renamed": (1, 1, {"gfd-l4-renamed"}),
        "a100-40gb": (8, 1, {"karpenter-a100-40"}),
        "a100-80gb": (8, 1, {"eks-a100-80"}),
        "a100-1g.10gb": (7, 2, {"gfd-a100-mig-single", "gke-a100-1g"}),
        "h100-3g.40gb": (2, 1, {"gfd-h100-mig-mixed"}),
    }
    for gpu_type, (gpus, replicas, _) in wanted.items():
        container = raw_container(resourceRequest={"cpu": 1, "memory": "1Gi", "gpu": gpus, "gpuType": gpu_type})
        inline = {"containerGroups": [{"containers": [container]}]}
        apply(cluster, here(namespace, raw_workload(name_of(gpu_type), inline=inline, runtime={"replicaCount": replicas})))
    for gpu_type, (_, _, expected) in wanted.items():
        landed = partial(places, cluster, namespace, name_of(gpu_type))
        wait_for(lambda landed=landed, expected=expected: landed() == expected, f"{gpu_type} on {expected}")
    more = {"op": "replace", "path": "/spec/runtime/replicaCount", "value": 3}
    cluster.kubectl("patch", "rsw", "l4", "-n", namespace, "--type=json", "-p", json.dumps([more]))
    said = lambda: [pod.get("message", "") for pod in unscheduled(cluster, namespace, "l4")]  # noqa: E731
    wait_for(lambda: any("Insufficient nvidia.com/gpu" in message for message in said()), "a third pod that finds no whole L4")


def name_of(gpu_type: str) -> str:
    """A Workload's name for a GPU type."""
    return gpu_type.replace(".", "-")


def pods(cluster: ControlCluster, namespace: str, name: str) -> list[Body]:
    """The pods of a Workload."""
    found: list[Body] = json.loads(cluster.kubectl("get", "pods", "-n", namespace, "-l", f"roadstead.dev/workload={name}", "-o", "json"))[
        "items"
    ]
    return found


def places(cluster: ControlCluster, namespace: str, name: str) -> set[str]:
    """The nodes of a Workload's pods; a pod without one counts as being nowhere."""
    return {pod["spec"].get("nodeName", "nowhere") for pod in pods(cluster, namespace, name)}


def unscheduled(cluster: ControlCluster, namespace: str, name: str) -> list[Body]:
    """What the scheduler says of a Workload's pods that have no node."""
    said = [entry for pod in pods(cluster, namespace, name) for entry in pod["status"].get("conditions", [])]
    return [entry for entry in said if entry["type"] == "PodScheduled" and entry["status"] == "False"]
