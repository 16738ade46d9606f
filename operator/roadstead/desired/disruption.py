"""Importance: the PriorityClass of the pods and their PodDisruptionBudget."""

from __future__ import annotations

from collections.abc import Iterable

from roadstead.api.deployment import Deployment, Importance
from roadstead.api.workload import Workload
from roadstead.desired.child import Child, ChildKind, child, metadata, selector

ORDER = (Importance.LOW, Importance.MODERATE, Importance.HIGH, Importance.CRITICAL)


def importance(deployments: Iterable[Deployment]) -> Importance | None:
    """The highest importance of the Deployments in front of a Workload; None where there is none."""
    return max((deployment.spec.importance for deployment in deployments), key=ORDER.index, default=None)


def priority_class(level: Importance | None) -> str | None:
    """The chart's PriorityClass of a level."""
    return None if level is None else f"roadstead-{level}"


def build_disruption_budget(workload: Workload, level: Importance | None) -> Child | None:
    """At most one pod away at a time, for importance moderate and above. Unready pods may always go, so no drain is blocked."""
    if level is None or level is Importance.LOW or workload.spec.suspend:
        return None
    return child(
        ChildKind.POD_DISRUPTION_BUDGET,
        {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": metadata(workload),
            "spec": {
                "maxUnavailable": 1,
                "selector": {"matchLabels": selector(workload)},
                "unhealthyPodEvictionPolicy": "AlwaysAllow",
            },
        },
    )
