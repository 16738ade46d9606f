"""Projections: the few fields of each watched object that decisions read. Bodies aren't kept (2 KB against 30 KB each).

Each ``*_view`` takes the object as the API server sends it and never raises on fields that are absent.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from roadstead.names import DESIRED_ANNOTATION, TEMPLATE_ANNOTATION, USER_ANNOTATION, WORKLOAD_LABEL

Body = Mapping[str, Any]
GPU_LABELS = (
    "nvidia.com/gpu.product",
    "cloud.google.com/gke-accelerator",
    "karpenter.k8s.aws/instance-gpu-name",
    "eks.amazonaws.com/instance-gpu-name",
)
"""Labels whose value names a node's GPU type, the most exact first (docs/gpu.md)."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition of a built-in object, without its times."""

    status: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class ChildView:
    """What every child is compared by. ``ours`` and ``foreign`` say whether somebody else's hand was on it (managedFields).

    ``leaving``: it is deleted, and a finalizer keeps it.
    """

    uid: str
    owner_uid: str | None
    digest: str | None
    ours: str
    foreign: tuple[str, ...]
    leaving: bool = field(default=False, kw_only=True)


@dataclass(frozen=True, slots=True)
class DeploymentView(ChildView):
    """An apps/v1 Deployment. Counts are of its status and hold only when ``current`` is true."""

    template: str | None
    user_template: str | None
    spec_replicas: int
    current: bool
    replicas: int
    ready: int
    updated: int
    available: int
    conditions: Mapping[str, Condition]


@dataclass(frozen=True, slots=True)
class ContainerView:
    """The present state of one container (``state`` is waiting, running or terminated) and how its previous run ended.

    Times are as the API server writes them, "" where there is none; ``last_seconds`` is how long the last run that ended took.
    ``startup_delay`` and ``readiness_delay`` are the probes' initial delays in seconds, ``memory_limit`` a quantity.
    """

    name: str
    ready: bool
    started: bool
    restarts: int
    state: str
    reason: str
    message: str
    exit_code: int | None
    last_reason: str
    last_message: str
    last_exit_code: int | None
    running_since: str = ""
    last_seconds: float | None = None
    startup_delay: int = 0
    readiness_delay: int = 0
    memory_limit: str | None = None


@dataclass(frozen=True, slots=True)
class PodView:
    """A pod of ours.

    ``disruption`` is the reason in its DisruptionTarget condition. ``sandboxed`` tells that volumes and network are set up, None where
    the kubelet doesn't say. Times are as the API server writes them, "" where there is none.
    """

    name: str
    uid: str
    workload: str
    template_hash: str
    phase: str
    reason: str
    message: str
    node: str | None
    ready: bool
    terminating: bool
    created: str
    unschedulable: str | None
    containers: tuple[ContainerView, ...]
    disruption: str = ""
    disruption_message: str = ""
    scheduled_at: str = ""
    turned_at: str = ""
    """When it last became ready or ceased to be."""
    sandboxed: bool | None = None

    @property
    def finished(self) -> bool:
        """Whether nothing runs in it any more: evicted, or rejected by its node. It stays as a record until somebody deletes it."""
        return self.phase in ("Failed", "Succeeded")

    @property
    def alive(self) -> bool:
        """Whether it serves, or may do so yet."""
        return not self.terminating and not self.finished


@dataclass(frozen=True, slots=True)
class NodeView:
    """A node's GPU offer: the labels that name its type, and ``offer``: how many of each extended resource it has, taken or not."""

    ready: bool
    labels: Mapping[str, str]
    offer: Mapping[str, int]


def child_view(body: Body, ours: str, foreign: tuple[str, ...]) -> ChildView:
    """The common part of any child."""
    return ChildView(*_common(body), ours, foreign, leaving=leaves(body))


def deployment_view(body: Body, ours: str, foreign: tuple[str, ...]) -> DeploymentView:
    """An apps/v1 Deployment."""
    metadata, spec, status = body["metadata"], body.get("spec", {}), body.get("status", {})
    marks = metadata.get("annotations") or {}
    return DeploymentView(
        *_common(body),
        ours,
        foreign,
        leaving=leaves(body),
        template=marks.get(TEMPLATE_ANNOTATION),
        user_template=marks.get(USER_ANNOTATION),
        spec_replicas=spec.get("replicas", 1),
        current=status.get("observedGeneration", 0) >= metadata.get("generation", 0),
        replicas=status.get("replicas", 0),
        ready=status.get("readyReplicas", 0),
        updated=status.get("updatedReplicas", 0),
        available=status.get("availableReplicas", 0),
        conditions=conditions_of(body),
    )


def pod_view(body: Body) -> PodView:
    """A pod."""
    metadata, spec, status = body["metadata"], body.get("spec", {}), body.get("status", {})
    marks = metadata.get("labels") or {}
    conditions = {entry["type"]: entry for entry in status.get("conditions") or ()}
    scheduled = conditions.get("PodScheduled", {})
    disruption = conditions.get("DisruptionTarget", {})
    sandbox = conditions.get("PodReadyToStartContainers")
    return PodView(
        name=metadata["name"],
        uid=metadata["uid"],
        workload=marks.get(WORKLOAD_LABEL, ""),
        template_hash=marks.get("pod-template-hash", ""),
        phase=status.get("phase", "Pending"),
        reason=status.get("reason", ""),
        message=status.get("message", ""),
        node=spec.get("nodeName"),
        ready=conditions.get("Ready", {}).get("status") == "True",
        terminating="deletionTimestamp" in metadata,
        created=metadata.get("creationTimestamp", ""),
        unschedulable=scheduled.get("message", "") if scheduled.get("status") == "False" else None,
        containers=tuple(_containers(spec, status)),
        disruption=disruption.get("reason", "") if disruption.get("status") == "True" else "",
        disruption_message=disruption.get("message", ""),
        scheduled_at=scheduled.get("lastTransitionTime") or "" if scheduled.get("status") == "True" else "",
        turned_at=conditions.get("Ready", {}).get("lastTransitionTime") or "",
        sandboxed=None if sandbox is None else sandbox.get("status") == "True",
    )


def node_view(body: Body) -> NodeView:
    """A node."""
    status = body.get("status", {})
    conditions = {entry["type"]: entry.get("status") for entry in status.get("conditions") or ()}
    allocatable = status.get("allocatable") or {}
    return NodeView(
        ready=conditions.get("Ready") == "True",
        labels=dict(body["metadata"].get("labels") or {}),
        offer={name: int(amount) for name, amount in allocatable.items() if "/" in name and str(amount).isdecimal()},
    )


def conditions_of(body: Body) -> dict[str, Condition]:
    """The conditions of an object, by type."""
    entries: list[Body] = (body.get("status") or {}).get("conditions") or []
    return {entry["type"]: Condition(entry["status"], entry.get("reason", ""), entry.get("message", "")) for entry in entries}


def leaves(body: Body) -> bool:
    """Whether an object is deleted but still there."""
    return "deletionTimestamp" in body["metadata"]


def _common(body: Body) -> tuple[str, str | None, str | None]:
    metadata = body["metadata"]
    owner = next((ref["uid"] for ref in metadata.get("ownerReferences") or () if ref.get("controller")), None)
    return metadata["uid"], owner, (metadata.get("annotations") or {}).get(DESIRED_ANNOTATION)


def _containers(spec: Body, status: Body) -> Iterator[ContainerView]:
    declared: dict[str, Body] = {entry["name"]: entry for entry in spec.get("containers") or ()}
    entries: list[Body] = status.get("containerStatuses") or []
    for entry in entries:
        states: Body = entry.get("state") or {"waiting": {}}
        state: str = next(iter(states))
        details: Body = states[state] or {}
        last: Body = (entry.get("lastState") or {}).get("terminated") or {}
        wish = declared.get(entry["name"], {})
        yield ContainerView(
            name=entry["name"],
            ready=bool(entry.get("ready")),
            started=bool(entry.get("started")),
            restarts=entry.get("restartCount", 0),
            state=state,
            reason=details.get("reason", ""),
            message=details.get("message", ""),
            exit_code=details.get("exitCode"),
            last_reason=last.get("reason", ""),
            last_message=last.get("message", ""),
            last_exit_code=last.get("exitCode"),
            running_since=details.get("startedAt") or "" if state == "running" else "",
            last_seconds=_seconds(details if state == "terminated" else last),
            startup_delay=_delay(wish, "startupProbe"),
            readiness_delay=_delay(wish, "readinessProbe"),
            memory_limit=((wish.get("resources") or {}).get("limits") or {}).get("memory"),
        )


def _seconds(run: Body) -> float | None:
    """How long a run took that has ended; None where it never began (a container that can't start has the epoch there)."""
    begin, end = run.get("startedAt"), run.get("finishedAt")
    if not begin or not end or begin.startswith("1970-"):
        return None
    return (datetime.fromisoformat(end) - datetime.fromisoformat(begin)).total_seconds()


def _delay(container: Body, probe: str) -> int:
    return int((container.get(probe) or {}).get("initialDelaySeconds") or 0)
