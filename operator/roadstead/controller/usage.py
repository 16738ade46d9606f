"""GPUs in use: what Workloads ask for, and what their pods hold. Kept for Workloads with GPUs alone, summed when somebody asks."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from roadstead.api.deployment import Importance
from roadstead.controller.kinds import Key
from roadstead.controller.mirrors import Mirrors
from roadstead.desired import Desired

Labels = tuple[str | None, Importance | None]
"""GPU type (None: any) and importance (None: no Deployment is in front)."""


@dataclass(frozen=True, slots=True)
class _PodGpus:
    """What one pod of a Workload takes: pairs of GPU type and number."""

    per_pod: tuple[tuple[str | None, int], ...]
    importance: Importance | None


class GpuUsage:
    """Learns from reconciles, so it is empty on a replica that has not led."""

    def __init__(self, mirrors: Mirrors) -> None:
        self._mirrors = mirrors
        self._uses: dict[Key, _PodGpus] = {}

    def note(self, key: Key, desired: Desired) -> None:
        """A Workload was built anew."""
        if desired.gpus:
            self._uses[key] = _PodGpus(tuple((gpu.gpu_type, gpu.count) for gpu in desired.gpus), desired.importance)
        else:
            self.forget(key)

    def forget(self, key: Key) -> None:
        """A Workload is gone, or has no GPUs any more."""
        self._uses.pop(key, None)

    def totals(self) -> tuple[Counter[Labels], Counter[Labels]]:
        """GPUs of the replicas that are wanted, and of the pods that have a node."""
        requested: Counter[Labels] = Counter()
        allocated: Counter[Labels] = Counter()
        for key, use in self._uses.items():
            name = (key.namespace, key.name)
            deployment = self._mirrors.deployment(name)
            wanted = deployment.spec_replicas if deployment is not None else 0
            placed = sum(pod.node is not None and not pod.finished for pod in self._mirrors.pods(name))
            for gpu_type, count in use.per_pod:
                requested[gpu_type, use.importance] += count * wanted
                allocated[gpu_type, use.importance] += count * placed
        return requested, allocated
