"""No node offers this GPU type: a table of nodes and what is said."""

from __future__ import annotations

import pytest

from roadstead.observed.gpu import missing_gpu
from roadstead.observed.views import NodeView, node_view

PRODUCT = "nvidia.com/gpu.product"
GPU = "nvidia.com/gpu"
H100 = ({PRODUCT: "NVIDIA-H100-80GB-HBM3"}, {"cloud.google.com/gke-accelerator": "nvidia-h100-80gb"})


def node(product: str | None = None) -> NodeView:
    return NodeView(True, {} if product is None else {PRODUCT: product}, {})


def gpus(product: str | None, count: int, ready: bool = True, resource: str = GPU, label: str = PRODUCT) -> NodeView:
    return NodeView(ready, {} if product is None else {label: product}, {resource: count})


L4, A_H100 = gpus("NVIDIA-L4", 1), gpus("NVIDIA-H100-80GB-HBM3", 8)
WANTED = "a GPU of this type (nvidia.com/gpu.product=NVIDIA-H100-80GB-HBM3 or cloud.google.com/gke-accelerator=nvidia-h100-80gb)"


@pytest.mark.parametrize(
    ("count", "nodes", "said"),
    [
        (8, (L4, A_H100), None),
        (1, (gpus("nvidia-h100-80gb", 1, label="cloud.google.com/gke-accelerator"),), None),
        (1, (L4, L4, node()), f"No node offers {WANTED}; GPUs in this cluster: NVIDIA-L4"),
        (1, (node(),), f"No node offers {WANTED}; GPUs in this cluster: none"),
        (1, (), f"No node offers {WANTED}; GPUs in this cluster: none"),
        (1, (gpus(None, 4),), f"No node offers {WANTED}; GPUs in this cluster: unlabelled GPUs"),
        (
            16,
            (A_H100,),
            "No node has 16 nvidia.com/gpu of this type, the largest has 8; ask for fewer per pod or add a larger node",
        ),
        (
            8,
            (gpus("NVIDIA-H100-80GB-HBM3", 8, ready=False), gpus("NVIDIA-H100-80GB-HBM3", 4)),
            "All nodes with 8 nvidia.com/gpu of this type are not ready; look at them with kubectl get nodes",
        ),
        (
            1,
            (node("NVIDIA-H100-80GB-HBM3"),),
            "The nodes of this GPU type offer no nvidia.com/gpu; look whether the device plugin runs on them",
        ),
    ],
)
def test_a_type_of_the_catalogue(count: int, nodes: tuple[NodeView, ...], said: str | None) -> None:
    assert missing_gpu(H100, GPU, count, nodes) == said


def test_any_gpu() -> None:
    assert missing_gpu((), GPU, 1, (node(), L4)) is None
    assert missing_gpu((), GPU, 1, (node(),)) == "No node offers nvidia.com/gpu; GPUs in this cluster: none"
    mig = gpus("NVIDIA-A100-SXM4-80GB", 7, resource="nvidia.com/mig-1g.10gb")
    assert missing_gpu((), GPU, 1, (mig,)) == "No node offers nvidia.com/gpu; GPUs in this cluster: NVIDIA-A100-SXM4-80GB"
    assert missing_gpu((), "nvidia.com/mig-1g.10gb", 1, (mig,)) is None


def test_all_labels_of_an_alternative_must_match() -> None:
    term = {"karpenter.k8s.aws/instance-gpu-name": "a100", "karpenter.k8s.aws/instance-gpu-memory": "81920"}
    small = NodeView(True, {**term, "karpenter.k8s.aws/instance-gpu-memory": "40960"}, {GPU: 8})
    assert missing_gpu((term,), GPU, 1, (small,)) is not None
    assert missing_gpu((term,), GPU, 1, (NodeView(True, term, {GPU: 8}),)) is None


def test_the_sentence_is_bounded_and_does_not_count_nodes() -> None:
    nodes = tuple(gpus(f"NVIDIA-{letter * 60}", 1) for letter in "ABCDEFGH" for _ in range(3))
    terms = tuple({PRODUCT: "x" * 63, f"{letter}.example.com/" + "y" * 60: "z" * 63} for letter in "abcdefgh")
    said = missing_gpu(terms, GPU, 1, nodes) or ""
    assert len(said) < 1000
    assert "and 4 more); GPUs" in said
    assert said == missing_gpu(terms, GPU, 1, nodes + nodes)


def test_a_nodes_offer_is_its_extended_resources() -> None:
    allocatable = {"cpu": "8", "memory": "32Gi", "pods": "110", "hugepages-2Mi": "0", GPU: "8", "nvidia.com/mig-1g.10gb": "7"}
    ready = [{"type": "Ready", "status": "True"}]
    seen = node_view(
        {"metadata": {"name": "n", "labels": {PRODUCT: "NVIDIA-L4"}}, "status": {"allocatable": allocatable, "conditions": ready}}
    )
    assert seen == NodeView(True, {PRODUCT: "NVIDIA-L4"}, {GPU: 8, "nvidia.com/mig-1g.10gb": 7})


def test_a_shared_gpu_is_none_of_a_type_that_must_be_whole() -> None:
    accelerator, sharing = "cloud.google.com/gke-accelerator", "cloud.google.com/gke-gpu-sharing-strategy"
    terms: tuple[dict[str, str | None], ...] = ({accelerator: "nvidia-l4", sharing: None},)
    shared = NodeView(True, {accelerator: "nvidia-l4", sharing: "time-sharing"}, {GPU: 8})
    said = missing_gpu(terms, GPU, 1, (shared,))
    assert (
        said
        == f"No node offers a GPU of this type ({accelerator}=nvidia-l4 without gke-gpu-sharing-strategy); GPUs in this cluster: nvidia-l4"
    )
    assert missing_gpu(terms, GPU, 1, (shared, NodeView(True, {accelerator: "nvidia-l4"}, {GPU: 1}))) is None
