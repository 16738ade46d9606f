"""What the autoscaler says of itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from roadstead.names import WORKLOAD_LABEL
from roadstead.observed.conditions import Condition, Verdict
from roadstead.observed.replica_count import HPA, Step, hpa_step
from roadstead.observed.views import Body, ChildView, child_view, conditions_of
from roadstead.observed.views import Condition as Seen

KEDA_MISSING = (
    "Scaling on HTTP requests needs KEDA, which this cluster doesn't have; until it is installed (https://keda.sh/docs/latest/deploy), "
    "the minimum of replicas runs, at least one"
)
NO_METRICS_API = "unable to fetch metrics from resource metrics API"
"""What an HPA says when the API of metrics isn't there or doesn't answer (pkg/controller/podautoscaler/metrics/client.go). Where the
API answers and has nothing on the pods yet, as after each start, it says "no metrics returned" or "did not receive metrics"."""


@dataclass(frozen=True, slots=True)
class ScalerView:
    """The scaler of a Workload: its kind, and its own word on whether it can scale (None: it has not said yet).

    With ``missing`` the cluster doesn't know its kind. ``early``: what it says against itself may only be a start's want of metrics.
    ``step`` is the last change of the count by its HPA, ``minimum`` how few replicas it may go to.
    """

    kind: str
    active: Seen | None
    missing: bool = False
    early: bool = True
    step: Step | None = None
    minimum: int = 1
    ready: bool = False
    """KEDA has taken the ScaledObject up and can ask for demand."""


@dataclass(frozen=True, slots=True)
class HpaView(ChildView):
    """A HorizontalPodAutoscaler of ours; ``active`` is its ScalingActive condition.

    ``of_keda`` is the Workload's name where KEDA made it for a ScaledObject of ours, whose labels it bears; None for our own.
    ``scaled_at`` tells of a new ``step``; views that differ in the rest of the step alone are equal, lest every reading of a metric
    replace the view of the step that it came after, and be somebody's business.
    """

    active: Seen | None
    of_keda: str | None
    scaled_at: str | None = None
    step: Step | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class ScaledObjectView(ChildView):
    """A ScaledObject of ours, by KEDA's conditions (keda apis/keda/v1alpha1/condition_types.go); absent until KEDA has seen it.

    ``hpa`` is HPAActive: whether the HPA behind it gets its metrics. ``minimum`` is the minReplicaCount that we wrote.
    """

    minimum: int
    ready: Seen | None
    active: Seen | None
    fallback: Seen | None
    paused: Seen | None
    hpa: Seen | None


def hpa_view(body: Body, ours: str, foreign: tuple[str, ...]) -> HpaView:
    """An autoscaling/v2 HPA. What KEDA's says of itself changes often, and KEDA tells it in the ScaledObject."""
    metadata = body["metadata"]
    common = child_view(body, ours, foreign)
    of_keda = next((ref for ref in metadata.get("ownerReferences") or () if ref.get("kind") == "ScaledObject"), None)
    step = hpa_step(body)
    return HpaView(
        common.uid,
        common.owner_uid,
        common.digest,
        common.ours,
        common.foreign,
        leaving=common.leaving,
        active=None if of_keda else conditions_of(body).get("ScalingActive"),
        of_keda=(metadata.get("labels") or {}).get(WORKLOAD_LABEL) if of_keda else None,
        scaled_at=step.at if step is not None else None,
        step=step,
    )


def scaled_object_view(body: Body, ours: str, foreign: tuple[str, ...]) -> ScaledObjectView:
    """A keda.sh/v1alpha1 ScaledObject."""
    common = child_view(body, ours, foreign)
    seen = conditions_of(body)
    return ScaledObjectView(
        common.uid,
        common.owner_uid,
        common.digest,
        common.ours,
        common.foreign,
        leaving=common.leaving,
        minimum=int((body.get("spec") or {}).get("minReplicaCount", 0)),
        ready=seen.get("Ready"),
        active=seen.get("Active"),
        fallback=seen.get("Fallback"),
        paused=seen.get("Paused"),
        hpa=seen.get("HPAActive"),
    )


def hpa_scaler(view: HpaView | None) -> ScalerView:
    """An HPA's word on itself."""
    return ScalerView(HPA, None) if view is None else ScalerView(HPA, view.active, step=view.step)


def scaled_object_scaler(view: ScaledObjectView | None, step: Step | None = None) -> ScalerView:
    """KEDA's word on a ScaledObject: first whether it can ask for demand at all, then whether the HPA behind it gets metrics.

    ``step`` is the last one of that HPA.
    """
    if view is None or view.ready is None:
        return ScalerView("ScaledObject", None, step=step)
    ready = view.ready.status == "True"
    if ready and view.hpa is not None and view.hpa.status == "False":
        return ScalerView("ScaledObject", view.hpa, step=step, minimum=view.minimum, ready=True)
    return ScalerView("ScaledObject", view.ready, early=False, step=step, minimum=view.minimum, ready=ready)


def autoscaler_condition(scaler: ScalerView | None, *, settled: bool, asleep: bool = False) -> Condition | None:
    """AutoscalerReady; absent where no autoscaler is wanted. ``asleep``: scaled to zero, where the HPA behind a ScaledObject is off.

    Until pods have run for a while (``settled``) an HPA can't have metrics, and says so as if it were a fault: a normal start must
    not read like a failure. That there is no API of metrics, or that KEDA can't ask the gateway, is a fault at any time.
    """
    if scaler is None:
        return None
    if scaler.missing:
        return Condition("AutoscalerReady", Verdict.FALSE, "KedaMissing", KEDA_MISSING)
    if asleep and scaler.ready:
        return Condition("AutoscalerReady", Verdict.TRUE, "Active", "")
    said = scaler.active
    if said is None and settled and scaler.kind == "ScaledObject":
        message = "KEDA has not taken up the ScaledObject; check that KEDA's operator is running"
        return Condition("AutoscalerReady", Verdict.FALSE, "KedaSilent", message)
    if said is None or (said.status != "True" and scaler.early and not settled and NO_METRICS_API not in said.message):
        return Condition("AutoscalerReady", Verdict.UNKNOWN, "Starting", f"The {scaler.kind} has not read its metrics yet")
    if said.status == "True":
        return Condition("AutoscalerReady", Verdict.TRUE, "Active", "")
    verdict = Verdict.UNKNOWN if said.status == "Unknown" and not scaler.early else Verdict.FALSE
    return Condition("AutoscalerReady", verdict, said.reason or "Inactive", said.message)


def rested_template(
    previous: Mapping[str, Any], view: ChildView | None, cooldown_seconds: int, now: datetime
) -> tuple[str | None, float | None]:
    """The user template first ready at least one cooldown ago; if one is younger, the seconds left instead.

    Pods must not go at the very moment in which they first were ready: KEDA takes a ScaledObject that has seen no activity to zero as
    soon as its minimum falls. Once it has fallen, no longer cooldown raises it again, lest a change of Platform wake Workloads.
    """
    proven: Mapping[str, str] | None = previous.get("proven")
    if not proven:
        return None, None
    if isinstance(view, ScaledObjectView) and view.minimum == 0:
        return proven["template"], None
    left = cooldown_seconds - (now - datetime.fromisoformat(proven["since"])).total_seconds()
    return (None, left) if left > 0 else (proven["template"], None)
