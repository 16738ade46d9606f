"""What the primary container asks for: its own resourceRequest, or the resource bundle that the Workload names."""

from __future__ import annotations

from dataclasses import dataclass

from roadstead.api.container import Container
from roadstead.api.platform import PlatformSpec, ResourceBundle
from roadstead.api.workload import Workload
from roadstead.desired import quantities
from roadstead.errors import Reason, Refusal


@dataclass(frozen=True, slots=True)
class Ask:
    """CPU (quantity), memory (quantity), GPUs (a count) and their type (an entry of Platform's catalogue), of one container."""

    cpu: str | None
    memory: str | None
    gpu: int
    gpu_type: str | None


def ask(container: Container, bundle: ResourceBundle | None) -> Ask:
    """The effective request of a container; a bundle replaces it wholly."""
    if bundle is not None:
        return Ask(quantities.cpu(bundle.cpu), quantities.memory(bundle.memory), bundle.gpu or 0, bundle.gpu_type)
    request = container.resource_request
    if request is None:
        return Ask(None, None, 0, None)
    return Ask(
        None if request.cpu is None else quantities.cpu(request.cpu),
        None if request.memory is None else quantities.memory(request.memory),
        request.gpu or 0,
        request.gpu_type,
    )


def bundle_of(workload: Workload, platform: PlatformSpec) -> ResourceBundle | None:
    """The bundle a Workload names. Raises Refusal when Platform has none of that id."""
    wanted = [entry.resource_bundle_id for entry in workload.spec.runtime.resources or ()] if workload.spec.runtime else []
    if not wanted:
        return None
    known = {bundle.id: bundle for bundle in platform.resource_bundles or ()}
    if wanted[0] not in known:
        offer = ", ".join(sorted(known)) or "none"
        raise Refusal(
            Reason.UNKNOWN_RESOURCE_BUNDLE,
            f'Resource bundle "{wanted[0]}" is not in Platform "default" (it has: {offer}); choose one of these or add it there',
        )
    return known[wanted[0]]
