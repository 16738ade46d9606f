"""The parts of a status that say more than the state: pods, the log of what failed, why there are as many replicas, which Artifact."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from roadstead.api.conditions import State
from roadstead.names import VERSION_ANNOTATION
from roadstead.observed.facts import Facts, Observed, left
from roadstead.observed.replica_count import explained
from roadstead.observed.views import PodView

REPLICA_DETAILS: Final = 10
FEW_RESTARTS: Final = 5


def replicas_detail(observed: Observed) -> list[dict[str, Any]] | None:
    """The first pods, by name."""
    return [_detail(pod) for pod in sorted(left(observed), key=lambda pod: pod.name)[:REPLICA_DETAILS]] or None


def log_tail(facts: Facts, previous: Mapping[str, Any]) -> list[str] | None:
    """Of what failed; kept when it is stopped then, since clients stop first and read afterwards."""
    if facts.state is State.ERRORED and facts.cause:
        return list(facts.cause.log_tail) or (previous.get("logTail") if facts.at_zero else None)
    return previous.get("logTail") if facts.state in (State.STOPPING, State.STOPPED) else None


def scaler_in_use(observed: Observed, previous: Mapping[str, Any], now: datetime) -> dict[str, Any] | None:
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


def artifact_in_use(observed: Observed) -> dict[str, Any] | None:
    """Name, version and digest; None while it is missing."""
    artifact = observed.artifact
    if artifact is None:
        return None
    version = artifact.metadata.annotations.get(VERSION_ANNOTATION, "")
    found = {"name": artifact.metadata.name, "version": int(version) if version.isdecimal() else None, "digest": observed.artifact_digest}
    return {name: value for name, value in found.items() if value is not None}


def _detail(pod: PodView) -> dict[str, Any]:
    state = "terminating" if pod.terminating else "ready" if pod.ready else "initializing" if pod.node else "pending"
    found = {"name": pod.name, "state": state, "node": pod.node, "restarts": _coarse(sum(c.restarts for c in pod.containers))}
    return {name: value for name, value in found.items() if value is not None}


def _coarse(restarts: int) -> int:
    """Exact up to five, then down to 5, 10, 20, 50, 100 …: a crash loop shall not write at each round."""
    step = 1
    while restarts >= 10 * step:
        step *= 10
    return restarts if restarts <= FEW_RESTARTS else max(n * step for n in (1, 2, 5) if n * step <= restarts)
