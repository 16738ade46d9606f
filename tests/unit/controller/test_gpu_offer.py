"""What no node offers: found out once for all who ask, and anew when a node has changed."""

from __future__ import annotations

from typing import Any

from roadstead.controller.gpu_offer import GpuOffer
from roadstead.controller.mirrors import Mirrors
from roadstead.desired.gpu import GpuPlacement
from roadstead.kube.client import ApiClient
from roadstead.kube.config import ClusterConfig

GPU = "nvidia.com/gpu"
TYPE: dict[str, str | None] = {"nvidia.com/gpu.product": "L4"}


def node(name: str, gpus: int, heard: str = "") -> dict[str, Any]:
    metadata = {"name": name, "labels": TYPE, "annotations": {"heard": heard}}
    return {"metadata": metadata, "status": {"allocatable": {GPU: str(gpus)}, "conditions": [{"type": "Ready", "status": "True"}]}}


def wanted(count: int) -> GpuPlacement:
    return GpuPlacement(GPU, count, (TYPE,), (), None)


async def test_it_is_found_out_anew_when_a_node_changes() -> None:
    mirrors = Mirrors(ApiClient(ClusterConfig("http://nowhere"), user_agent="test"), lambda _: None, lambda *_: None, lambda _: None)
    looks = 0
    nodes = mirrors.nodes

    def counted() -> Any:
        nonlocal looks
        looks += 1
        return nodes()

    mirrors.nodes = counted  # type: ignore[method-assign]
    offer = GpuOffer(mirrors)
    mirrors._nodes._put(node("small", 1))
    assert [offer.missing(wanted(count)) is None for count in (1, 2, 1, 2)] == [True, False, True, False]
    mirrors._nodes._put(node("small", 1, heard="just now"))
    assert offer.missing(wanted(2)) is not None
    assert looks == 2
    mirrors._nodes._put(node("large", 2))
    assert offer.missing(wanted(2)) is None
    mirrors._nodes._remove(("", "large"))
    assert offer.missing(wanted(2)) is not None
