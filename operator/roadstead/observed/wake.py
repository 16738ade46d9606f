"""Scaled to zero: whether it is sure to wake, and how its last wake ended.

``status.lastWake`` remembers a wake from its beginning, when the count leaves zero: it goes with the first ready pod, and if the count is
back at zero before there was one, it says so, until a later wake succeeds. Whatever happens to the operator meanwhile, the status knows.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from roadstead.observed.conditions import timestamp
from roadstead.observed.scaler import ScalerView

ASLEEP: Final = "Scaled to zero; its first request wakes it"
GOING: Final = "Scaled to zero, and nothing would wake it: "


def last_wake(
    previous: Mapping[str, Any], *, scaled: bool, replicas: int, ready: bool, asleep: bool, now: datetime
) -> dict[str, Any] | None:
    """``status.lastWake``. ``scaled``: an autoscaler sets the count; ``asleep``: it is zero and no pod is left but those that go."""
    before: dict[str, Any] | None = previous.get("lastWake")
    if not scaled or ready:  # stopped, of a fixed count, or awake: nothing to remember
        return None
    if asleep:
        if before is None or "succeeded" in before:
            return before
        return {"at": timestamp(now), "succeeded": False, "message": _cause(previous)}
    if replicas > 0 and (previous.get("scaler") or {}).get("replicas") == 0 and (before is None or "succeeded" in before):
        return {"at": timestamp(now)}
    return before


def failure(wake: Mapping[str, Any] | None) -> str | None:
    """Why the last wake failed; None if it didn't."""
    return str(wake.get("message") or "") if wake is not None and wake.get("succeeded") is False else None


def doubt(scaler: ScalerView | None, *, proven: bool, serving: bool) -> str | None:
    """Why it isn't sure that a request would wake it, in a sentence; None if it is."""
    if scaler is None or scaler.missing:
        return "it has no scaler; install KEDA"
    if not scaler.ready:
        return (
            scaler.active.message if scaler.active is not None and scaler.active.message else "KEDA has not taken up its ScaledObject yet"
        )
    if not proven:
        return "this version has never been ready"
    if not serving:
        return "the gateway isn't serving; check the pods of its Deployment"
    return None


def _cause(previous: Mapping[str, Any]) -> str:
    said = str(previous.get("message") or "")
    if previous.get("state") == "errored" and said:
        return said
    return f"No pod became ready before it went back to zero{f' ({said})' if said else ''}"
