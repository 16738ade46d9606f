"""The status of a Deployment of ours: which Workload serves, and why another one doesn't yet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from roadstead.api.conditions import State
from roadstead.api.deployment import Deployment
from roadstead.api.identity import object_id
from roadstead.observed.conditions import Condition, Verdict, render


@dataclass(frozen=True, slots=True)
class Backend:
    """A Workload as a Deployment sees it. ``ready`` counts ready pods; ``registered`` tells of its Artifact."""

    name: str
    state: State
    ready: int
    registered: bool
    suspended: bool


def observe_endpoint(
    deployment: Deployment,
    target: Backend | None,
    active: Backend | None,
    previous: Mapping[str, Any],
    now: datetime,
    *,
    url: str | None = None,
) -> dict[str, Any]:
    """The verdict. ``target`` is the Workload referred to, ``active`` the one that served so far; None where there is none (any more).

    ``url`` is the public one.
    """
    serving, progress = _choose(deployment.spec.workload_ref.name, target, active)
    metadata = deployment.metadata
    generation = metadata.generation or 0
    state = serving.state if serving is not None else State.ERRORED
    status: dict[str, Any] = {
        "observedGeneration": generation,
        "id": object_id("deployments", metadata.namespace or "", metadata.name),
        "endpoint": url,
        "activeWorkload": serving.name if serving is not None else None,
        "state": str(state),
        "conditions": render(_conditions(serving, progress), previous.get("conditions") or (), generation, now),
    }
    return {name: value for name, value in status.items() if value is not None}


def _choose(wanted: str, target: Backend | None, active: Backend | None) -> tuple[Backend | None, Condition]:
    """Who serves, and how far the switch is."""
    if target is None:
        text = f'Workload "{wanted}" does not exist; create it or correct spec.workloadRef.name'
        return active, Condition("Progressing", Verdict.FALSE, "WorkloadMissing", text)
    if not target.registered:
        text = f'Workload "{wanted}" runs a draft; register its Artifact (spec.status: registered)'
        return active if active != target else None, Condition("Progressing", Verdict.FALSE, "WorkloadNotRegistered", text)
    if active is None or active.name == target.name or target.ready or active.suspended:
        if target.suspended:
            text = f'Workload "{wanted}" is stopped; start it (spec.suspend: false)'
            return target, Condition("Progressing", Verdict.TRUE, "WorkloadStopped", text)
        return target, Condition("Progressing", Verdict.TRUE, "Switched", f'Workload "{wanted}" is the one that serves')
    text = f'Workload "{active.name}" serves until "{wanted}" has a ready pod'
    if target.suspended:
        text += "; that one is stopped: start it (spec.suspend: false)"
    elif target.state is State.ERRORED:
        text += "; that one is errored: its message says why"
        return active, Condition("Progressing", Verdict.FALSE, "WorkloadErrored", text)
    return active, Condition("Progressing", Verdict.TRUE, "Switching", text)


def _conditions(serving: Backend | None, progress: Condition) -> list[Condition]:
    """Stalled and Reconciling are there only while they are true, and Ready isn't while stopped: that is as wished (kstatus)."""
    found = [progress]
    if serving is None:
        ready = Condition("Ready", Verdict.FALSE, progress.reason, progress.message)
    elif serving.state is State.RUNNING:
        ready = Condition("Ready", Verdict.TRUE, "Serving", f'Workload "{serving.name}" serves')
    else:
        ready = Condition("Ready", Verdict.FALSE, "WorkloadNotReady", f'Workload "{serving.name}" is {serving.state}')
    if serving is None or serving.state is not State.STOPPED:
        found.append(ready)
    if progress.status is Verdict.FALSE:
        found.append(Condition("Stalled", Verdict.TRUE, progress.reason, progress.message))
    elif serving is not None and serving.state is State.ERRORED:
        found.append(Condition("Stalled", Verdict.TRUE, ready.reason, ready.message))
    elif progress.reason == "Switching":
        found.append(Condition("Reconciling", Verdict.TRUE, progress.reason, progress.message))
    return found
