"""What a scaler's word becomes, and when pods may go to zero."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from roadstead.observed.conditions import Verdict
from roadstead.observed.scaler import (
    HpaView,
    ScaledObjectView,
    ScalerView,
    autoscaler_condition,
    hpa_scaler,
    hpa_view,
    rested_template,
    scaled_object_scaler,
    scaled_object_view,
)

NOW = datetime(2026, 11, 25, 12, 0, 0, tzinfo=UTC)


def scaled_object(minimum: int = 1, **conditions: tuple[str, str]) -> ScaledObjectView:
    body: dict[str, Any] = {"metadata": {"uid": "uid", "name": "chat"}, "spec": {"minReplicaCount": minimum}}
    if conditions:
        said = [{"type": kind, "status": status, "reason": reason, "message": "words"} for kind, (status, reason) in conditions.items()]
        body["status"] = {"conditions": said}
    return scaled_object_view(body, "", ())


@pytest.mark.parametrize(
    ("view", "settled", "verdict", "reason"),
    [
        pytest.param(None, False, Verdict.UNKNOWN, "Starting", id="not there yet"),
        pytest.param(scaled_object(), False, Verdict.UNKNOWN, "Starting", id="KEDA has not seen it"),
        pytest.param(scaled_object(), True, Verdict.FALSE, "KedaSilent", id="KEDA does not see it"),
        pytest.param(scaled_object(Ready=("True", "Ok")), False, Verdict.TRUE, "Active", id="ready"),
        pytest.param(scaled_object(Ready=("False", "TriggerError")), False, Verdict.FALSE, "TriggerError", id="no gateway, told at once"),
        pytest.param(scaled_object(Ready=("Unknown", "PartialTriggerError")), True, Verdict.UNKNOWN, "PartialTriggerError", id="half"),
        pytest.param(
            scaled_object(Ready=("True", "Ok"), HPAActive=("False", "FailedGetExternalMetric")),
            False,
            Verdict.UNKNOWN,
            "Starting",
            id="early",
        ),
        pytest.param(
            scaled_object(Ready=("True", "Ok"), HPAActive=("False", "FailedGetExternalMetric")),
            True,
            Verdict.FALSE,
            "FailedGetExternalMetric",
            id="the HPA has no metrics",
        ),
        pytest.param(
            scaled_object(Ready=("True", "Ok"), HPAActive=("True", "ScalingDisabled")), True, Verdict.TRUE, "Active", id="at zero"
        ),
    ],
)
def test_a_scaled_objects_word(view: ScaledObjectView | None, settled: bool, verdict: Verdict, reason: str) -> None:
    found = autoscaler_condition(scaled_object_scaler(view), settled=settled)
    assert found is not None
    assert (found.status, found.reason) == (verdict, reason)


NO_API = (
    "the HPA was unable to compute the replica count: failed to get cpu utilization: unable to get metrics for resource cpu: unable to "
    "fetch metrics from resource metrics API: the server could not find the requested resource (get pods.metrics.k8s.io)"
)
NO_METRICS = (
    "the HPA was unable to compute the replica count: failed to get cpu utilization: unable to get metrics for resource cpu: no metrics "
    "returned from resource metrics API"
)
NOT_OF_ALL = "the HPA was unable to compute the replica count: failed to get cpu utilization: did not receive metrics for targeted pods"


@pytest.mark.parametrize(
    ("words", "settled", "verdict", "reason"),
    [
        pytest.param(None, False, Verdict.UNKNOWN, "Starting", id="nothing said yet"),
        pytest.param(None, True, Verdict.UNKNOWN, "Starting", id="the controller of HPAs is slow"),
        pytest.param(NO_METRICS, False, Verdict.UNKNOWN, "Starting", id="a normal start"),
        pytest.param(NOT_OF_ALL, False, Verdict.UNKNOWN, "Starting", id="a normal start, a little later"),
        pytest.param(NO_METRICS, True, Verdict.FALSE, "FailedGetResourceMetric", id="a start that is none any more"),
        pytest.param(NO_API, False, Verdict.FALSE, "FailedGetResourceMetric", id="no API of metrics, told at once"),
        pytest.param(NO_API, True, Verdict.FALSE, "FailedGetResourceMetric", id="no API of metrics"),
    ],
)
def test_an_hpas_word(words: str | None, settled: bool, verdict: Verdict, reason: str) -> None:
    """The words as kube-controller-manager writes them."""
    said = {"type": "ScalingActive", "status": "False", "reason": "FailedGetResourceMetric", "message": words}
    body = {"metadata": {"uid": "uid", "name": "chat"}, "status": {"conditions": [said] if words is not None else []}}
    found = autoscaler_condition(hpa_scaler(hpa_view(body, "", ())), settled=settled)
    assert found is not None
    assert (found.status, found.reason) == (verdict, reason)
    assert verdict is Verdict.UNKNOWN or found.message == words


def test_keda_missing_is_said_with_what_to_do() -> None:
    found = autoscaler_condition(ScalerView("ScaledObject", None, missing=True), settled=False)
    assert found is not None
    assert (found.status, found.reason) == (Verdict.FALSE, "KedaMissing")
    assert "install" in found.message


@pytest.mark.parametrize(
    ("since", "minimum", "expected"),
    [
        pytest.param(None, 1, (None, None), id="never ready"),
        pytest.param("2026-11-25T11:59:00Z", 1, (None, 240.0), id="too young"),
        pytest.param("2026-11-25T11:55:00Z", 1, ("t", None), id="one cooldown old"),
        pytest.param("2026-11-25T11:59:00Z", 0, ("t", None), id="it was allowed to before, with a shorter cooldown"),
        pytest.param(None, 0, (None, None), id="a minimum of zero proves nothing"),
    ],
)
def test_pods_may_go_to_zero_one_cooldown_after_the_proof(
    since: str | None, minimum: int, expected: tuple[str | None, float | None]
) -> None:
    previous = {"proven": {"template": "t", "since": since}} if since else {}
    assert rested_template(previous, scaled_object(minimum), 300, NOW) == expected


def test_kedas_hpa_is_told_from_ours() -> None:
    """It bears the ScaledObject's labels, ours among them."""

    def hpa(owner: str) -> HpaView:
        metadata = {
            "name": "x",
            "uid": "uid",
            "labels": {"roadstead.dev/workload": "chat"},
            "ownerReferences": [{"kind": owner, "uid": "owner", "controller": True}],
        }
        conditions = [{"type": "ScalingActive", "status": "True"}]
        return hpa_view({"metadata": metadata, "status": {"conditions": conditions}}, "", ())

    assert (hpa("Workload").of_keda, hpa("ScaledObject").of_keda) == (None, "chat")
    assert hpa("Workload").active is not None
    assert hpa("ScaledObject").active is None
