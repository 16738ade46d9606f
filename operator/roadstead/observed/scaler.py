"""What the autoscaler says of itself."""

from __future__ import annotations

from dataclasses import dataclass

from roadstead.observed.conditions import Condition, Verdict
from roadstead.observed.views import Body, ChildView, child_view
from roadstead.observed.views import Condition as Seen


@dataclass(frozen=True, slots=True)
class ScalerView:
    """The scaler of a Workload: its kind, and its own word on whether it can scale (None: it has not said yet)."""

    kind: str
    active: Seen | None


@dataclass(frozen=True, slots=True)
class HpaView(ChildView):
    """A HorizontalPodAutoscaler of ours; ``active`` is its ScalingActive condition."""

    active: Seen | None


def hpa_view(body: Body, ours: str, foreign: tuple[str, ...]) -> HpaView:
    """An autoscaling/v2 HPA."""
    common = child_view(body, ours, foreign)
    conditions = (body.get("status") or {}).get("conditions") or ()
    active = next((Seen(c["status"], c.get("reason", ""), c.get("message", "")) for c in conditions if c["type"] == "ScalingActive"), None)
    return HpaView(common.uid, common.owner_uid, common.digest, common.ours, common.foreign, active)


def autoscaler_condition(scaler: ScalerView | None, *, settled: bool) -> Condition | None:
    """AutoscalerReady; absent where no autoscaler is wanted.

    Until pods have run for a while (``settled``) an HPA can't have metrics, and says so as if it were a fault: a normal start must
    not read like a failure.
    """
    if scaler is None:
        return None
    if scaler.active is None or (scaler.active.status != "True" and not settled):
        return Condition("AutoscalerReady", Verdict.UNKNOWN, "Starting", f"The {scaler.kind} has not read its metrics yet")
    if scaler.active.status == "True":
        return Condition("AutoscalerReady", Verdict.TRUE, "Active", "")
    return Condition("AutoscalerReady", Verdict.FALSE, scaler.active.reason or "Inactive", scaler.active.message)
