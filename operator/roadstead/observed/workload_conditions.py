"""The conditions of a Workload: the separate truths behind its state (docs/status.md)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from roadstead.api.conditions import State
from roadstead.errors import Reason
from roadstead.observed.conditions import Condition, Verdict
from roadstead.observed.facts import Facts, Observed
from roadstead.observed.wording import short, steady

ARTIFACT_REASONS: Final = frozenset({Reason.ARTIFACT_MISSING, Reason.ARTIFACT_DELETED, Reason.ARTIFACT_INVALID, Reason.DRAFT_IN_USE})


def conditions(observed: Observed, facts: Facts, message: str, previous: Mapping[str, Any], scaler: Condition | None) -> list[Condition]:
    """All of them. ``scaler`` is AutoscalerReady, which is found elsewhere."""
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


def _reason(observed: Observed, facts: Facts) -> str:
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


def _progressing(observed: Observed, facts: Facts) -> Condition:
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


def _abnormal(observed: Observed, facts: Facts, reason: str, message: str) -> list[Condition]:
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
