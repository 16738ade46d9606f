"""The state machine: from what is there to ``state``, ``message`` and conditions (design section 5, docs/status.md)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from roadstead.api.artifact import Artifact
from roadstead.api.conditions import State
from roadstead.api.identity import object_id
from roadstead.api.workload import Workload
from roadstead.errors import Reason, Refusal
from roadstead.names import VERSION_ANNOTATION, WORKLOAD_LABEL
from roadstead.observed.cause import Cause, Scene
from roadstead.observed.causes import find_cause, find_kill, stalled_before
from roadstead.observed.conditions import Condition, Verdict, render, timestamp
from roadstead.observed.containers import PULL_PATIENCE_SECONDS, fails_to_pull
from roadstead.observed.hearing import Doubt, Heard, Kill, find_doubt, kill_doubt
from roadstead.observed.replica_count import explained
from roadstead.observed.rollout import StuckSurge, stuck_surge
from roadstead.observed.scaler import ScalerView, autoscaler_condition
from roadstead.observed.summary import summary
from roadstead.observed.views import DeploymentView, PodView
from roadstead.observed.wake import ASLEEP, GOING, doubt, failure, is_proven, last_wake
from roadstead.observed.wording import kept, short, steady

REPLICA_DETAILS = 10
FEW_RESTARTS = 5
ARTIFACT_REASONS = frozenset({Reason.ARTIFACT_MISSING, Reason.ARTIFACT_DELETED, Reason.ARTIFACT_INVALID, Reason.DRAFT_IN_USE})
MESSAGE_LIMIT = 1024
NODE_LAG_SECONDS = 3.0
"""A pod whose containers are all ready and which isn't: its node is lost, and the mirror of nodes shows that any moment."""
METRICS_SECONDS = 60.0
"""How long after the first ready pod an autoscaler may be without metrics."""


@dataclass(frozen=True, slots=True)
class Observed:
    """What one verdict follows from.

    ``wanted`` is the replica count that the operator sets, None while an autoscaler does. ``pending`` says in a sentence what a
    platform or operator change would alter in the pods, once something restarts them; ``conflict`` who keeps undoing our writes, as the
    condition UpToDate; ``gpu_missing`` what GPUs no node offers. ``endpoint`` is the public URL, ``gateway_serving`` says whether anybody
    answers there. ``applied`` are the hashes of our own field sets right after our applies,
    to be remembered in the status. ``refusal`` is what the user must change; ``lost_nodes``, ``heard`` and ``kills`` are those of a Scene.
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
class Outcome:
    """The status to be written, and the state in it (for events and metrics).

    ``doubt`` is what only Events could tell. With ``at_zero`` the verdict depends on whether the gateway serves.
    """

    status: dict[str, Any]
    state: State
    message: str
    look_again_seconds: float | None = None
    doubt: Doubt | None = None
    at_zero: bool = False


@dataclass(frozen=True, slots=True)
class _Facts:
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


def _log_tail(facts: _Facts, previous: Mapping[str, Any]) -> list[str] | None:
    """Of what failed; kept when it is stopped then, since clients stop first and read afterwards."""
    if facts.state is State.ERRORED and facts.cause:
        return list(facts.cause.log_tail) or (previous.get("logTail") if facts.at_zero else None)
    return previous.get("logTail") if facts.state in (State.STOPPING, State.STOPPED) else None


def observe(observed: Observed, previous: Mapping[str, Any], now: datetime) -> Outcome:
    """The verdict. ``previous`` is the status last written: times of conditions, ``runningSince`` and the like live on from it."""
    failing = _pull_failing_since(observed.pods, previous, now)
    facts = _facts(observed, previous, failing, now)
    since = (previous.get("runningSince") or timestamp(now)) if facts.state is State.RUNNING else None
    settles = METRICS_SECONDS - (now - _ready_since(previous, now)).total_seconds() if facts.ready else None
    settled = settles is not None and settles <= 0
    scaler = autoscaler_condition(observed.scaler, settled=settled, asleep=facts.at_zero)
    message = _message(observed, facts, scaler)
    workload = observed.workload
    generation = workload.metadata.generation or 0
    deployment = observed.deployment
    status: dict[str, Any] = {
        "observedGeneration": generation,
        "id": object_id("workloads", workload.metadata.namespace or "", workload.metadata.name),
        "state": str(facts.state),
        "message": message,
        "summary": summary(message),
        "replicas": deployment.replicas if deployment else 0,
        "readyReplicas": facts.ready,
        "updatedReplicas": deployment.updated if deployment and deployment.current else 0,
        "selector": f"{WORKLOAD_LABEL}={workload.metadata.name}",
        "endpoint": observed.endpoint,
        "internalUrl": observed.internal_url,
        "runningSince": since,
        "artifact": _artifact(observed) or previous.get("artifact"),
        "scaler": _scaler(observed, previous, now),
        "applied": {str(kind): hash_ for kind, hash_ in sorted(observed.applied.items())} or None,
        "proven": facts.proven,
        "lastWake": facts.wake,
        "inPlaceRevision": facts.in_place,
        "pullFailingSince": timestamp(failing) if failing is not None else None,
        "replicasDetail": [_detail(pod) for pod in sorted(_left(observed), key=lambda pod: pod.name)[:REPLICA_DETAILS]] or None,
        "logTail": _log_tail(facts, previous),
        "conditions": render(_conditions(observed, facts, message, previous, scaler), previous.get("conditions") or (), generation, now),
    }
    waits = (
        *_patience(observed, failing, now),
        settles if observed.scaler is not None and not settled else None,
        facts.stuck.left_seconds if facts.stuck is not None and not facts.in_place else None,
        0.0 if facts.in_place not in (None, previous.get("inPlaceRevision")) else None,
    )
    again = min((seconds for seconds in waits if seconds is not None), default=None)
    written = {name: value for name, value in status.items() if value is not None}
    doubt = kill_doubt(observed.pods, observed.kills, now)
    if doubt is None and not facts.rolled_out:
        doubt = find_doubt(observed.pods, observed.heard, now)
    return Outcome(written, facts.state, message, again, doubt, facts.at_zero)


def _ready_since(previous: Mapping[str, Any], now: datetime) -> datetime:
    """Since when pods have been ready, as the condition Available remembers it: at zero a Workload is running without any."""
    found = next((entry for entry in previous.get("conditions") or () if entry["type"] == "Available"), None)
    return datetime.fromisoformat(found["lastTransitionTime"]) if found is not None and found["status"] == "True" else now


def _pull_failing_since(pods: tuple[PodView, ...], previous: Mapping[str, Any], now: datetime) -> datetime | None:
    """Since when the newest pod whose image can't be pulled has been failing to; None if all can be.

    The kubelet counts no tries, so the status itself remembers. A pod made after that time belongs to another attempt; and since the API
    server's clock may be ahead of ours, no pod fails before it was made.
    """
    made = max((pod.created for pod in pods if fails_to_pull(pod)), default=None)
    if made is None:
        return None
    before: str | None = previous.get("pullFailingSince")
    return datetime.fromisoformat(before if before is not None and made <= before else max(made, timestamp(now)))


def _patience(observed: Observed, failing: datetime | None, now: datetime) -> Iterator[float]:
    """When something turns out lasting, or shows in a mirror that lags, although nothing more happens."""
    if failing is not None and (left := PULL_PATIENCE_SECONDS - (now - failing).total_seconds()) > 0:
        yield left
    if any(pod.alive and not pod.ready and pod.containers and all(c.ready for c in pod.containers) for pod in observed.pods):
        yield NODE_LAG_SECONDS


def _facts(observed: Observed, previous: Mapping[str, Any], failing: datetime | None, now: datetime) -> _Facts:
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
        ready=ready > 0,
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
    return _Facts(ready, rolled_out, cause, state, stuck, in_place, at_zero, wake, proven, sleepless)


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
        return State.STOPPING if _left(observed) else State.STOPPED
    if ready:
        return State.RUNNING
    if observed.refusal is not None or (cause is not None and cause.lasting):
        return State.ERRORED
    if asleep:
        return State.RUNNING
    return State.INITIALIZING if any(pod.node for pod in alive) else State.SUBMITTED


def _left(observed: Observed) -> list[PodView]:
    return [pod for pod in observed.pods if not pod.finished]


def _message(observed: Observed, facts: _Facts, scaler: Condition | None) -> str:
    match facts.state:
        case State.STOPPING:
            text = f"{len(_left(observed))} pods are terminating"
        case State.STOPPED if observed.workload.spec.deleted:
            until = f" until {observed.restorable_until}" if observed.restorable_until else ""
            text = f"Deleted; it can be restored{until} by setting spec.deleted to false"
        case State.STOPPED:
            text = "Stopped; set spec.suspend to false to start it"
        case State.RUNNING:
            text = _running_message(observed, facts, scaler)
        case _ if observed.refusal is not None:
            text = observed.refusal.message
        case _ if facts.cause is not None:
            text = facts.cause.message
        case _ if observed.deployment is None and observed.conflict is not None:
            text = observed.conflict.message
        case _ if facts.at_zero:
            text = f"{GOING}{facts.sleepless}"
        case State.INITIALIZING:
            text = "Containers are being pulled and started"
        case _:
            text = "Waiting for the scheduler to place the pods"
    return text if len(text) <= MESSAGE_LIMIT else text[: MESSAGE_LIMIT - 1] + "…"


def _running_message(observed: Observed, facts: _Facts, scaler: Condition | None) -> str:
    if facts.at_zero and not facts.ready:
        return ASLEEP
    deployment = observed.deployment
    total = deployment.spec_replicas if deployment else facts.ready
    text = f"{facts.ready} of {total} replicas ready"
    if observed.refusal is not None:
        return f"{text}; the latest change is not in force: {observed.refusal.message}"
    if facts.in_place and not facts.rolled_out:
        return f"{text}; no room for one pod more, so this version replaces pods in place"
    if facts.cause is not None:
        return f"{text}; {facts.cause.message}"
    if observed.conflict is not None:
        return f"{text}; {observed.conflict.message}"
    return f"{text}; {scaler.message}" if scaler is not None and scaler.status is Verdict.FALSE and scaler.message else text


def _conditions(observed: Observed, facts: _Facts, message: str, previous: Mapping[str, Any], scaler: Condition | None) -> list[Condition]:
    running = facts.state is State.RUNNING
    reason = _reason(observed, facts)
    ready = Condition("Ready", Verdict.TRUE if running else Verdict.FALSE, reason, message)
    found = [
        *(() if facts.state is State.STOPPED else (ready,)),  # as wished, though nothing is ready: kstatus takes False for not there yet
        Condition("Available", Verdict.TRUE if facts.ready else Verdict.FALSE, "PodsReady" if facts.ready else "NoPodReady", message),
        _progressing(observed, facts),
        _artifact_resolved(observed),
        _up_to_date(observed),
        *_abnormal(observed, facts, reason, message),
    ]
    if scaler is not None:
        found.append(scaler)
    if (scheduled := _scheduled(observed, previous)) is not None:
        found.append(scheduled)
    return found


def _reason(observed: Observed, facts: _Facts) -> str:
    if facts.state is not State.RUNNING and facts.state not in (State.STOPPING, State.STOPPED):
        if observed.refusal is not None:
            return str(observed.refusal.reason)
        if facts.cause is not None:
            return facts.cause.reason
        if observed.deployment is None and observed.conflict is not None:
            return observed.conflict.reason
    if facts.at_zero and facts.state not in (State.STOPPING, State.STOPPED):
        return "ScaledToZero"
    return str(facts.state).capitalize()


def _progressing(observed: Observed, facts: _Facts) -> Condition:
    if observed.refusal is not None:
        return Condition("Progressing", Verdict.FALSE, str(observed.refusal.reason), observed.refusal.message)
    if facts.state in (State.STOPPING, State.STOPPED):
        return Condition("Progressing", Verdict.TRUE, str(facts.state).capitalize(), "No pods are wanted")
    if facts.at_zero:
        return Condition("Progressing", Verdict.TRUE, "ScaledToZero", "No pods are wanted at the moment")
    if observed.deployment is None and observed.conflict is not None:
        return Condition("Progressing", Verdict.TRUE, observed.conflict.reason, observed.conflict.message)
    if facts.rolled_out:
        return Condition("Progressing", Verdict.TRUE, "RolledOut", "The present version is rolled out")
    if facts.cause is not None and facts.cause.lasting:
        return Condition("Progressing", Verdict.FALSE, facts.cause.reason, facts.cause.message)
    if facts.in_place:
        why = facts.stuck.why if facts.stuck is not None else "an earlier look found no room for a surge pod"
        return Condition("Progressing", Verdict.TRUE, "ReplacingInPlace", f"Pods are replaced one by one without a surge: {why}")
    return Condition("Progressing", Verdict.TRUE, "RollingOut", facts.cause.message if facts.cause else "Pods are being brought up")


def _up_to_date(observed: Observed) -> Condition:
    if observed.conflict is not None:
        return observed.conflict
    if observed.pending:
        return Condition("UpToDate", Verdict.FALSE, "ChangePending", observed.pending)
    return Condition("UpToDate", Verdict.TRUE, "UpToDate", "The pods are what Workload, Artifact and Platform ask for")


def _artifact_resolved(observed: Observed) -> Condition:
    refusal = observed.refusal
    if refusal is not None and refusal.reason in ARTIFACT_REASONS:
        return Condition("ArtifactResolved", Verdict.FALSE, str(refusal.reason), refusal.message)
    return Condition("ArtifactResolved", Verdict.TRUE, "Resolved", "The Artifact is there and may be used")


def _abnormal(observed: Observed, facts: _Facts, reason: str, message: str) -> list[Condition]:
    """Reconciling and Stalled are there only while they are true (kstatus)."""
    if facts.state is State.STOPPED:
        return []
    if facts.state is State.STOPPING:  # whatever is wrong with the pods, they go
        return [Condition("Reconciling", Verdict.TRUE, reason, message)]
    if observed.refusal is not None:
        return [Condition("Stalled", Verdict.TRUE, str(observed.refusal.reason), observed.refusal.message)]
    if facts.cause is not None and facts.cause.lasting:
        return [Condition("Stalled", Verdict.TRUE, facts.cause.reason, facts.cause.message)]
    if (
        not facts.at_zero
        and not facts.rolled_out
        and (observed.wanted is not None or facts.state is not State.RUNNING or _version_moves(observed))
    ):
        return [Condition("Reconciling", Verdict.TRUE, reason, message)]
    return []


def _version_moves(observed: Observed) -> bool:
    """Whether pods of another version are still about; an autoscaler's step alone is no reconciliation."""
    deployment = observed.deployment
    return deployment is None or not deployment.current or deployment.updated < deployment.replicas


def _scheduled(observed: Observed, previous: Mapping[str, Any]) -> Condition | None:
    alive = [pod for pod in observed.pods if pod.alive]
    if not alive:
        return None
    homeless = next((pod for pod in alive if pod.node is None), None)
    if homeless is None:
        return Condition("Scheduled", Verdict.TRUE, "Scheduled", "All pods have a node")
    if homeless.unschedulable:
        words = steady(short(homeless.unschedulable), previous, "Scheduled")
        return Condition("Scheduled", Verdict.FALSE, "Unschedulable", words)
    return Condition("Scheduled", Verdict.FALSE, "Pending", "Waiting for the scheduler to place the pods")


def _proven(observed: Observed, previous: Mapping[str, Any], now: datetime, *, rolled_out: bool) -> dict[str, str] | None:
    """The user template that was once ready, and since when; it belongs to the template, so no platform change takes it away."""
    before: dict[str, str] | None = previous.get("proven")
    deployment, template = observed.deployment, observed.user_template
    if template is None or (before is not None and before.get("template") == template):
        return before
    if rolled_out and deployment is not None and deployment.user_template == template:
        return {"template": template, "since": timestamp(now)}
    return before


def _scaler(observed: Observed, previous: Mapping[str, Any], now: datetime) -> dict[str, Any] | None:
    """Why there are as many replicas; nothing new where a refusal leaves them as they are."""
    spec, scaler, before = observed.workload.spec, observed.scaler, previous.get("scaler")
    if observed.refusal is not None and not (spec.suspend or spec.deleted):
        return before
    fixed = observed.wanted is not None
    return explained(
        observed.workload,
        kind=scaler.kind if scaler is not None else None,
        count=observed.wanted if fixed or observed.deployment is None else observed.deployment.spec_replicas,
        fixed=fixed,
        missing=scaler is not None and scaler.missing,
        minimum=scaler.minimum if scaler is not None else 1,
        step=scaler.step if scaler is not None else None,
        before=before,
        now=now,
    )


def _artifact(observed: Observed) -> dict[str, Any] | None:
    artifact = observed.artifact
    if artifact is None:
        return None
    version = artifact.metadata.annotations.get(VERSION_ANNOTATION, "")
    found = {"name": artifact.metadata.name, "version": int(version) if version.isdecimal() else None, "digest": observed.artifact_digest}
    return {name: value for name, value in found.items() if value is not None}


def _coarse(restarts: int) -> int:
    """Exact up to five, then down to 5, 10, 20, 50, 100 …: a crash loop shall not write at each round."""
    step = 1
    while restarts >= 10 * step:
        step *= 10
    return restarts if restarts <= FEW_RESTARTS else max(n * step for n in (1, 2, 5) if n * step <= restarts)


def _detail(pod: PodView) -> dict[str, Any]:
    state = "terminating" if pod.terminating else "ready" if pod.ready else "initializing" if pod.node else "pending"
    found = {"name": pod.name, "state": state, "node": pod.node, "restarts": _coarse(sum(c.restarts for c in pod.containers))}
    return {name: value for name, value in found.items() if value is not None}
