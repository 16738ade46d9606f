"""``status.message``: what is going on, and what to do about it, in a sentence."""

from __future__ import annotations

from typing import Final

from roadstead.api.conditions import State
from roadstead.observed.conditions import Condition, Verdict
from roadstead.observed.facts import Facts, Observed, left
from roadstead.observed.wake import ASLEEP, GOING

MESSAGE_LIMIT: Final = 1024


def message_of(observed: Observed, facts: Facts, scaler: Condition | None) -> str:
    """The sentence, of at most MESSAGE_LIMIT characters. ``scaler`` is the condition AutoscalerReady."""
    match facts.state:
        case State.STOPPING:
            text = f"{len(left(observed))} pods are terminating"
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


def _running_message(observed: Observed, facts: Facts, scaler: Condition | None) -> str:
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
