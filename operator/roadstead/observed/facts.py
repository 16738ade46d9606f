"""What a verdict on a Workload follows from, and what several parts of it need: how many are ready, what is wrong, in which state it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from roadstead.api.artifact import Artifact
from roadstead.api.conditions import State
from roadstead.api.workload import Workload
from roadstead.errors import Refusal
from roadstead.observed.cause import Cause, Scene
from roadstead.observed.causes import find_cause, find_kill, stalled_before
from roadstead.observed.conditions import Condition, timestamp
from roadstead.observed.hearing import Heard, Kill
from roadstead.observed.rollout import StuckSurge, stuck_surge
from roadstead.observed.scaler import ScalerView
from roadstead.observed.views import DeploymentView, PodView
from roadstead.observed.wake import doubt, failure, is_proven, last_wake
from roadstead.observed.wording import kept


@dataclass(frozen=True, slots=True)
class Observed:
    """What one verdict follows from.

    ``wanted`` is the replica count that the operator sets, None while an autoscaler does. ``served``: a pod was ready since the last
    verdict or the beginning of this wake, whichever is later, whether it still is or not. ``pending`` says in a sentence what a platform or
    operator change would alter in the pods, once something restarts them; ``conflict`` who keeps undoing our writes, as the condition
    UpToDate; ``gpu_missing`` what GPUs no node offers. ``endpoint`` is the public URL, ``gateway_serving`` says whether anybody answers
    there. ``applied`` are the hashes of our own field sets right after our applies, to be remembered in the status. ``refusal`` is what the
    user must change; ``lost_nodes``, ``heard`` and ``kills`` are those of a Scene.
    """

    workload: Workload
    artifact: Artifact | None = None
    artifact_digest: str | None = None
    refusal: Refusal | None = None
    internal_url: str | None = None
    template: str | None = None
    user_template: str | None = None
    wanted: int | None = None
    scaler: ScalerView | None = None
    deployment: DeploymentView | None = None
    pods: tuple[PodView, ...] = ()
    served: bool = False
    pending: str | None = None
    conflict: Condition | None = None
    gpu_missing: str | None = None
    applied: Mapping[str, str] = field(default_factory=dict)
    restorable_until: str | None = None
    endpoint: str | None = None
    gateway_serving: bool = False
    lost_nodes: frozenset[str] = frozenset()
    heard: Mapping[str, tuple[Heard, ...]] = field(default_factory=dict)
    kills: Mapping[str, Kill] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Facts:
    """What several parts of the verdict need. ``in_place`` is the version that is rolled out by replacing pods in place."""

    ready: int
    rolled_out: bool
    cause: Cause | None
    state: State
    stuck: StuckSurge | None
    in_place: str | None
    at_zero: bool
    wake: dict[str, Any] | None
    proven: dict[str, str] | None
    sleepless: str | None
    """At zero: why it isn't sure that a request would wake it."""


def find_facts(observed: Observed, previous: Mapping[str, Any], failing: datetime | None, now: datetime) -> Facts:
    """The facts. ``failing``: since when an image can't be pulled."""
    alive = tuple(pod for pod in observed.pods if pod.alive)
    ready = sum(pod.ready for pod in alive)
    deployment = observed.deployment
    rolled_out = (
        deployment is not None
        and deployment.current
        and ready > 0
        and deployment.updated >= deployment.spec_replicas
        and deployment.replicas == deployment.updated
        and deployment.ready >= deployment.updated
    )
    scene = Scene(now, observed.lost_nodes, observed.heard, failing, stalled_before(previous), observed.kills)
    cause = find_kill(observed.pods, scene) if rolled_out else find_cause(deployment, observed.pods, scene)
    if cause is not None and cause.reason == "Unschedulable" and observed.gpu_missing is not None:
        cause = Cause("GpuUnavailable", observed.gpu_missing, cause.lasting, head=observed.gpu_missing)
    if cause is not None:
        cause = kept(cause, previous, observed.workload.metadata.generation or 0)
    stuck = None if rolled_out else stuck_surge(deployment, observed.pods, now)
    in_place = _in_place(observed, stuck, previous.get("inPlaceRevision"))
    count = deployment.spec_replicas if deployment is not None and observed.wanted is None else None
    at_zero = count == 0 and not alive
    wake = last_wake(
        previous,
        scaler=observed.scaler,
        template=observed.user_template,
        replicas=count,
        ready=ready > 0 or observed.served,
        asleep=at_zero,
        now=now,
    )
    if at_zero:  # no pod is wanted, so nothing is wrong with any, whatever conditions of the Deployment are left of them
        failed = failure(wake)
        cause = Cause("WakeFailed", failed, True) if failed is not None else None
    proven = _proven(observed, previous, now, rolled_out=rolled_out)
    sleepless = None
    if at_zero:
        sleepless = doubt(observed.scaler, proven=is_proven(proven, observed.user_template), serving=observed.gateway_serving)
    state = _state(observed, alive, ready, cause, asleep=at_zero and sleepless is None)
    return Facts(ready, rolled_out, cause, state, stuck, in_place, at_zero, wake, proven, sleepless)


def left(observed: Observed) -> list[PodView]:
    """The pods that aren't over, those that go included."""
    return [pod for pod in observed.pods if not pod.finished]


def _in_place(observed: Observed, stuck: StuckSurge | None, before: str | None) -> str | None:
    """The version to replace pods in place for: the one decided for, while it is desired or still being carried out.

    A change of Platform that waits behind it takes nothing away; where it too finds no room, the decision is made for it.
    """
    if stuck is not None and stuck.left_seconds == 0 and observed.template is not None:
        return observed.template
    carried_out = observed.deployment.template if observed.deployment is not None else None
    return before if before is not None and before in (observed.template, carried_out) else None


def _state(observed: Observed, alive: tuple[PodView, ...], ready: int, cause: Cause | None, *, asleep: bool) -> State:
    spec = observed.workload.spec
    if spec.suspend or spec.deleted:
        return State.STOPPING if left(observed) else State.STOPPED
    if ready:
        return State.RUNNING
    if observed.refusal is not None or (cause is not None and cause.lasting):
        return State.ERRORED
    if asleep:
        return State.RUNNING
    return State.INITIALIZING if any(pod.node for pod in alive) else State.SUBMITTED


def _proven(observed: Observed, previous: Mapping[str, Any], now: datetime, *, rolled_out: bool) -> dict[str, str] | None:
    """The user template that was once ready, and since when; it belongs to the template, so no platform change takes it away."""
    before: dict[str, str] | None = previous.get("proven")
    deployment, template = observed.deployment, observed.user_template
    if template is None or (before is not None and before.get("template") == template):
        return before
    if rolled_out and deployment is not None and deployment.user_template == template:
        return {"template": template, "since": timestamp(now)}
    return before
