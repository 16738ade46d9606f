"""The verdict: from what is there to the status, with ``state``, ``message`` and conditions (design section 5, docs/status.md)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from roadstead.api.conditions import State
from roadstead.api.identity import object_id
from roadstead.names import WORKLOAD_LABEL
from roadstead.observed.conditions import render, timestamp
from roadstead.observed.containers import PULL_PATIENCE_SECONDS, fails_to_pull
from roadstead.observed.details import artifact_in_use, log_tail, replicas_detail, scaler_in_use
from roadstead.observed.facts import Observed, find_facts
from roadstead.observed.hearing import Doubt, find_doubt, kill_doubt
from roadstead.observed.message import message_of
from roadstead.observed.scaler import autoscaler_condition
from roadstead.observed.summary import summary
from roadstead.observed.views import PodView
from roadstead.observed.workload_conditions import conditions

NODE_LAG_SECONDS: Final = 3.0
"""A pod whose containers are all ready and which isn't: its node is lost, and the mirror of nodes shows that any moment."""
METRICS_SECONDS: Final = 60.0
"""How long after the first ready pod an autoscaler may be without metrics."""


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


def observe(observed: Observed, previous: Mapping[str, Any], now: datetime) -> Outcome:
    """The verdict. ``previous`` is the status last written: times of conditions, ``runningSince`` and the like live on from it."""
    failing = _pull_failing_since(observed.pods, previous, now)
    facts = find_facts(observed, previous, failing, now)
    since = (previous.get("runningSince") or timestamp(now)) if facts.state is State.RUNNING else None
    settles = METRICS_SECONDS - (now - _ready_since(previous, now)).total_seconds() if facts.ready else None
    settled = settles is not None and settles <= 0
    scaler = autoscaler_condition(observed.scaler, settled=settled, asleep=facts.at_zero)
    message = message_of(observed, facts, scaler)
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
        "artifact": artifact_in_use(observed) or previous.get("artifact"),
        "scaler": scaler_in_use(observed, previous, now),
        "applied": {str(kind): hash_ for kind, hash_ in sorted(observed.applied.items())} or None,
        "proven": facts.proven,
        "lastWake": facts.wake,
        "inPlaceRevision": facts.in_place,
        "pullFailingSince": timestamp(failing) if failing is not None else None,
        "replicasDetail": replicas_detail(observed),
        "logTail": log_tail(facts, previous),
        "conditions": render(conditions(observed, facts, message, previous, scaler), previous.get("conditions") or (), generation, now),
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
