"""kstatus (Flux, kapp), Argo CD and our own state say the same of every outcome, and neither is green too early."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from hack import argocd
from roadstead.api.conditions import State
from roadstead.api.crd import DEFINITIONS
from roadstead.errors import Reason, Refusal
from roadstead.observed import Observed, Outcome, observe
from roadstead.observed.conditions import not_ready, render
from roadstead.observed.endpoint import Backend, observe_endpoint
from roadstead.observed.scaler import ScalerView
from roadstead.observed.views import Condition
from tests.build import endpoint, raw_pod, workload
from tests.support.argo import Health, argo_health
from tests.support.kstatus import Kstatus, kstatus
from tests.unit.observed.test_causes import EXIT, OOM, waiting
from tests.unit.observed.test_observe import BASE, MISSING, NOW, ROLLED_OUT, STARTING, WORLDS, with_pods
from tests.unit.observed.test_wake import ASLEEP, PROVEN

ROOT = Path(__file__).parent.parent.parent.parent
FOLDER = ROOT / "deploy" / "argocd"
SCRIPT = (FOLDER / argocd.SCRIPT).read_text()
Body = dict[str, Any]
Verdicts = tuple[Kstatus, Health]
IN_PROGRESS = (Kstatus.IN_PROGRESS, Health.PROGRESSING)
CURRENT = (Kstatus.CURRENT, Health.HEALTHY)
FAILED = (Kstatus.FAILED, Health.DEGRADED)
STOPPED = (Kstatus.CURRENT, Health.SUSPENDED)
OF_STATE = {
    State.SUBMITTED: {IN_PROGRESS},
    State.INITIALIZING: {IN_PROGRESS},
    State.RUNNING: {CURRENT, IN_PROGRESS, FAILED},
    State.ERRORED: {FAILED},
    State.STOPPING: {IN_PROGRESS},
    State.STOPPED: {STOPPED},
}
"""What may be said in each state. A running Workload may be busy with another version, or fail at it."""


def stored(status: Body, generation: int = 1, **metadata: Any) -> Body:
    return {"metadata": {"name": "chat", "generation": generation, **metadata}, "status": status}


def verdicts(status: Body) -> Verdicts:
    body = stored(status)
    return kstatus(body), argo_health(SCRIPT, body)[0]


def starting(**pod: Any) -> Observed:
    return with_pods(raw_pod(**pod), deployment=STARTING)


def serving(*more: Body, deployment: Any = ROLLED_OUT, **changes: Any) -> Observed:
    return with_pods(raw_pod(ready=True), *more, deployment=deployment, **changes)


def refused(words: str) -> Observed:
    return replace(BASE, deployment=replace(STARTING, conditions={"ReplicaFailure": Condition("True", "FailedCreate", words)}))


LATE = {"Progressing": Condition("False", "ProgressDeadlineExceeded", "timed out")}
ROLLING = replace(ROLLED_OUT, replicas=2, updated=1, ready=1)
ZERO = replace(ROLLED_OUT, spec_replicas=0, replicas=0, ready=0, updated=0, available=0)
BACK_OFF = waiting("CrashLoopBackOff")
CASES: dict[str, tuple[Observed, Verdicts]] = {
    "nothing there yet": (replace(BASE, deployment=None), IN_PROGRESS),
    "no node yet": (starting(node=None), IN_PROGRESS),
    "unschedulable": (starting(unschedulable="0/1 nodes are available: Insufficient nvidia.com/gpu"), IN_PROGRESS),
    "no such GPU": (replace(starting(unschedulable="no room"), gpu_missing="No node offers it"), IN_PROGRESS),
    "containers start": (starting(), IN_PROGRESS),
    "ready": (serving(), CURRENT),
    "image not found": (starting(state=waiting("ErrImagePull", "not found")), FAILED),
    "image denied": (starting(state=waiting("ErrImagePull", "pull access denied")), FAILED),
    "image name": (starting(state=waiting("InvalidImageName", "bad")), FAILED),
    "registry unreachable": (starting(state=waiting("ErrImagePull", "connection refused")), IN_PROGRESS),
    "registry unreachable, too late": (
        replace(starting(state=waiting("ImagePullBackOff", "connection refused")), deployment=replace(STARTING, conditions=LATE)),
        FAILED,
    ),
    "missing Secret": (starting(state=waiting("CreateContainerConfigError", 'secret "k" not found')), FAILED),
    "bad command": (starting(state={"terminated": {"reason": "StartError", "exitCode": 128, "message": "no such file"}}), FAILED),
    "first crash": (starting(state=BACK_OFF, last=EXIT, restarts=1), IN_PROGRESS),
    "crash loop": (starting(state=BACK_OFF, last=EXIT, restarts=2), FAILED),
    "out of memory once": (starting(state=BACK_OFF, last=OOM, restarts=1), IN_PROGRESS),
    "out of memory": (starting(state=BACK_OFF, last=OOM, restarts=2), FAILED),
    "startup probe": (starting(state={"running": {}}), IN_PROGRESS),
    "readiness probe": (starting(state={"running": {}}, started=True), IN_PROGRESS),
    "readiness probe, too late": (replace(starting(state={"running": {}}), deployment=replace(STARTING, conditions=LATE)), FAILED),
    "deadline without a cause": (replace(BASE, deployment=replace(STARTING, conditions=LATE)), FAILED),
    "quota": (refused("exceeded quota: small"), IN_PROGRESS),
    "LimitRange or Pod Security": (refused("violates PodSecurity"), FAILED),
    "bad new version, the old one serves": (serving(raw_pod("chat-2", state=BACK_OFF, last=EXIT, restarts=3), deployment=ROLLING), FAILED),
    "good new version": (serving(raw_pod("chat-2"), deployment=ROLLING), IN_PROGRESS),
    "normal scale-up": (serving(raw_pod("chat-2"), deployment=replace(ROLLED_OUT, spec_replicas=2, replicas=2), wanted=2), IN_PROGRESS),
    "an autoscaler's step": (
        serving(raw_pod("chat-2"), deployment=replace(ROLLED_OUT, spec_replicas=2, replicas=2, updated=2), wanted=None),
        CURRENT,
    ),
    "a change of Platform waits": (serving(pending="a platform change waits"), CURRENT),
    "HPA without metrics": (
        serving(scaler=ScalerView("HorizontalPodAutoscaler", Condition("False", "FailedGetResourceMetric", "none")), wanted=None),
        CURRENT,
    ),
    "KEDA missing": (serving(scaler=ScalerView("ScaledObject", None, missing=True)), CURRENT),
    "at zero, nothing would wake it": (replace(BASE, deployment=ZERO, wanted=None), IN_PROGRESS),
    "at zero, late before": (replace(BASE, deployment=replace(ZERO, conditions=LATE), wanted=None), IN_PROGRESS),
    "stopping": (serving(workload=workload(suspend=True), wanted=0), IN_PROGRESS),
    "stopping what crashes": (
        replace(starting(state=BACK_OFF, last=EXIT, restarts=5), workload=workload(suspend=True), wanted=0),
        IN_PROGRESS,
    ),
    "stopping what may not run": (serving(workload=workload(suspend=True), refusal=MISSING), IN_PROGRESS),
    "stopped": (replace(BASE, workload=workload(suspend=True), deployment=ZERO, wanted=0), STOPPED),
    "stopped before it ever ran": (replace(BASE, workload=workload(suspend=True), deployment=None, refusal=MISSING), STOPPED),
    "deleted softly": (replace(BASE, workload=workload(deleted=True), deployment=None), STOPPED),
    **{f"refused: {reason}": (replace(BASE, deployment=None, refusal=Refusal(reason, "words")), FAILED) for reason in Reason},
    "refused, the old version serves": (serving(refusal=MISSING), FAILED),
}


def judged(observed: Observed) -> tuple[Outcome, Verdicts]:
    outcome = observe(observed, {}, NOW)
    return outcome, verdicts(outcome.status)


@pytest.mark.parametrize("name", CASES)
def test_every_cause(name: str) -> None:
    observed, expected = CASES[name]
    outcome, said = judged(observed)
    assert said == expected, outcome.status
    assert said in OF_STATE[outcome.state]


@given(WORLDS)
@example(CASES["at zero, late before"][0])
def test_every_outcome(observed: Observed) -> None:
    outcome, said = judged(observed)
    assert said in OF_STATE[outcome.state]
    progressing = next(c["status"] for c in outcome.status["conditions"] if c["type"] == "Progressing")
    if said == CURRENT:
        assert (outcome.state, progressing) == (State.RUNNING, "True")
    if outcome.state is State.RUNNING and progressing == "False":
        assert said == FAILED, "what can't be carried out is never green"


FAILED_WAKE = {"lastWake": {"at": "2026-11-25T11:30:00Z", "succeeded": False, "message": "boom"}}


@pytest.mark.parametrize(
    ("observed", "previous", "expected"),
    [
        pytest.param(ASLEEP, PROVEN, CURRENT, id="sure to wake"),
        pytest.param(replace(ASLEEP, gateway_serving=False), PROVEN, IN_PROGRESS, id="no gateway"),
        pytest.param(ASLEEP, PROVEN | FAILED_WAKE, FAILED, id="its last wake failed"),
        pytest.param(replace(ASLEEP, gateway_serving=False), PROVEN | FAILED_WAKE, FAILED, id="its last wake failed, and no gateway"),
        pytest.param(replace(ASLEEP, user_template="new"), PROVEN | FAILED_WAKE, IN_PROGRESS, id="a new version after it"),
    ],
)
def test_at_zero(observed: Observed, previous: Body, expected: Verdicts) -> None:
    status = observe(observed, previous, NOW).status
    assert verdicts(status) == expected, status


@given(WORLDS)
def test_another_generation_is_in_progress_whatever_was_said_of_the_last(observed: Observed) -> None:
    body = stored(observe(observed, {}, NOW).status, generation=2)
    assert (kstatus(body), argo_health(SCRIPT, body)[0]) == IN_PROGRESS


BACKENDS = st.builds(
    lambda name, state, ready, registered: Backend(name, state, ready, registered, state in (State.STOPPED, State.STOPPING)),
    st.sampled_from(["chat", "old"]),
    st.sampled_from([state for state in State if state is not State.UNKNOWN]),
    st.integers(0, 1),
    st.booleans(),
)
GOOD = Backend("chat", State.RUNNING, 1, True, False)
OLD = replace(GOOD, name="old")


@pytest.mark.parametrize(
    ("target", "active", "expected"),
    [
        pytest.param(GOOD, GOOD, CURRENT, id="serves"),
        pytest.param(None, None, FAILED, id="missing"),
        pytest.param(replace(GOOD, registered=False), None, FAILED, id="not registered"),
        pytest.param(replace(GOOD, state=State.INITIALIZING, ready=0), None, IN_PROGRESS, id="starts"),
        pytest.param(replace(GOOD, state=State.ERRORED, ready=0), None, FAILED, id="errored"),
        pytest.param(replace(GOOD, state=State.STOPPING, suspended=True), None, IN_PROGRESS, id="stopping"),
        pytest.param(replace(GOOD, state=State.STOPPED, ready=0, suspended=True), None, STOPPED, id="stopped"),
        pytest.param(replace(GOOD, state=State.INITIALIZING, ready=0), OLD, IN_PROGRESS, id="switching"),
        pytest.param(None, OLD, FAILED, id="the new one is missing, the old one serves"),
        pytest.param(replace(GOOD, state=State.ERRORED, ready=0), OLD, FAILED, id="the new one is errored, the old one serves"),
        pytest.param(replace(GOOD, ready=0), OLD, IN_PROGRESS, id="switching to one at zero"),
        pytest.param(replace(GOOD, ready=0), replace(OLD, ready=0), IN_PROGRESS, id="switching, both at zero"),
        pytest.param(replace(GOOD, ready=0), None, CURRENT, id="at zero, the old one has gone"),
    ],
)
def test_a_deployment(target: Backend | None, active: Backend | None, expected: Verdicts) -> None:
    status = observe_endpoint(endpoint(), target, active or target, {}, NOW)
    assert verdicts(status) == expected, status


def test_a_switch_to_a_stopped_workload_says_what_it_waits_for() -> None:
    status = observe_endpoint(endpoint(), replace(GOOD, state=State.STOPPED, ready=0, suspended=True), OLD, {}, NOW)
    progress = next(condition for condition in status["conditions"] if condition["type"] == "Progressing")
    assert progress["message"].endswith("that one is stopped: start it (spec.suspend: false)")


@given(st.none() | BACKENDS.map(lambda backend: replace(backend, name="chat")), st.none() | BACKENDS)
def test_every_deployment(target: Backend | None, active: Backend | None) -> None:
    status = observe_endpoint(endpoint(), target, active, {}, NOW)
    said = verdicts(status)
    abnormal = {condition["type"] for condition in status["conditions"]} & {"Stalled", "Reconciling"}
    assert len(abnormal) <= 1
    if abnormal:
        assert said == (FAILED if "Stalled" in abnormal else IN_PROGRESS)
    else:
        assert said in OF_STATE[State(status["state"])]


def test_artifact_and_platform() -> None:
    assert verdicts({"observedGeneration": 1, "conditions": [{"type": "Ready", "status": "True", "message": ""}]}) == CURRENT
    assert verdicts({"observedGeneration": 1, "conditions": render(not_ready("Invalid", "words"), (), 1, NOW)}) == FAILED


@pytest.mark.parametrize("status", [{"observedGeneration": -1}, {"observedGeneration": 1, "conditions": []}])
def test_what_nobody_looked_at_is_in_progress(status: Body) -> None:
    body = stored(status, generation=2)
    assert (kstatus(body), argo_health(SCRIPT, body)[0]) == IN_PROGRESS
    del body["status"]
    assert argo_health(SCRIPT, body)[0] is Health.PROGRESSING


def test_what_is_deleted() -> None:
    body = stored(observe(serving(), {}, NOW).status, deletionTimestamp=datetime.now(UTC).isoformat())
    assert (kstatus(body), argo_health(SCRIPT, body)[0]) == (Kstatus.TERMINATING, Health.PROGRESSING)


def test_argo_cd_shows_our_words() -> None:
    shown = {name: argo_health(SCRIPT, stored(observe(CASES[name][0], {}, NOW).status))[1] for name in ("ready", "crash loop", "stopped")}
    assert shown == {
        "ready": "1 of 1 replicas ready",
        "crash loop": "Pod chat-1, container main: exited with code 3 again and again: boom: no such model; see kubectl logs --previous",
        "stopped": "Stopped; set spec.suspend to false to start it",
    }


@pytest.mark.parametrize(
    ("script", "health"),
    [
        ("return {status = 'Healthy'}", Health.HEALTHY),
        ("return {status = 'Fine'}", Health.UNKNOWN),
        ("return 'Healthy'", Health.UNKNOWN),
        ("return {status = string.upper('x')}", Health.UNKNOWN),
        ("return {status = ('Healthy'):upper()}", Health.UNKNOWN),
        ("return {status = _VERSION == 'Lua 5.1' and obj.metadata.generation == 1 and 'Healthy'}", Health.HEALTHY),
    ],
)
def test_the_interpreter_is_as_bare_as_argo_cds(script: str, health: Health) -> None:
    assert argo_health(script, stored({}))[0] is health


def test_every_kind_has_the_script_in_both_forms() -> None:
    kinds = {kind.model.__name__ for kind in DEFINITIONS}
    data = yaml.safe_load((FOLDER / "argocd-cm.yaml").read_text())["data"]
    assert data == {f"resource.customizations.health.roadstead.dev_{kind}": SCRIPT for kind in kinds}, "run `make generate`"
    copies = {path.parent.name: path.read_text() for path in (FOLDER / "resource_customizations" / "roadstead.dev").glob("*/health.lua")}
    assert copies == dict.fromkeys(kinds, SCRIPT), "run `make generate`"
