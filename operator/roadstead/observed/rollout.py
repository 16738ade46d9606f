"""A rollout that finds no room for its surge pod: when to replace pods in place instead."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from roadstead.observed.views import DeploymentView, PodView

PATIENCE_SECONDS = 60.0
"""How long a surge pod may wait for room: a node autoscaler may bring some."""


@dataclass(frozen=True, slots=True)
class StuckSurge:
    """A surge pod without room. ``left_seconds`` of patience remain; at 0 the revision is replaced in place."""

    pod: str
    why: str
    left_seconds: float


def stuck_surge(deployment: DeploymentView | None, pods: Iterable[PodView], now: datetime) -> StuckSurge | None:
    """The surge pod that waits, if the nodes lack the resources for it while pods of an older version hold them."""
    if deployment is None:
        return None
    alive = [pod for pod in pods if pod.alive]
    homeless = [pod for pod in alive if pod.node is None and pod.unschedulable and "Insufficient" in pod.unschedulable]
    versions = {pod.template_hash for pod in homeless}
    if not homeless or not any(pod.node and pod.template_hash not in versions for pod in alive):
        return None
    oldest = min(homeless, key=lambda pod: (pod.created, pod.name))
    waited = (now - datetime.fromisoformat(oldest.created)).total_seconds()
    return StuckSurge(oldest.name, oldest.unschedulable or "", max(0.0, PATIENCE_SECONDS - waited))
