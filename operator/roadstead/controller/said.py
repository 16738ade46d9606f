"""Events about our objects: one for each transition that a person would want to read later; and each in the log."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from roadstead.api.conditions import State
from roadstead.api.workload import Workload
from roadstead.controller.contention import CHILD_DELETED, FIELD_CONFLICT
from roadstead.kube.events import EventType, ObjectRef, Recorder
from roadstead.names import API_VERSION
from roadstead.observed import Outcome

log = logging.getLogger(__name__)
PASSING = (State.SUBMITTED, State.INITIALIZING)
"""States on the way up: not worth an Event as long as nothing is in the way."""
ORDINARY = frozenset({"Submitted", "Initializing", "NotReady", "ScaledToZero"})
"""Reasons of Ready=False that every start goes through."""
ASLEEP = "ScaledToZero"
QUARRELS = frozenset({FIELD_CONFLICT, CHILD_DELETED})
"""Reasons of UpToDate=False that tell of another writer."""


class Announcer:
    """Turns a change of a Workload's status into at most one Event about its state, and one about a quarrel over its children.

    Every change of the state is a line of the log besides: no message, which may quote what a container said.
    """

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    async def workload(self, workload: Workload, previous: Mapping[str, Any], outcome: Outcome) -> None:
        """Say that the state changed, that something is in the way or something else is, or that a running one is rid of it.

        And that somebody undoes our writes, or does so no more: the state needn't show that.
        """
        metadata = workload.metadata
        if previous.get("state") != outcome.state:
            why = _trouble(outcome.status) or _reason(outcome.status) or str(outcome.state).capitalize()
            name = (metadata.namespace, metadata.name)
            log.info("Workload %s/%s goes from %s to %s: %s", *name, previous.get("state") or "none", outcome.state, why)
        regarding = ObjectRef(API_VERSION, "Workload", metadata.namespace or "", metadata.name, metadata.uid or "")
        await self._state(regarding, previous, outcome)
        await self._quarrel(regarding, previous, outcome)

    async def _state(self, regarding: ObjectRef, previous: Mapping[str, Any], outcome: Outcome) -> None:
        state, trouble, former = outcome.state, _trouble(outcome.status), _trouble(previous)
        arrived = previous.get("state") != state and state not in PASSING
        recovered = state is State.RUNNING and former is not None and trouble is None
        if not arrived and not recovered and trouble in (None, former):
            return
        if trouble is None and former is None and ASLEEP == _reason(previous) == _reason(outcome.status):
            return  # at zero before and after: the gateway or KEDA came back, which is one story and not each Workload's
        reason = trouble or (str(state).capitalize() if arrived else "Recovered")
        kind: EventType = "Normal" if trouble is None else "Warning"
        await self._recorder.emit(regarding, type=kind, reason=reason, note=outcome.message, action="Reconcile")

    async def _quarrel(self, regarding: ObjectRef, previous: Mapping[str, Any], outcome: Outcome) -> None:
        now, before = _conditions(outcome.status).get("UpToDate"), _conditions(previous).get("UpToDate")
        if now is None or before is None or now["reason"] == before["reason"] or not QUARRELS & {now["reason"], before["reason"]}:
            return
        kind: EventType = "Warning" if now["reason"] in QUARRELS else "Normal"
        await self._recorder.emit(regarding, type=kind, reason=now["reason"], note=now["message"], action="Reconcile")


def _conditions(status: Mapping[str, Any]) -> dict[str, Any]:
    return {entry["type"]: entry for entry in status.get("conditions") or ()}


def _reason(status: Mapping[str, Any]) -> str | None:
    reason: str | None = _conditions(status).get("Ready", {}).get("reason")
    return reason


def _trouble(status: Mapping[str, Any]) -> str | None:
    """What is in the way, in a word: for good (Stalled), or for the time being, so that no pod is ready yet."""
    conditions = _conditions(status)
    if "Stalled" in conditions:
        return str(conditions["Stalled"]["reason"])
    if status.get("state") not in PASSING:
        return None
    reason = _reason(status)
    return None if reason in ORDINARY else reason
