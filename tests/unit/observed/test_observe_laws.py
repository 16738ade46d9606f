"""Laws of the state machine, for anything that kubelets, schedulers and controllers may write, in any order."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from roadstead.api.conditions import State
from roadstead.controller.contention import deleter_of, rival_of
from roadstead.observed import Observed, Outcome, observe
from roadstead.observed.hearing import Kill, heard_of
from roadstead.observed.views import Condition, pod_view
from tests.build import raw_pod, workload
from tests.unit.observed.test_hearing import KILL_LIVENESS, KILL_STARTUP, LIVENESS, MOUNT, READINESS, STARTUP
from tests.unit.observed.test_observe import BASE, MISSING, NOW, PULL, ROLLED_OUT
from tests.unit.observed.test_wake import ASLEEP, DOWN, PROVEN

Body = dict[str, Any]
TIMES = st.integers(0, 3600).map(lambda seconds: (NOW - timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ"))
LONG = "x" * 5000


def ended(code: int, reason: str, message: str, began: str) -> Body:
    return {"exitCode": code, "reason": reason, "message": message, "startedAt": began, "finishedAt": NOW.strftime("%Y-%m-%dT%H:%M:%SZ")}


ENDS = st.builds(
    ended,
    st.sampled_from([0, 1, 128, 137, 143]),
    st.sampled_from(["Error", "Completed", "OOMKilled", "StartError", "ContainerCannotRun"]),
    st.sampled_from(["", "boom", "12:00:07 boom\nat line 3", LONG]),
    TIMES,
)
WAITS = st.builds(
    lambda reason, message: {"waiting": {"reason": reason, "message": message}},
    st.sampled_from(
        [
            *("ContainerCreating", "PodInitializing", "CrashLoopBackOff", "ErrImagePull", "ImagePullBackOff", "InvalidImageName"),
            *("RegistryUnavailable", "CreateContainerConfigError", "CreateContainerError", "RunContainerError"),
        ]
    ),
    st.sampled_from(["", PULL, "not found", "pull access denied", "container has runAsNonRoot and image will run as root", LONG]),
)
STATES = st.none() | WAITS | ENDS.map(lambda end: {"terminated": end}) | TIMES.map(lambda at: {"running": {"startedAt": at}})
DISRUPTIONS = st.none() | st.sampled_from(
    ["PreemptionByScheduler", "TerminationByKubelet", "EvictionByEvictionAPI", "DeletionByTaintManager", "DeletionByPodGC"]
)


@st.composite
def pods(draw: st.DrawFn) -> Body:
    """One pod as its kubelet may have left it: a ready one runs, one without a node has no containers."""
    phase = draw(st.sampled_from(["Pending", "Running", "Failed", "Succeeded"]))
    ready = phase == "Running" and draw(st.booleans())
    pod = raw_pod(
        draw(st.sampled_from(["chat-1", "chat-2", "chat-3", "chat-4"])),
        node=draw(st.sampled_from([None, "node-1", "node-2"])) if phase == "Pending" else "node-1",
        ready=ready,
        state=None if ready else draw(STATES),
        last=draw(st.none() | ENDS),
        restarts=draw(st.integers(0, 200)),
        started=draw(st.booleans()),
        terminating=draw(st.booleans()),
        unschedulable=draw(st.none() | st.sampled_from(["0/1 nodes are available: 1 Insufficient cpu.", LONG]))
        if phase == "Pending"
        else None,
        phase=phase,
    )
    pod["metadata"]["creationTimestamp"] = draw(TIMES)
    pod["metadata"]["labels"]["pod-template-hash"] = draw(st.sampled_from(["old", "new"]))
    conditions: list[Body] = pod["status"]["conditions"]
    conditions[0]["lastTransitionTime"] = draw(TIMES)
    if pod["spec"].get("nodeName"):
        conditions.append({"type": "PodScheduled", "status": "True", "lastTransitionTime": draw(TIMES)})
    if (sandboxed := draw(st.sampled_from([None, "True", "False"]))) is not None:
        conditions.append({"type": "PodReadyToStartContainers", "status": sandboxed})
    if (reason := draw(DISRUPTIONS)) is not None:
        conditions.append({"type": "DisruptionTarget", "status": "True", "reason": reason, "message": draw(st.sampled_from(["", LONG]))})
    if phase == "Failed":
        pod["status"] |= {"reason": draw(st.sampled_from(["", "Evicted", "Preempting", "OutOfcpu", "NodeAffinity"])), "message": "words"}
    return pod


DEPLOYMENTS = st.builds(
    lambda spec, replicas, ready, updated, current, conditions: replace(
        ROLLED_OUT, spec_replicas=spec, replicas=replicas, ready=ready, updated=updated, current=current, conditions=conditions
    ),
    *(st.integers(0, 3) for _ in range(4)),
    st.booleans(),
    st.fixed_dictionaries(
        {},
        optional={
            "ReplicaFailure": st.sampled_from(["exceeded quota: small", 'pods "chat-x" is forbidden: no', LONG]).map(
                lambda words: Condition("True", "FailedCreate", words)
            ),
            "Progressing": st.just(Condition("False", "ProgressDeadlineExceeded", "timed out")),
        },
    ),
)
EVENTS = st.lists(st.sampled_from([READINESS, STARTUP, LIVENESS, KILL_LIVENESS, KILL_STARTUP, MOUNT]), max_size=3)


@st.composite
def worlds(draw: st.DrawFn) -> Observed:
    """One moment of a Workload's life."""
    found = {pod["metadata"]["name"]: pod_view(pod) for pod in draw(st.lists(pods(), max_size=4))}
    return replace(
        BASE,
        workload=workload(suspend=draw(st.sampled_from([False, False, True]))),
        deployment=draw(st.none() | DEPLOYMENTS),
        pods=tuple(found.values()),
        wanted=draw(st.sampled_from([None, 0, 1, 3])),
        refusal=draw(st.sampled_from([None, None, MISSING])),
        scaler=draw(st.sampled_from([None, ASLEEP.scaler, DOWN])),
        user_template=draw(st.sampled_from(["u", "u", "new"])),
        gateway_serving=draw(st.booleans()),
        pending=draw(st.sampled_from([None, "a platform change waits"])),
        conflict=draw(st.sampled_from([None, rival_of([("kubectl", "/spec/a")], "Deployment chat"), deleter_of("Deployment chat")])),
        lost_nodes=draw(st.sampled_from([frozenset(), frozenset({"node-1"})])),
        heard={pod.uid: heard_of(draw(EVENTS)) for pod in found.values()},
        kills={
            pod.uid: Kill("main", draw(st.sampled_from(["startup", "liveness"])), draw(TIMES))
            for pod in found.values()
            if draw(st.booleans())
        },
    )


def conditions(outcome: Outcome) -> dict[str, Body]:
    return {entry["type"]: entry for entry in outcome.status["conditions"]}


@given(worlds(), st.sampled_from([{}, PROVEN]))
def test_laws_of_one_moment(observed: Observed, previous: Body) -> None:
    outcome = observe(observed, previous, NOW)
    found, state = conditions(outcome), outcome.state
    suspended = observed.workload.spec.suspend
    alive = [pod for pod in observed.pods if pod.alive]
    left = [pod for pod in observed.pods if not pod.finished]
    assert observe(observed, previous, NOW) == outcome, "deterministic"
    assert (state in (State.STOPPED, State.STOPPING)) == bool(suspended)
    if suspended:
        assert (state is State.STOPPING) == bool(left), "finished pods keep nothing stopping"
    else:
        asleep = outcome.at_zero and bool(previous) and observed.gateway_serving and observed.scaler == ASLEEP.scaler
        sure = asleep and observed.user_template == "u" and observed.refusal is None
        assert (state is State.RUNNING) == (any(pod.ready for pod in alive) or sure), "running means that requests are answered"
    if state is State.SUBMITTED:
        assert not any(pod.node for pod in alive), "with a node it is initializing"
    if state is State.ERRORED:
        assert found["Stalled"]["reason"] == found["Ready"]["reason"]
    if state is State.RUNNING:
        assert outcome.at_zero or f"{outcome.status['readyReplicas']} of " in outcome.message, "it says how many serve"
    assert not {"Stalled", "Reconciling"} <= set(found)
    assert 0 < len(outcome.message) <= 1024
    assert all(len(entry["message"]) <= 4096 and entry["reason"].isalnum() for entry in found.values())
    assert all(entry["message"] for name, entry in found.items() if (name, entry["status"]) != ("AutoscalerReady", "True"))
    assert ("logTail" in outcome.status) <= (state is State.ERRORED)
    assert outcome.look_again_seconds is None or outcome.look_again_seconds >= 0


@given(worlds())
def test_said_again_it_is_the_same_until_a_deadline_passes(observed: Observed) -> None:
    """A look without news writes nothing: not at once, not after a restart of the operator, and not before what it said it waits for."""
    outcome = observe(observed, {}, NOW)
    again = observe(observed, outcome.status, NOW)
    assert again.status["conditions"] == outcome.status["conditions"]
    settled = observe(observed, again.status, NOW)
    assert settled.status == again.status
    wait = settled.look_again_seconds
    later = NOW + timedelta(seconds=30 if wait is None else min(wait, 30) * 0.99)
    assert observe(observed, settled.status, later).status == settled.status


@given(worlds(), worlds())
def test_one_moment_after_another(first: Observed, then: Observed) -> None:
    """Whatever was said before: what is ready runs, and what is lasting by itself stays so."""
    before = observe(first, {}, NOW)
    fresh, after = observe(then, {}, NOW), observe(then, before.status, NOW + timedelta(seconds=1))
    if not after.at_zero:
        assert (after.state is State.RUNNING) == (fresh.state is State.RUNNING)
    if fresh.state is State.ERRORED:
        assert after.state is State.ERRORED
    if after.state is State.ERRORED and fresh.state is not State.ERRORED:
        held = "Stalled" in conditions(before) or "lastWake" in before.status
        assert held, "only what was found lasting before is held on to, and a wake that failed"


@given(st.lists(worlds(), max_size=8))
def test_a_wake_fails_only_where_one_began_and_no_pod_was_ready(moments: list[Observed]) -> None:
    status: Body = dict(PROVEN)
    tried = False  # since a pod was ready, or it was stopped, or another version was declared
    for at, moment in enumerate(moments):
        outcome = observe(moment, status, NOW + timedelta(minutes=at))
        alive = [pod for pod in moment.pods if pod.alive]
        scaled = moment.deployment is not None and moment.wanted is None
        other = outcome.status.get("proven", {}).get("template") != moment.user_template
        if any(pod.ready for pod in alive) or not scaled or other:
            tried = False
            assert "lastWake" not in outcome.status
        elif moment.deployment is not None and moment.deployment.spec_replicas > 0:
            tried = tried or (status.get("scaler") or {}).get("replicas") == 0
        failed = outcome.status.get("lastWake", {}).get("succeeded") is False
        assert not failed or tried
        if failed and outcome.at_zero and moment.refusal is None and not moment.workload.spec.suspend:
            assert (outcome.state, conditions(outcome)["Stalled"]["reason"]) == (State.ERRORED, "WakeFailed")
        status = outcome.status
