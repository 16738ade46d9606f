"""Events about our objects: one for each transition that a person would want to read later."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from roadstead.api.conditions import State
from roadstead.api.workload import Workload
from roadstead.kube.events import EventType, ObjectRef, Recorder
from roadstead.names import API_VERSION
from roadstead.observed import Outcome


class Announcer:
    """Turns a change of a Workload's status into at most one Event."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    async def workload(self, workload: Workload, previous: Mapping[str, Any], outcome: Outcome) -> None:
        """Say that the state changed, or that the cause of a lasting trouble did. Passing states on the way up are not worth one."""
        before, state = previous.get("state"), outcome.state
        trouble = _stalled(outcome.status) != _stalled(previous) and _stalled(outcome.status) is not None
        if not trouble and (before == state or state in (State.SUBMITTED, State.INITIALIZING)):
            return
        metadata = workload.metadata
        regarding = ObjectRef(API_VERSION, "Workload", metadata.namespace or "", metadata.name, metadata.uid or "")
        reason = _stalled(outcome.status) or str(state).capitalize()
        kind: EventType = "Warning" if trouble or state is State.ERRORED else "Normal"
        await self._recorder.emit(regarding, type=kind, reason=reason, note=outcome.message, action="Reconcile")


def _stalled(status: Mapping[str, Any]) -> str | None:
    return next((entry["reason"] for entry in status.get("conditions") or () if entry["type"] == "Stalled"), None)
