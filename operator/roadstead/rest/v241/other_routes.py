"""Bundles and the version."""

from __future__ import annotations

from fastapi import Response

from roadstead import __version__
from roadstead.api.platform import PlatformSpec, ResourceBundle
from roadstead.desired.quantities import in_bytes
from roadstead.rest.context import TheApi, TheCaller
from roadstead.rest.routing import Router, answer
from roadstead.rest.v241.common import responses
from roadstead.rest.v241.models import Bundles, Version

router = Router()
MAJOR, MINOR = 2, 41


@router.get(
    "/mlops/compute/bundles",
    operation_id="listBundles",
    summary="List resource bundles",
    response_model=Bundles,
    responses=responses(),
    tags=["Platform"],
)
async def bundles(api: TheApi, caller: TheCaller) -> Response:
    """The platform's catalogue: named sets of resources that a workload's `runtime.resources` may refer to."""
    platform = api.cache.platform
    return answer({"data": [bundle(entry, platform) for entry in platform.resource_bundles or ()]})


@router.get("/version/", operation_id="getVersion", summary="The version of the API", response_model=Version, tags=["Platform"])
async def version() -> Response:
    """Needs no token."""
    return answer({"major": MAJOR, "minor": MINOR, "versionString": f"{MAJOR}.{MINOR}.0", "release": __version__})


def bundle(entry: ResourceBundle, platform: PlatformSpec) -> dict[str, object]:
    """One entry of the catalogue; who makes the GPU shows in the resource that nodes offer (nvidia.com/gpu, amd.com/gpu)."""
    kind = next((kind for kind in platform.gpu_types or () if kind.gpu_type == entry.gpu_type), None)
    resource = kind.resource_name if kind is not None else "nvidia.com/gpu"
    return {
        "id": entry.id,
        "name": entry.name or entry.id,
        "description": entry.description,
        "cpuCount": entry.cpu,
        "memoryBytes": in_bytes(entry.memory),
        "gpuCount": entry.gpu or 0,
        "gpuMaker": resource.split(".")[0] if entry.gpu else None,
        "gpuTypeLabel": entry.gpu_type,
    }
