"""Why there are as many replicas as there are: kept as of the last change of the count, so that no live value gets into a status."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from roadstead.api.workload import Workload
from roadstead.observed.conditions import timestamp
from roadstead.observed.views import Body, conditions_of

SUFFIXES = {"n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9}
WHY_LIMIT = 1024
HPA = "HorizontalPodAutoscaler"


@dataclass(frozen=True, slots=True)
class Step:
    """The last change of a count by an HPA: when, from how many to how many, and why.

    ``metric`` is the one that decided, in a policy's words. It, its ``value`` and its ``target`` are None where none decided, or where
    nobody knows it any more.
    """

    at: str
    before: int
    to: int
    why: str
    metric: str | None = None
    value: str | None = None
    target: str | None = None


@dataclass(frozen=True, slots=True)
class _Reading:
    metric: str
    value: str
    target: str
    ratio: Decimal


def hpa_step(body: Body) -> Step | None:
    """The last step of an autoscaling/v2 HPA; None before its first.

    Only the status written with the step itself tells why (AbleToScale=SucceededRescale, pkg/controller/podautoscaler in Kubernetes):
    the next look, 15 s later, overwrites the metrics.
    """
    status: Body = body.get("status") or {}
    at: str | None = status.get("lastScaleTime")
    if at is None:
        return None
    before, to = int(status.get("currentReplicas", 0)), int(status.get("desiredReplicas", 0))
    conditions = conditions_of(body)
    able, limited = conditions.get("AbleToScale"), conditions.get("ScalingLimited")
    if able is None or able.reason != "SucceededRescale":
        return Step(at, before, to, f"Scaled to {to} while the operator was not looking, so the metric's value then is not known")
    reading = max(_readings(body), key=lambda reading: reading.ratio, default=None)
    if reading is None:
        bound = "minCount" if to > before else "maxCount"
        return Step(at, before, to, f"Scaled from {before} to {to}: {bound} is {to}")
    side = "above" if reading.ratio > 1 else "below"
    why = f"Scaled from {before} to {to}: {reading.metric} was {reading.value}, {side} its target of {reading.target}"
    if limited is not None and limited.status == "True":
        why += f"; {limited.message}"
    return Step(at, before, to, why[:WHY_LIMIT], reading.metric, reading.value, reading.target)


def explained(
    workload: Workload,
    *,
    kind: str | None,
    count: int | None,
    fixed: bool,
    missing: bool,
    minimum: int,
    step: Step | None,
    before: Mapping[str, Any] | None,
    now: datetime,
) -> dict[str, Any] | None:
    """``status.scaler``. It moves only with the count, or with who sets it; at rest it is ``before``, the last word.

    ``kind`` is the scaler's, ``fixed`` says that the operator itself sets the count, ``missing`` that it does so in the scaler's place,
    ``minimum`` how few the scaler may go to.
    """
    head = {"kind": kind} if kind is not None else {}
    if count is None or (count == 0 and not fixed and minimum > 0):  # not there yet, or about to be raised
        return dict(before) if before else head or None
    known = before or {}
    same = known.get("kind") == kind
    if not fixed and step is not None and step.to == count and _is_news(step, known):
        found = {"metric": step.metric, "value": step.value, "target": step.target, "when": step.at, "why": step.why}
        return head | {"replicas": count} | {name: value for name, value in found.items() if value is not None}
    why = _set_by_us(workload, missing=missing) if fixed else _unmoved(str(kind), count, known, minimum, same=same)
    if same and (why is None or (known.get("replicas") == count and (not fixed or known.get("why") == why))):
        return dict(known)
    return head | {"replicas": count, "when": timestamp(now), "why": why}


def _is_news(step: Step, known: Mapping[str, Any]) -> bool:
    """Whether a step came after what is known. Clocks differ, so one that begins where we are and doesn't end there counts too."""
    return step.at > known.get("when", "") or (step.before == known.get("replicas") != step.to)


def _set_by_us(workload: Workload, *, missing: bool) -> str:
    spec = workload.spec
    if spec.deleted:
        return "spec.deleted"
    if spec.suspend:
        return "spec.suspend"
    if missing:
        return "minCount, at least one, since KEDA is missing"
    if spec.runtime is None or spec.runtime.replica_count is None:
        return "spec.runtime.replicaCount is absent, which means one"
    return "spec.runtime.replicaCount"


def _unmoved(kind: str, count: int, known: Mapping[str, Any], minimum: int, *, same: bool) -> str | None:
    """Why an autoscaled count is what it is although no step of an HPA led there; None where nothing new is known (yet)."""
    former = known.get("replicas")
    if count == 0:
        return "No demand for the length of the cooldown"
    if former == 0:
        return "Woken by demand" if kind == "ScaledObject" and minimum < count else f"Started at the minimum of {count}"
    if same and former is not None:
        return None
    return f"The {kind} has not changed the count yet"


def _readings(body: Body) -> Iterator[_Reading]:
    """Each metric that the HPA has a value of."""
    specs: list[Body] = (body.get("spec") or {}).get("metrics") or []
    targets = dict(map(_metric, specs))
    currents: list[Body] = (body.get("status") or {}).get("currentMetrics") or []
    for current in currents:
        if not current.get("type"):
            continue
        name, source = _metric(current)
        target, value = targets.get(name, {}).get("target") or {}, source.get("current") or {}
        for field in ("averageUtilization", "averageValue", "value"):
            if field in target and field in value:
                unit = "%" if field == "averageUtilization" else ""
                amount, wanted = _number(value[field]), _number(target[field])
                if amount is not None and wanted:
                    yield _Reading(name, f"{amount:f}{unit}", f"{wanted:f}{unit}", amount / wanted)


def _metric(entry: Body) -> tuple[str, Body]:
    """A metric's name in a policy's words, and its source. KEDA puts the trigger's number in front: s0-httpRequestsInFlight."""
    kind: str = entry["type"]
    source: Body = entry.get(kind[0].lower() + kind[1:]) or {}
    name: str = source.get("name") or (source.get("metric") or {}).get("name") or kind
    if name == "cpu":
        return "cpuAverageUtilization", source
    head, dash, rest = name.partition("-")
    return (rest if dash and head[:1] == "s" and head[1:].isdecimal() else name), source


def _number(quantity: str | int) -> Decimal | None:
    """A quantity as a plain number: 8334m -> 8.334. None for what isn't a decimal one."""
    text = str(quantity)
    shift = SUFFIXES.get(text[-1:], 0)
    try:
        return _plain(Decimal(text[:-1] if shift else text).scaleb(shift))
    except InvalidOperation:
        return None


def _plain(number: Decimal) -> Decimal:
    rounded = round(number, 3)
    return rounded.normalize() if rounded else Decimal(0)
