"""status.scaler: why there are as many replicas, from HPAs as the real controllers write them."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadstead.observed import Observed, observe
from roadstead.observed.replica_count import Step, hpa_step
from roadstead.observed.scaler import HpaView, ScalerView, hpa_scaler, hpa_view
from roadstead.observed.views import DeploymentView
from tests.build import Body, cpu_autoscaling, workload
from tests.unit.observed.test_observe import BASE, MISSING, NOW, ROLLED_OUT

AT = "2026-11-25T11:59:00Z"
LATER = "2026-11-25T12:01:00Z"
CPU = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}


def resource(current: int, source: str = "resource", **more: str) -> tuple[Body, Body]:
    kind = source[0].upper() + source[1:]
    now = {"name": "cpu", "current": {"averageUtilization": current, "averageValue": "92m"}, **more}
    return {"type": kind, source: {**CPU, **more}}, {"type": kind, source: now}


def external(current: str, target: str = "10", metric: str = "httpRequestsConcurrency", index: int = 0) -> tuple[Body, Body]:
    name = {"name": f"s{index}-{metric}", "selector": {"matchLabels": {"scaledobject.keda.sh/name": "chat"}}}
    return (
        {"type": "External", "external": {"metric": name, "target": {"type": "AverageValue", "averageValue": target}}},
        {"type": "External", "external": {"metric": name, "current": {"averageValue": current}}},
    )


def hpa(
    *metrics: tuple[Body, Body], before: int = 1, to: int = 2, at: str | None = AT, able: str = "SucceededRescale", limited: str = ""
) -> Body:
    """An HPA as it is after a sync; with SucceededRescale, right after it has changed the count."""
    conditions = [{"type": "AbleToScale", "status": "True", "reason": able}]
    conditions.append({"type": "ScalingLimited", "status": str(bool(limited)), "reason": "", "message": limited})
    return {
        "metadata": {"name": "chat", "uid": "uid-hpa"},
        "spec": {"metrics": [spec for spec, _ in metrics]},
        "status": {
            "currentReplicas": before,
            "desiredReplicas": to,
            "currentMetrics": [current for _, current in metrics],
            "conditions": conditions,
            **({"lastScaleTime": at} if at else {}),
        },
    }


@pytest.mark.parametrize(
    ("body", "said"),
    [
        pytest.param(
            hpa(resource(92)),
            ("cpuAverageUtilization", "92%", "50%", "Scaled from 1 to 2: cpuAverageUtilization was 92%, above its target of 50%"),
            id="cpu",
        ),
        pytest.param(
            hpa(resource(92, "containerResource", container="main")),
            ("cpuAverageUtilization", "92%", "50%", "Scaled from 1 to 2: cpuAverageUtilization was 92%, above its target of 50%"),
            id="cpu of one container",
        ),
        pytest.param(
            hpa(external("8334m"), before=4, to=3),
            ("httpRequestsConcurrency", "8.334", "10", "Scaled from 4 to 3: httpRequestsConcurrency was 8.334, below its target of 10"),
            id="KEDA",
        ),
        pytest.param(
            hpa(external("1500", "1k", "httpRequestsPerHour"), resource(60), external("5", "500m", "httpRequestsInFlight", 12)),
            ("httpRequestsInFlight", "5", "0.5", "Scaled from 1 to 2: httpRequestsInFlight was 5, above its target of 0.5"),
            id="the one farthest above decides",
        ),
        pytest.param(
            hpa(resource(300), to=4, limited="the desired replica count is more than the maximum replica count"),
            (
                "cpuAverageUtilization",
                "300%",
                "50%",
                "Scaled from 1 to 4: cpuAverageUtilization was 300%, above its target of 50%; "
                "the desired replica count is more than the maximum replica count",
            ),
            id="limited",
        ),
        pytest.param(hpa(before=1, to=2), (None, None, None, "Scaled from 1 to 2: minCount is 2"), id="below the minimum"),
        pytest.param(hpa(before=5, to=3), (None, None, None, "Scaled from 5 to 3: maxCount is 3"), id="above the maximum"),
        pytest.param(
            hpa((resource(1)[0], {"type": ""}), external("25"), to=3),
            ("httpRequestsConcurrency", "25", "10", "Scaled from 1 to 3: httpRequestsConcurrency was 25, above its target of 10"),
            id="one metric can't be read",
        ),
        pytest.param(
            hpa(resource(12), able="ReadyForNewScale"),
            (None, None, None, "Scaled to 2 while the operator was not looking, so the metric's value then is not known"),
            id="seen too late",
        ),
    ],
)
def test_a_step(body: Body, said: tuple[str | None, ...]) -> None:
    step = hpa_step(body)
    assert step is not None
    assert (step.at, step.metric, step.value, step.target, step.why) == (AT, *said)


def test_no_step_yet() -> None:
    assert hpa_step(hpa(resource(12), at=None, able="ReadyForNewScale")) is None
    assert hpa_step({"metadata": {"name": "chat", "uid": "uid"}}) is None


def view(body: Body) -> HpaView:
    return hpa_view(body, "", ())


def test_the_readings_between_two_steps_are_nobodys_business() -> None:
    """The mirror keeps the first of two equal views: that of the step."""
    stepped = view(hpa(resource(92)))
    assert stepped == view(hpa(resource(17), before=2, able="ReadyForNewScale"))
    assert stepped != view(hpa(resource(130), before=2, to=3, at=LATER))


STEP = hpa_step(hpa(resource(92)))
assert STEP is not None
AUTO = workload(runtime=cpu_autoscaling())


def counted(count: int) -> DeploymentView:
    return replace(ROLLED_OUT, spec_replicas=count)


def scaled(count: int, step: Step | None = None, kind: str = "HorizontalPodAutoscaler", minimum: int = 1) -> Observed:
    scaler = ScalerView(kind, None, step=step, minimum=minimum)
    return replace(BASE, workload=AUTO, wanted=None, scaler=scaler, deployment=counted(count))


def on_keda(count: int, step: Step | None = None, minimum: int = 0) -> Observed:
    return scaled(count, step, "ScaledObject", minimum)


def said(observed: Observed, before: Body | None = None) -> Body:
    found: Body = observe(observed, {} if before is None else {"scaler": before}, NOW).status.get("scaler", {})
    return found


NOW_TEXT = "2026-11-25T12:00:00Z"
AFTER_STEP = {
    "kind": "HorizontalPodAutoscaler",
    "replicas": 2,
    "metric": "cpuAverageUtilization",
    "value": "92%",
    "target": "50%",
    "when": AT,
    "why": "Scaled from 1 to 2: cpuAverageUtilization was 92%, above its target of 50%",
}
BEGUN = {
    "kind": "HorizontalPodAutoscaler",
    "replicas": 1,
    "when": NOW_TEXT,
    "why": "The HorizontalPodAutoscaler has not changed the count yet",
}
SUSPENDED = {"replicas": 0, "when": AT, "why": "spec.suspend"}
AT_ZERO = {"kind": "ScaledObject", "replicas": 0, "when": AT, "why": "No demand for the length of the cooldown"}
WOKEN = {"kind": "ScaledObject", "replicas": 1, "when": NOW_TEXT, "why": "Woken by demand"}
STALE = Step("2026-11-25T11:00:00Z", 3, 1, "Scaled from 3 to 1")


@pytest.mark.parametrize(
    ("observed", "before", "expected"),
    [
        pytest.param(
            BASE, None, {"replicas": 1, "when": NOW_TEXT, "why": "spec.runtime.replicaCount is absent, which means one"}, id="one"
        ),
        pytest.param(
            replace(BASE, workload=workload(replicas=3), wanted=3),
            AFTER_STEP,
            {"replicas": 3, "when": NOW_TEXT, "why": "spec.runtime.replicaCount"},
            id="fixed",
        ),
        pytest.param(
            replace(BASE, workload=workload(suspend=True), wanted=0),
            AFTER_STEP,
            {"replicas": 0, "when": NOW_TEXT, "why": "spec.suspend"},
            id="stop",
        ),
        pytest.param(
            replace(BASE, workload=workload(deleted=True), wanted=0, refusal=MISSING),
            SUSPENDED,
            {"replicas": 0, "when": NOW_TEXT, "why": "spec.deleted"},
            id="soft deletion",
        ),
        pytest.param(replace(BASE, wanted=0, refusal=MISSING), AFTER_STEP, AFTER_STEP, id="a refusal leaves the count alone"),
        pytest.param(replace(scaled(1), deployment=None), None, {"kind": "HorizontalPodAutoscaler"}, id="nothing there yet"),
        pytest.param(scaled(1), {"kind": "HorizontalPodAutoscaler"}, BEGUN, id="an HPA begins"),
        pytest.param(scaled(2, STEP), BEGUN | {"when": AT}, AFTER_STEP, id="its first step, in the same second"),
        pytest.param(scaled(2, STEP), BEGUN, AFTER_STEP, id="its clock is behind ours"),
        pytest.param(scaled(2), BEGUN, BEGUN, id="the count moved, the HPA's word comes in a moment"),
        pytest.param(
            scaled(2, replace(STEP, at=LATER, why="again")), AFTER_STEP, AFTER_STEP | {"when": LATER, "why": "again"}, id="and back"
        ),
        pytest.param(scaled(0), SUSPENDED, SUSPENDED, id="start, about to be raised"),
        pytest.param(scaled(1), SUSPENDED, BEGUN | {"why": "Started at the minimum of 1"}, id="start"),
        pytest.param(on_keda(0), BEGUN, AT_ZERO | {"when": NOW_TEXT}, id="to zero"),
        pytest.param(on_keda(0, STEP), AT_ZERO, AT_ZERO, id="at zero"),
        pytest.param(on_keda(1, STALE), AT_ZERO, WOKEN, id="wake, and an old step to the same count"),
        pytest.param(on_keda(1, minimum=1), AT_ZERO, WOKEN | {"why": "Started at the minimum of 1"}, id="another version proves itself"),
        pytest.param(
            replace(BASE, wanted=1, scaler=ScalerView("ScaledObject", None, missing=True)),
            None,
            {"kind": "ScaledObject", "replicas": 1, "when": NOW_TEXT, "why": "minCount, at least one, since KEDA is missing"},
            id="KEDA missing",
        ),
    ],
)
def test_why(observed: Observed, before: Body | None, expected: Body) -> None:
    assert said(observed, before) == expected


COUNTS = st.integers(0, 3)
STEPS = st.none() | st.builds(Step, st.sampled_from([AT, LATER]), COUNTS, COUNTS, st.just("words"))
WORLDS = st.one_of(
    st.builds(scaled, COUNTS, STEPS),
    st.builds(on_keda, COUNTS, STEPS, st.integers(0, 1)),
    st.builds(lambda count: replace(BASE, workload=workload(replicas=3), wanted=count), COUNTS),
    st.builds(lambda suspend: replace(BASE, workload=workload(suspend=suspend), wanted=0), st.booleans()),
)


@given(st.lists(WORLDS, min_size=1, max_size=4))
def test_at_rest_nothing_moves(story: list[Observed]) -> None:
    before: dict[str, Any] = {}
    for moment, observed in enumerate(story):
        before = observe(observed, before, NOW + timedelta(minutes=moment)).status
    again = observe(story[-1], before, NOW + timedelta(hours=1)).status
    assert again.get("scaler") == before.get("scaler")


def test_what_a_scaler_knows() -> None:
    assert hpa_scaler(None) == ScalerView("HorizontalPodAutoscaler", None)
    assert hpa_scaler(view(hpa(resource(92)))).step == STEP
