"""Scaled to zero: when it counts as running, and how its last wake is remembered."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from roadstead.api.conditions import State
from roadstead.errors import Reason, Refusal
from roadstead.observed import DeploymentView, Observed, Outcome, observe
from roadstead.observed.scaler import ScalerView
from roadstead.observed.views import Condition, pod_view
from tests.build import artifact, raw_pod, workload

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
READY = ScalerView("ScaledObject", Condition("True", "Ok", ""), early=False, minimum=0, ready=True)
DOWN = ScalerView("ScaledObject", Condition("False", "TriggerError", "the scaler can't be asked"), early=False, minimum=0)
ZERO = DeploymentView("uid", "uid-chat", "d", "h", (), "t", "u", 0, True, 0, 0, 0, 0, {})
ONE = replace(ZERO, spec_replicas=1, replicas=1, updated=1)
PROVEN = {"proven": {"template": "u", "since": "2026-11-25T11:00:00Z"}}
ASLEEP = Observed(workload(), artifact(), "digest", user_template="u", template="t", scaler=READY, deployment=ZERO, gateway_serving=True)
CRASH = {"exitCode": 3, "reason": "Error", "message": "boom"}
BACK_OFF = {"waiting": {"reason": "CrashLoopBackOff"}}


class Story:
    """One status after another, as the operator writes them."""

    def __init__(self, status: dict[str, Any] | None = None) -> None:
        self.status: dict[str, Any] = status or {}
        self.now = NOW

    def then(self, observed: Observed) -> Outcome:
        self.now += timedelta(seconds=10)
        outcome = observe(observed, self.status, self.now)
        self.status = outcome.status
        again = observe(observed, self.status, self.now + timedelta(seconds=1))
        assert again.status == outcome.status, "a second look changes nothing"
        return outcome


def starting() -> Observed:
    return replace(ASLEEP, deployment=ONE, pods=(pod_view(raw_pod()),))


def crashing() -> Observed:
    return replace(ASLEEP, deployment=ONE, pods=(pod_view(raw_pod(state=BACK_OFF, last=CRASH, restarts=3)),))


def serving() -> Observed:
    return replace(ASLEEP, deployment=replace(ONE, ready=1, available=1), pods=(pod_view(raw_pod(ready=True)),))


@pytest.mark.parametrize(
    ("observed", "state", "said"),
    [
        pytest.param(ASLEEP, State.RUNNING, "Scaled to zero; its first request wakes it", id="sure to wake"),
        pytest.param(replace(ASLEEP, gateway_serving=False), State.SUBMITTED, "the gateway isn't serving", id="no gateway"),
        pytest.param(replace(ASLEEP, scaler=DOWN), State.SUBMITTED, "the scaler can't be asked", id="KEDA can't ask"),
        pytest.param(replace(ASLEEP, user_template="new"), State.SUBMITTED, "this version has never been ready", id="another version"),
    ],
)
def test_at_zero(observed: Observed, state: State, said: str) -> None:
    outcome = Story(dict(PROVEN)).then(observed)
    assert outcome.state is state
    assert said in outcome.message
    ready = next(c for c in outcome.status["conditions"] if c["type"] == "Ready")
    assert (ready["status"], ready["reason"]) == ("True" if state is State.RUNNING else "False", "ScaledToZero")


def test_a_wake_that_succeeds_leaves_nothing_behind() -> None:
    story = Story(dict(PROVEN))
    story.then(ASLEEP)
    assert story.then(starting()).status["lastWake"] == {"at": "2026-11-25T12:00:20Z"}
    assert "lastWake" not in story.then(serving()).status
    outcome = story.then(ASLEEP)
    assert outcome.state is State.RUNNING
    assert "lastWake" not in outcome.status


def test_a_wake_that_fails_is_errored_with_its_cause_until_one_succeeds() -> None:
    story = Story(dict(PROVEN))
    story.then(ASLEEP)
    story.then(starting())
    failing = story.then(crashing())
    assert failing.state is State.ERRORED
    back = story.then(ASLEEP)
    assert back.state is State.ERRORED
    assert back.message == failing.message
    assert "boom" in back.message
    assert back.status["lastWake"] == {"at": "2026-11-25T12:00:40Z", "succeeded": False, "message": failing.message}
    assert back.status["logTail"] == failing.status["logTail"]
    assert any(c["type"] == "Stalled" and c["reason"] == "WakeFailed" for c in back.status["conditions"])
    again = story.then(starting())
    assert again.state is State.INITIALIZING
    assert "succeeded" not in again.status["lastWake"]
    assert story.then(serving()).state is State.RUNNING
    assert story.then(ASLEEP).state is State.RUNNING


def test_one_that_never_got_ready_in_time_says_how_far_it_came() -> None:
    story = Story(dict(PROVEN))
    story.then(ASLEEP)
    story.then(starting())
    outcome = story.then(ASLEEP)
    assert outcome.state is State.ERRORED
    assert outcome.message == "No pod became ready before it went back to zero (Containers are being pulled and started)"


def test_pods_that_served_and_went_unready_at_last_are_no_failed_wake() -> None:
    story = Story(dict(PROVEN))
    story.then(ASLEEP)
    story.then(starting())
    story.then(serving())
    story.then(crashing())
    assert story.then(ASLEEP).state is State.RUNNING


def test_one_whose_pod_is_ready_and_gone_between_two_looks_has_succeeded() -> None:
    story = Story(dict(PROVEN))
    story.then(ASLEEP)
    story.then(starting())
    outcome = story.then(replace(ASLEEP, served=True))
    assert outcome.state is State.RUNNING
    assert "lastWake" not in outcome.status


def test_one_whose_pod_was_ready_and_crashes_before_the_first_look_at_it_is_no_wake_any_more() -> None:
    story = Story(dict(PROVEN))
    story.then(ASLEEP)
    assert "lastWake" not in story.then(replace(crashing(), served=True)).status
    assert story.then(ASLEEP).state is State.RUNNING


def test_the_first_start_is_no_wake_and_its_fall_to_zero_no_failure() -> None:
    story = Story()
    story.then(starting())
    assert "lastWake" not in story.status
    story.then(serving())
    assert story.then(ASLEEP).state is State.RUNNING


def test_stopping_forgets_a_failed_wake() -> None:
    story = Story(dict(PROVEN))
    for observed in (ASLEEP, starting(), crashing(), ASLEEP):
        story.then(observed)
    assert story.then(replace(ASLEEP, workload=workload(suspend=True), wanted=0, scaler=None)).state is State.STOPPED
    assert story.then(ASLEEP).state is State.RUNNING


def test_a_version_that_is_put_right_is_not_blamed_for_the_last_one() -> None:
    """The verdict on a new generation would be read as the new version's failure; nor does it stick to the version before."""
    story = Story(dict(PROVEN))
    for observed in (ASLEEP, starting(), crashing(), ASLEEP):
        story.then(observed)
    changed = story.then(replace(ASLEEP, user_template="new"))
    assert (changed.state, "boom" in str(changed.status)) == (State.SUBMITTED, False)
    story.then(replace(crashing(), user_template="new"))
    assert story.then(ASLEEP).state is State.RUNNING


def test_a_bad_version_that_was_taken_back_is_no_failed_wake() -> None:
    """It was started to show that it runs, and with the former version the minimum falls to zero again."""
    story = Story(dict(PROVEN))
    bad = replace(crashing(), user_template="bad", scaler=replace(READY, minimum=1))
    for observed in (ASLEEP, bad, replace(crashing(), scaler=replace(READY, minimum=1)), crashing()):
        story.then(observed)
    assert story.then(ASLEEP).state is State.RUNNING


def test_a_start_within_the_cooldown_of_the_proof_is_no_wake() -> None:
    """Its minimum is one, so the operator starts it; when the minimum falls, KEDA takes it to zero at its next look."""
    story = Story(dict(PROVEN))
    story.then(replace(ASLEEP, workload=workload(suspend=True), wanted=0, scaler=None))
    for observed in (replace(starting(), scaler=replace(READY, minimum=1)), starting()):
        story.then(observed)
    assert story.then(ASLEEP).state is State.RUNNING


def test_a_failed_wake_outlives_a_refusal_and_blames_what_failed() -> None:
    story = Story(dict(PROVEN))
    for observed in (ASLEEP, starting(), crashing(), ASLEEP):
        story.then(observed)
    message = story.status["message"]
    refused = story.then(replace(ASLEEP, user_template=None, refusal=Refusal(Reason.ARTIFACT_MISSING, "No such Artifact")))
    assert (refused.state, refused.message) == (State.ERRORED, "No such Artifact")
    assert story.then(ASLEEP).message == message


def test_what_the_deployment_says_of_pods_that_are_gone_is_no_trouble_at_zero() -> None:
    late = replace(ZERO, conditions={"Progressing": Condition("False", "ProgressDeadlineExceeded", "timed out")})
    assert Story(dict(PROVEN)).then(replace(ASLEEP, deployment=late)).state is State.RUNNING


def test_a_cause_of_any_length_fits_the_schema() -> None:
    story = Story(dict(PROVEN))
    story.then(ASLEEP)
    story.then(starting())
    story.status["message"] = "x" * 1024
    assert len(story.then(ASLEEP).status["lastWake"]["message"]) == 1024


def test_an_autoscaler_has_a_minute_after_each_wake() -> None:
    """However long it was running at zero before, without a pod to measure."""
    story = Story(dict(PROVEN))
    story.then(ASLEEP)
    story.now += timedelta(hours=1)
    blind = ScalerView("ScaledObject", Condition("False", "FailedGetExternalMetric", "no metrics returned"), minimum=0, ready=True)
    assert story.then(replace(serving(), scaler=blind)).message == "1 of 1 replicas ready"
    story.now += timedelta(minutes=2)
    assert story.then(replace(serving(), scaler=blind)).message == "1 of 1 replicas ready; no metrics returned"


def test_pods_that_go_keep_nothing_from_sleeping() -> None:
    going = pod_view(raw_pod(ready=True, terminating=True))
    outcome = Story(dict(PROVEN)).then(replace(ASLEEP, pods=(going,)))
    assert (outcome.state, outcome.at_zero) == (State.RUNNING, True)


def test_the_scaler_is_ready_at_zero_although_its_hpa_is_off() -> None:
    off = ScalerView("ScaledObject", Condition("False", "ScalingDisabled", "scaling is disabled"), minimum=0, ready=True)
    story = Story(dict(PROVEN))
    story.then(replace(ASLEEP, scaler=off))
    story.now += timedelta(minutes=5)
    outcome = story.then(replace(ASLEEP, scaler=off))
    assert next(c["status"] for c in outcome.status["conditions"] if c["type"] == "AutoscalerReady") == "True"
