"""Scaled to zero: whether it is sure to wake, and how its last wake ended.

``status.lastWake`` remembers a wake from its beginning, when the count leaves zero although the minimum is zero: it goes with the first
ready pod, and if the count is back at zero before there was one, it says so, until a later wake succeeds. It is about one version: another
one has to show anew that it runs, and what befell the last says nothing of it. Whatever happens to the operator meanwhile, the status knows
what it had come to. A pod that was ready and is gone at the next look is remembered by the operator that heard of it, while it leads; one
that nobody heard of (no operator led, or its watch had broken, for as long as the pod was ready), or that was heard of before the count
that it came from, leaves no trace, and its wake counts as failed: the next request tries again. Ready is ready: a pod that crashes right
after it ends a wake all the same, and what is wrong with it is then told of the pod.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from roadstead.observed.conditions import timestamp
from roadstead.observed.scaler import ScalerView

ASLEEP: Final = "Scaled to zero; its first request wakes it"
GOING: Final = "Scaled to zero, and nothing would wake it: "
CAUSE_LIMIT: Final = 1024
"""As long as the schema lets ``lastWake.message`` be."""


def last_wake(
    previous: Mapping[str, Any],
    *,
    scaler: ScalerView | None,
    template: str | None,
    replicas: int | None,
    ready: bool,
    asleep: bool,
    now: datetime,
) -> dict[str, Any] | None:
    """``status.lastWake``.

    ``template`` is what the user declares for the pods, None while that is refused; ``replicas`` the count that an autoscaler set, None
    where none does; ``ready``: a pod is ready, or was since the last verdict in this wake; ``asleep``: the count is zero, and no pod is
    left but those that go.
    """
    before: dict[str, Any] | None = previous.get("lastWake")
    if replicas is None or ready:  # stopped, of a fixed count, or awake
        return None
    if template is None:
        return before
    if not is_proven(previous.get("proven"), template):
        return None
    ended = before is None or "succeeded" in before
    if asleep:
        return before if ended else {"at": timestamp(now), "succeeded": False, "message": _cause(previous)}
    left_zero = replicas > 0 and (previous.get("scaler") or {}).get("replicas") == 0
    if ended and left_zero and scaler is not None and scaler.minimum == 0:
        return {"at": timestamp(now)}
    return before


def failure(wake: Mapping[str, Any] | None) -> str | None:
    """Why the last wake failed; None if it didn't."""
    return str(wake.get("message") or "") if wake is not None and wake.get("succeeded") is False else None


def is_proven(proven: Mapping[str, str] | None, template: str | None) -> bool:
    """Whether that user template has been ready once."""
    return proven is not None and template is not None and proven.get("template") == template


def doubt(scaler: ScalerView | None, *, proven: bool, serving: bool) -> str | None:
    """Why it isn't sure that a request would wake it, in a sentence; None if it is. What explains the others comes first."""
    if scaler is None or scaler.missing:
        return "it has no scaler; install KEDA"
    if not proven:
        return "this version has never been ready"
    if not serving:
        return "the gateway isn't serving; check the pods of its Deployment"
    if scaler.ready:
        return None
    said = scaler.active.message if scaler.active is not None else ""
    return said or "KEDA has not taken up its ScaledObject yet"


def _cause(previous: Mapping[str, Any]) -> str:
    said = str(previous.get("message") or "")
    if previous.get("state") != "errored" or not said:
        said = f"No pod became ready before it went back to zero{f' ({said})' if said else ''}"
    return said if len(said) <= CAUSE_LIMIT else said[: CAUSE_LIMIT - 1] + "…"
