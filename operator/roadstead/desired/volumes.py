"""Volumes: the closed list a user may declare, and the ones that the operator adds (HOME, /dev/shm, model cache)."""

from __future__ import annotations

from collections.abc import Iterator

from roadstead.api.container import Container
from roadstead.api.platform import PlatformSpec
from roadstead.api.workload import Workload
from roadstead.desired.child import Body
from roadstead.desired.security import HOME_PATH, HOME_VOLUME
from roadstead.errors import Reason, Refusal

SHARED_MEMORY_VOLUME = "roadstead-shm"
SHARED_MEMORY_PATH = "/dev/shm"  # noqa: S108 - the path that CUDA libraries use inside the container
MODEL_CACHE_VOLUME = "roadstead-model-cache"


def pod_volumes(workload: Workload, platform: PlatformSpec, *, gpus: bool) -> list[Body]:
    """All volumes of the pod: the operator's own first, then the user's in their order."""
    volumes: list[Body] = [{"name": HOME_VOLUME, "emptyDir": {}}]
    if gpus:
        memory: Body = {"medium": "Memory"}
        if platform.pods.shared_memory is not None:
            memory["sizeLimit"] = str(platform.pods.shared_memory)
        volumes.append({"name": SHARED_MEMORY_VOLUME, "emptyDir": memory})
        if platform.pods.model_cache is not None:
            claim = {"claimName": platform.pods.model_cache.persistent_volume_claim}
            volumes.append({"name": MODEL_CACHE_VOLUME, "persistentVolumeClaim": claim})
    return [*volumes, *_declared(workload)]


def mounts(container: Container, workload: Workload, platform: PlatformSpec, *, gpus: bool) -> list[Body]:
    """Mounts of one container. Raises Refusal for a mount of a volume that the Workload doesn't declare."""
    found: list[Body] = [{"name": HOME_VOLUME, "mountPath": HOME_PATH}]
    if gpus:
        found.append({"name": SHARED_MEMORY_VOLUME, "mountPath": SHARED_MEMORY_PATH})
        if platform.pods.model_cache is not None:
            found.append({"name": MODEL_CACHE_VOLUME, "mountPath": platform.pods.model_cache.mount_path})
    declared = {volume["name"] for volume in _declared(workload)}
    theirs = [mount.model_dump(by_alias=True, exclude_none=True, mode="json") for mount in container.volume_mounts or ()]
    for mount in theirs:
        if mount["name"] not in declared:
            offer = ", ".join(sorted(declared)) or "none"
            raise Refusal(
                Reason.UNKNOWN_VOLUME,
                f'A container mounts volume "{mount["name"]}", which spec.template.volumes of the Workload lacks (it has: {offer})',
            )
    taken = {mount["mountPath"] for mount in theirs}
    return [*(mount for mount in found if mount["mountPath"] not in taken), *theirs]


def _declared(workload: Workload) -> Iterator[Body]:
    template = workload.spec.template
    for volume in (template.volumes or ()) if template is not None else ():
        yield volume.model_dump(by_alias=True, exclude_none=True, mode="json")
