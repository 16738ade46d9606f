"""GPUs: the resource to ask for, and the nodes and tolerations that go with a GPU type of Platform's catalogue."""

from __future__ import annotations

from dataclasses import dataclass

from roadstead.api.platform import GpuType, PlatformSpec
from roadstead.desired.child import Body
from roadstead.desired.resources import Ask
from roadstead.errors import Reason, Refusal

NVIDIA_DOMAIN = "nvidia.com/"
NVIDIA_GPU = "nvidia.com/gpu"


@dataclass(frozen=True, slots=True)
class GpuPlacement:
    """What a pod needs to get its GPUs.

    ``terms`` are alternatives, each a map of node labels that must all match; None for one that the node must not have. ``gpu_type`` is
    the catalogue's name; None where any will do.
    """

    resource: str
    count: int
    terms: tuple[dict[str, str | None], ...]
    tolerations: tuple[Body, ...]
    runtime_class: str | None
    gpu_type: str | None = None


def placement(ask: Ask, platform: PlatformSpec) -> GpuPlacement | None:
    """Placement for the GPUs asked for; None without GPUs. Raises Refusal for a type that Platform doesn't know."""
    if ask.gpu < 1:
        return None
    if ask.gpu_type is None:
        return GpuPlacement(NVIDIA_GPU, ask.gpu, (), _tolerations(NVIDIA_GPU), None)
    entry = find(ask.gpu_type, platform)
    return GpuPlacement(
        entry.resource_name,
        ask.gpu,
        tuple(dict.fromkeys(one.absent_labels or ()) | dict(one.match_labels) for one in entry.node_labels),
        (
            *_tolerations(entry.resource_name),
            *(toleration.model_dump(by_alias=True, exclude_none=True, mode="json") for toleration in entry.tolerations or ()),
        ),
        entry.runtime_class_name,
        entry.gpu_type,
    )


def find(gpu_type: str, platform: PlatformSpec) -> GpuType:
    """The catalogue's entry. Raises Refusal that lists what there is."""
    known = {entry.gpu_type: entry for entry in platform.gpu_types or ()}
    if gpu_type not in known:
        offer = ", ".join(sorted(known)) or "none"
        raise Refusal(
            Reason.UNKNOWN_GPU_TYPE,
            f'GPU type "{gpu_type}" is not in Platform "default" (it has: {offer}); choose one of these or add it there',
        )
    return known[gpu_type]


def _tolerations(resource: str) -> tuple[Body, ...]:
    """For the taint named like the resource; nodes with MIG slices or renamed shares bear the one of whole GPUs."""
    keys = (resource, NVIDIA_GPU) if resource.startswith(NVIDIA_DOMAIN) and resource != NVIDIA_GPU else (resource,)
    return tuple({"key": key, "operator": "Exists", "effect": "NoSchedule"} for key in keys)
