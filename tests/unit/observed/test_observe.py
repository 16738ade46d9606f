"""The state machine: tables of what is there against what the status says, and laws that hold for anything a kubelet may write."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadstead.api.conditions import State
from roadstead.errors import Reason, Refusal
from roadstead.observed import DeploymentView, Observed, Outcome, observe
from roadstead.observed.hearing import Kill
from roadstead.observed.scaler import ScalerView
from roadstead.observed.views import Condition, pod_view
from tests.build import artifact, raw_pod, workload

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
ROLLED_OUT = DeploymentView("uid", "uid-chat", "d", "h", (), "t", "u", 1, True, 1, 1, 1, 1, {})
STARTING = replace(ROLLED_OUT, ready=0, available=0)
BASE = Observed(workload(), artifact(), "digest", user_template="u", template="t", wanted=1, deployment=ROLLED_OUT)
CRASH = {"exitCode": 3, "reason": "Error", "message": "boom"}
BACK_OFF = {"waiting": {"reason": "CrashLoopBackOff"}}
MISSING = Refusal(Reason.ARTIFACT_MISSING, 'Artifact "model" does not exist')


def seen(observed: Observed, previous: dict[str, Any] | None = None, now: datetime = NOW) -> Outcome:
    return observe(observed, previous or {}, now)


def conditions(outcome: Outcome) -> dict[str, tuple[str, str]]:
    return {c["type"]: (c["status"], c["reason"]) for c in outcome.status["conditions"]}


def with_pods(*pods: dict[str, Any], **changes: Any) -> Observed:
    return replace(BASE, pods=tuple(map(pod_view, pods)), **changes)


@pytest.mark.parametrize(
    ("observed", "state"),
    [
        pytest.param(replace(BASE, deployment=None), State.SUBMITTED, id="nothing there yet"),
        pytest.param(with_pods(raw_pod(node=None), deployment=STARTING), State.SUBMITTED, id="no node yet"),
        pytest.param(with_pods(raw_pod(unschedulable="no room"), deployment=STARTING), State.SUBMITTED, id="unschedulable"),
        pytest.param(with_pods(raw_pod(), deployment=STARTING), State.INITIALIZING, id="starting"),
        pytest.param(with_pods(raw_pod(ready=True)), State.RUNNING, id="ready"),
        pytest.param(with_pods(raw_pod(state=BACK_OFF, last=CRASH, restarts=1), deployment=STARTING), State.INITIALIZING, id="first crash"),
        pytest.param(with_pods(raw_pod(state=BACK_OFF, last=CRASH, restarts=2), deployment=STARTING), State.ERRORED, id="crash loop"),
        pytest.param(replace(BASE, deployment=None, refusal=MISSING), State.ERRORED, id="artifact missing"),
        pytest.param(with_pods(raw_pod(ready=True), refusal=MISSING), State.RUNNING, id="artifact missing, pods serve"),
        pytest.param(with_pods(raw_pod(ready=True), workload=workload(suspend=True)), State.STOPPING, id="stopping"),
        pytest.param(replace(BASE, workload=workload(suspend=True)), State.STOPPED, id="stopped"),
        pytest.param(with_pods(raw_pod(ready=True, terminating=True), deployment=STARTING), State.SUBMITTED, id="only a terminating pod"),
    ],
)
def test_state(observed: Observed, state: State) -> None:
    assert seen(observed).state is state


def test_a_scaler_in_trouble_is_said_while_pods_serve() -> None:
    scaler = ScalerView("HorizontalPodAutoscaler", Condition("False", "FailedGetResourceMetric", "no metrics API"))
    serving = with_pods(raw_pod(ready=True), scaler=scaler, wanted=None)
    early = seen(serving)
    assert early.message == "1 of 1 replicas ready"
    later = seen(serving, early.status, NOW + timedelta(minutes=2))
    assert later.message == "1 of 1 replicas ready; no metrics API"
    assert later.state is State.RUNNING
    missing = replace(serving, scaler=ScalerView("ScaledObject", None, missing=True), wanted=1)
    assert seen(missing).message.startswith("1 of 1 replicas ready; Scaling on HTTP requests needs KEDA")


def test_a_bad_new_version_is_running_but_not_progressing() -> None:
    rolling = replace(ROLLED_OUT, replicas=2, updated=1, ready=1)
    bad = raw_pod("chat-2", state=BACK_OFF, last=CRASH, restarts=3)
    outcome = seen(with_pods(raw_pod(ready=True), bad, deployment=rolling))
    found = conditions(outcome)
    assert outcome.state is State.RUNNING
    assert (found["Ready"][0], found["Progressing"], found["Stalled"][0]) == ("True", ("False", "Crashed"), "True")
    assert outcome.message.startswith("1 of 1 replicas ready; Pod chat-2, container main: exited with code 3")


def test_a_normal_scale_up_does_not_touch_ready() -> None:
    growing = replace(ROLLED_OUT, spec_replicas=3, replicas=3, updated=3)
    outcome = seen(with_pods(raw_pod(ready=True), raw_pod("chat-2"), raw_pod("chat-3"), deployment=growing, wanted=3))
    assert conditions(outcome)["Ready"][0] == "True"
    assert outcome.message == "1 of 3 replicas ready"


def test_an_autoscalers_step_is_no_reconciliation() -> None:
    growing = replace(ROLLED_OUT, spec_replicas=3, replicas=3, updated=3)
    outcome = seen(with_pods(raw_pod(ready=True), raw_pod("chat-2"), deployment=growing, wanted=None))
    assert "Reconciling" not in conditions(outcome)


def test_stopped_after_a_failure_it_still_shows_the_log_and_started_again_no_more() -> None:
    failed = seen(with_pods(raw_pod(state=BACK_OFF, last=CRASH, restarts=2), deployment=STARTING))
    stopped = seen(replace(BASE, workload=workload(suspend=True)), failed.status)
    assert (stopped.state, stopped.status["logTail"]) == (State.STOPPED, ["boom"])
    assert "logTail" not in seen(with_pods(raw_pod(ready=True)), stopped.status).status


def test_healed_it_shows_no_old_failure() -> None:
    failed = seen(with_pods(raw_pod(state=BACK_OFF, last=CRASH, restarts=2), deployment=STARTING))
    assert failed.status["logTail"] == ["boom"]
    healed = seen(with_pods(raw_pod(ready=True)), failed.status)
    assert "logTail" not in healed.status
    assert "Stalled" not in conditions(healed)
    assert "boom" not in str(healed.status)


def test_running_since_and_transition_times_outlive_an_operator_restart() -> None:
    first = seen(with_pods(raw_pod(ready=True)))
    later = seen(with_pods(raw_pod(ready=True)), first.status, NOW + timedelta(hours=5))
    assert later.status == first.status


def test_proof_belongs_to_the_user_template() -> None:
    proven = seen(with_pods(raw_pod(ready=True))).status["proven"]
    assert proven["template"] == "u"
    assert seen(replace(BASE, deployment=None), {"proven": proven}).status["proven"] == proven
    assert seen(with_pods(raw_pod(), deployment=STARTING, user_template="u2"), {"proven": proven}).status["proven"] == proven


def test_a_quota_refusal_stays_submitted_with_its_own_words() -> None:
    refused = replace(STARTING, conditions={"ReplicaFailure": Condition("True", "FailedCreate", "exceeded quota: small")})
    outcome = seen(replace(BASE, deployment=refused))
    assert (outcome.state, "exceeded quota: small" in outcome.message) == (State.SUBMITTED, True)


def test_at_zero_it_does_not_claim_to_run_nor_to_be_reconciling() -> None:
    """Running at zero needs a gateway that is sure to wake it; until one serves, nobody could be answered."""
    zero = replace(ROLLED_OUT, spec_replicas=0, replicas=0, ready=0, updated=0, available=0)
    outcome = seen(replace(BASE, deployment=zero, wanted=None))
    found = conditions(outcome)
    assert outcome.state is State.SUBMITTED
    assert (found["Ready"], "Reconciling" in found, "Stalled" in found) == (("False", "ScaledToZero"), False, False)


EVICTED = {"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory."}


def finished(name: str = "chat-0", **status: Any) -> dict[str, Any]:
    """A pod that is over, as the kubelet leaves it."""
    pod = raw_pod(name)
    pod["metadata"]["creationTimestamp"] = "2026-11-25T11:00:00Z"
    pod["status"] |= EVICTED | status
    return pod


def test_a_finished_pod_is_no_pod() -> None:
    """Evicted pods stay as records for as long as nobody deletes them."""
    stopped = seen(with_pods(finished(), finished("chat-9", phase="Succeeded"), workload=workload(suspend=True)))
    assert stopped.state is State.STOPPED
    outcome = seen(with_pods(finished(), deployment=STARTING))
    assert outcome.state is State.SUBMITTED
    assert "Scheduled" not in conditions(outcome)
    assert "replicasDetail" not in outcome.status
    zero = replace(ROLLED_OUT, spec_replicas=0, replicas=0, ready=0, updated=0, available=0)
    assert conditions(seen(with_pods(finished(), deployment=zero, wanted=None)))["Ready"][1] == "ScaledToZero"


def test_an_eviction_is_named_until_its_replacement_is_ready() -> None:
    starts = raw_pod(state={"running": {}}, started=True)
    outcome = seen(with_pods(finished(), starts, deployment=STARTING))
    assert (outcome.state, conditions(outcome)["Ready"][1]) == (State.INITIALIZING, "Evicted")
    assert "low on resource: memory" in outcome.message
    assert seen(with_pods(finished(), raw_pod(ready=True))).message == "1 of 1 replicas ready"


def test_a_finished_pod_holds_no_surge() -> None:
    waits = raw_pod("chat-2", unschedulable="0/1 nodes are available: 1 Insufficient nvidia.com/gpu.")
    waits["metadata"]["labels"]["pod-template-hash"] = "new"
    outcome = seen(with_pods(finished(), waits, deployment=STARTING), now=NOW + timedelta(hours=1))
    assert "inPlaceRevision" not in outcome.status


def test_a_replacement_in_place_outlives_a_pending_change_of_platform() -> None:
    old, waits = raw_pod("chat-1", ready=True), raw_pod("chat-2", unschedulable="0/1 nodes are available: 1 Insufficient nvidia.com/gpu.")
    waits["metadata"]["labels"]["pod-template-hash"] = "new"
    rolling = replace(ROLLED_OUT, replicas=2, updated=1)
    later = NOW + timedelta(hours=1)
    decided = seen(with_pods(old, waits, deployment=rolling), now=later)
    assert (decided.status["inPlaceRevision"], decided.look_again_seconds) == ("t", 0.0)
    moving = with_pods(old, deployment=rolling, template="t-of-another-platform")
    assert seen(moving, decided.status, later).status["inPlaceRevision"] == "t"
    without_room = with_pods(old, waits, deployment=rolling, template="t-of-another-platform")
    assert seen(without_room, decided.status, later).status["inPlaceRevision"] == "t-of-another-platform"
    over = replace(BASE, template="t2", deployment=replace(ROLLED_OUT, template="t2"))
    assert "inPlaceRevision" not in seen(over, decided.status, later).status


def test_the_details_of_replicas_are_bounded() -> None:
    assert len(seen(with_pods(*(raw_pod(f"chat-{number}") for number in range(200)))).status["replicasDetail"]) == 10


STATES = st.sampled_from([None, {"running": {}}, BACK_OFF, {"terminated": CRASH}, {"waiting": {"reason": "ErrImagePull", "message": "x"}}])
PODS = st.builds(
    raw_pod,
    name=st.sampled_from(["chat-1", "chat-2", "chat-3"]),
    node=st.sampled_from([None, "node-1"]),
    ready=st.booleans(),
    state=STATES,
    last=st.sampled_from([None, CRASH]),
    restarts=st.integers(0, 5),
    terminating=st.booleans(),
    unschedulable=st.sampled_from([None, "0/1 nodes are available: Insufficient nvidia.com/gpu"]),
    phase=st.sampled_from(["Pending", "Running", "Failed", "Succeeded"]),
)
DEPLOYMENTS = st.builds(
    lambda spec, replicas, ready, updated, current: replace(
        ROLLED_OUT, spec_replicas=spec, replicas=replicas, ready=ready, updated=updated, current=current
    ),
    *(st.integers(0, 3) for _ in range(4)),
    st.booleans(),
)
WORLDS = st.builds(
    lambda deployment, pods, suspend, refusal: replace(
        BASE,
        workload=workload(suspend=suspend),
        deployment=deployment,
        pods=tuple({pod["metadata"]["name"]: pod_view(pod) for pod in pods}.values()),
        refusal=refusal,
    ),
    st.none() | DEPLOYMENTS,
    st.lists(PODS, max_size=3),
    st.booleans(),
    st.sampled_from([None, MISSING]),
)


@given(WORLDS)
def test_laws(observed: Observed) -> None:
    outcome = seen(observed)
    found = conditions(outcome)
    ready = any(pod.ready and not pod.terminating for pod in observed.pods)
    assert seen(observed).status == outcome.status, "deterministic"
    assert seen(observed, outcome.status, NOW + timedelta(seconds=29)).status["conditions"] == outcome.status["conditions"], (
        "at rest nothing moves"
    )
    assert (outcome.state is State.RUNNING) == (ready and not observed.workload.spec.suspend)
    assert (found.get("Ready", ("False",))[0] == "True") == (outcome.state is State.RUNNING)
    assert ("Ready" in found) == (outcome.state is not State.STOPPED)
    assert not ("Stalled" in found and "Reconciling" in found)
    assert all(c["message"] is not None and c["reason"] for c in outcome.status["conditions"])
    assert outcome.status["observedGeneration"] == 1
    if outcome.state is State.ERRORED:
        assert "Stalled" in found
        assert outcome.message


PULL = 'failed to pull and unpack image "r.test/x": failed to do request: Head "https://r.test/v2/": dial tcp 10.0.0.9:443: i/o timeout'
TRIES = [
    {"waiting": {"reason": "ErrImagePull", "message": PULL}},
    {"waiting": {"reason": "ImagePullBackOff", "message": f'Back-off pulling image "r.test/x": ErrImagePull: {PULL}'}},
    {"waiting": {"reason": "ErrImagePull", "message": PULL.replace(".9:", ".10:")}},
    {"waiting": {"reason": "ImagePullBackOff", "message": f'Back-off pulling image "r.test/x": ErrImagePull: {PULL}'}},
]


def told(outcomes: list[Outcome]) -> int:
    """How often the status would have been written."""
    return sum(one.status != other.status for one, other in pairwise(outcomes))


def looked_at(states: list[dict[str, Any]], step: timedelta, **pod: Any) -> list[Outcome]:
    """One look after the other, as the operator takes them."""
    outcomes: list[Outcome] = []
    for number, state in enumerate(states):
        before = outcomes[-1] if outcomes else None
        restarts = {name: value[number] for name, value in pod.items() if isinstance(value, list)}
        observed = with_pods(raw_pod(state=state, **(pod | restarts)), deployment=STARTING)
        outcomes.append(seen(observed, before.status if before else None, NOW + number * step))
    return outcomes


def test_an_unreachable_registry_is_one_story_and_errored_after_two_back_offs() -> None:
    outcomes = looked_at(TRIES * 5, timedelta(seconds=11))
    assert [outcome.state for outcome in outcomes[:4]] == [State.INITIALIZING] * 3 + [State.ERRORED]
    assert {outcome.state for outcome in outcomes[3:]} == {State.ERRORED}
    assert {conditions(outcome)["Ready"][1] for outcome in outcomes} == {"ImagePullFailed"}
    assert told(outcomes) == 1
    assert outcomes[0].look_again_seconds == 30


def test_a_registry_found_unreachable_stays_so_after_an_operator_restart() -> None:
    lasting = looked_at(TRIES, timedelta(seconds=11))[-1]
    again = seen(with_pods(raw_pod(state=TRIES[0]), deployment=STARTING), lasting.status, NOW + timedelta(hours=1))
    assert again.state is State.ERRORED
    other = raw_pod("chat-2", state=TRIES[0])
    other["metadata"] |= {"labels": {"pod-template-hash": "new"}, "creationTimestamp": "2026-11-25T12:30:00Z"}
    assert seen(with_pods(other, deployment=STARTING), lasting.status, NOW + timedelta(hours=1)).state is State.INITIALIZING


def test_a_kill_of_what_serves_is_in_the_message_and_nowhere_else() -> None:
    """It is restarted by itself: nothing is false, nothing stalls, and the sentence goes with the container."""
    pod = raw_pod(ready=True, state={"running": {"startedAt": "2026-11-25T11:00:00Z"}})
    kills = {"uid-chat-1": Kill("main", "liveness", "2026-11-25T11:59:58Z")}
    outcome = seen(with_pods(pod, kills=kills))
    assert outcome.message.startswith("1 of 1 replicas ready; Pod chat-1, container main: restarted since its liveness probe failed")
    assert outcome.doubt is not None
    quiet = seen(with_pods(pod))
    assert quiet.doubt is None
    assert conditions(outcome) == conditions(quiet)
    pod["status"]["containerStatuses"][0]["state"] = {"running": {"startedAt": "2026-11-25T11:59:59Z"}}
    assert seen(with_pods(pod, kills=kills), outcome.status).message == "1 of 1 replicas ready"


def test_an_operator_restart_does_not_begin_the_wait_for_a_registry_anew() -> None:
    """The status remembers since when; another pod's wait is its own, and a pull that works ends it."""
    first = seen(with_pods(raw_pod(state=TRIES[0]), deployment=STARTING))
    assert (first.state, first.status["pullFailingSince"]) == (State.INITIALIZING, "2026-11-25T12:00:00Z")
    assert seen(with_pods(raw_pod(state=TRIES[1]), deployment=STARTING), first.status, NOW + timedelta(seconds=29)).status == first.status
    later = NOW + timedelta(seconds=30)
    assert seen(with_pods(raw_pod(state=TRIES[1]), deployment=STARTING), first.status, later).state is State.ERRORED
    other = raw_pod("chat-2", state=TRIES[0])
    other["metadata"]["creationTimestamp"] = "2026-11-25T12:00:10Z"
    anew = seen(with_pods(other, deployment=STARTING), first.status, later)
    assert (anew.state, anew.status["pullFailingSince"]) == (State.INITIALIZING, "2026-11-25T12:00:30Z")
    ahead = seen(with_pods(other, deployment=STARTING))
    assert ahead.status["pullFailingSince"] == "2026-11-25T12:00:10Z", "by a clock ahead of ours"
    assert seen(with_pods(other, deployment=STARTING), ahead.status, NOW + timedelta(seconds=1)).status == ahead.status
    assert "pullFailingSince" not in seen(with_pods(raw_pod(), deployment=STARTING), first.status, later).status


def test_a_crash_loop_is_written_a_few_times_only() -> None:
    """Running, terminated, backing off, once a minute for hours: neither the count nor a time stamp in the log makes news of it."""

    def crash(number: int) -> dict[str, Any]:
        return CRASH | {"message": f"12:{number:02d}:07 boom"}

    states: list[dict[str, Any]] = [{"running": {}}]
    last: list[dict[str, Any] | None] = [None]
    restarts = [0]
    for number in range(60):
        states += [{"terminated": crash(number)}, BACK_OFF, {"running": {}}]
        last += [crash(number - 1) if number else None, crash(number), crash(number)]
        restarts += [number, number, number + 1]
    outcomes = looked_at(states, timedelta(seconds=20), last=last, restarts=restarts)
    assert [outcome.state for outcome in outcomes[8:]] == [State.ERRORED] * len(outcomes[8:])
    assert told(outcomes) <= 15
    assert told(outcomes[-90:]) <= 1


def test_a_single_crash_after_long_service_is_not_a_crash_loop() -> None:
    """The kubelet's count of restarts never goes back."""
    long = CRASH | {"startedAt": "2026-11-24T12:00:00Z", "finishedAt": "2026-11-25T12:00:00Z"}
    short = CRASH | {"startedAt": "2026-11-25T12:00:00Z", "finishedAt": "2026-11-25T12:00:09Z"}
    states = [seen(with_pods(raw_pod(state=BACK_OFF, last=last, restarts=7), deployment=STARTING)).state for last in (long, short)]
    assert states == [State.INITIALIZING, State.ERRORED]


def test_a_scheduler_that_counts_again_makes_no_news() -> None:
    """Nodes come and go while a pod waits: the same reasons with other numbers are no change that a person could use."""
    looks: list[Outcome] = []
    for nodes in (3, 4, 5, 4):
        waits = raw_pod(unschedulable=f"0/{nodes} nodes are available: {nodes} Insufficient cpu.")
        looks.append(seen(with_pods(waits, deployment=STARTING), looks[-1].status if looks else None))
    assert told(looks) == 0
    other = with_pods(raw_pod(unschedulable="0/3 nodes are available: 3 Insufficient memory."), deployment=STARTING)
    assert "memory" in seen(other, looks[-1].status).message
