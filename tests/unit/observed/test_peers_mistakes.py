"""What KServe 0.20 was measured to get wrong on real pods (2026-11-23), told rightly: one test for each."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from roadstead.observed import Observed, Outcome, observe
from roadstead.observed.hearing import heard_of
from roadstead.observed.views import Condition, pod_view
from tests.build import metadata, raw_pod, workload
from tests.support.kstatus import Kstatus, kstatus
from tests.unit.observed.test_causes import EXIT, OOM, waiting
from tests.unit.observed.test_hearing import KILL_LIVENESS, LIVENESS, READINESS
from tests.unit.observed.test_observe import BASE, NOW, ROLLED_OUT, STARTING, with_pods

Body = dict[str, Any]
OLD = raw_pod("chat-1", ready=True)
ROLLING = replace(ROLLED_OUT, replicas=2, updated=1, ready=1)
KILLED = {"exitCode": 137, "reason": "Error"}
BACK_OFF = waiting("CrashLoopBackOff")


def conditions(outcome: Outcome) -> dict[str, Body]:
    return {entry["type"]: entry for entry in outcome.status["conditions"]}


def starting(**pod: Any) -> Observed:
    return with_pods(raw_pod(**pod), deployment=STARTING)


def refused(words: str) -> Observed:
    return replace(BASE, deployment=replace(STARTING, conditions={"ReplicaFailure": Condition("True", "FailedCreate", words)}))


def kstatus_of(outcome: Outcome, generation: int = 1) -> Kstatus:
    return kstatus({"metadata": {"name": "chat", "generation": generation}, "status": outcome.status})


CAUSES = {
    "a normal start": starting(),
    "image not found": starting(state=waiting("ErrImagePull", "not found")),
    "crash": starting(state=BACK_OFF, last=EXIT, restarts=2),
    "out of memory": starting(state=BACK_OFF, last=OOM, restarts=2),
    "readiness": replace(starting(state={"running": {}}, started=True), heard={"uid-chat-1": heard_of([READINESS])}),
    "missing Secret": starting(state=waiting("CreateContainerConfigError", 'secret "k" not found')),
    "too many GPUs": replace(
        starting(unschedulable="0/1 nodes are available: 1 Insufficient nvidia.com/gpu."), gpu_missing="No node has 9"
    ),
    "node selector": starting(unschedulable="0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector."),
    "quota": refused("exceeded quota: small"),
    "Pod Security": refused("violates PodSecurity"),
    "liveness": replace(starting(state=BACK_OFF, last=KILLED, restarts=2), heard={"uid-chat-1": heard_of([LIVENESS, KILL_LIVENESS])}),
}


def test_no_two_causes_read_alike() -> None:
    """Seven of eleven had one text there, that of a normal start."""
    told = {name: observe(observed, {}, NOW) for name, observed in CAUSES.items()}
    assert len({outcome.message for outcome in told.values()}) == len(CAUSES)
    assert len({conditions(outcome)["Ready"]["reason"] for outcome in told.values()}) == len(CAUSES)


@pytest.mark.parametrize("name", [name for name in CAUSES if name != "a normal start"])
def test_a_bad_new_version_is_never_green(name: str) -> None:
    """Ready stays true while the old pod serves, but nobody calls it rolled out: before the deadline, and after it."""
    bad = CAUSES[name]
    moved = tuple(replace(pod, name="chat-2", template_hash="new") for pod in bad.pods)
    failures = dict(bad.deployment.conditions) if bad.deployment else {}
    late = {"Progressing": Condition("False", "ProgressDeadlineExceeded", "timed out")}
    for extra in ({}, late):
        deployment = replace(ROLLING, conditions=failures | extra)
        outcome = observe(replace(bad, pods=(pod_view(OLD), *moved), deployment=deployment), {}, NOW)
        found = conditions(outcome)
        assert found["Ready"]["status"] == "True"
        assert found["Progressing"]["reason"] != "RolledOut"
        assert kstatus_of(outcome) in (Kstatus.IN_PROGRESS, Kstatus.FAILED)
        if extra:
            assert (found["Progressing"]["status"], kstatus_of(outcome)) == ("False", Kstatus.FAILED)


def test_a_normal_scale_up_does_not_touch_ready() -> None:
    before = observe(with_pods(OLD), {}, NOW)
    growing = replace(ROLLED_OUT, spec_replicas=2, replicas=2, updated=2)
    during = observe(with_pods(OLD, raw_pod("chat-2"), deployment=growing, wanted=2), before.status, NOW + timedelta(seconds=2))
    ready, since = conditions(during)["Ready"], conditions(before)["Ready"]["lastTransitionTime"]
    assert (ready["status"], ready["lastTransitionTime"], ready["reason"]) == ("True", since, "Running")


def test_an_edit_that_does_not_touch_the_pods_lets_a_wait_return() -> None:
    """The generation observed is the object's own, not that of the apps/v1 Deployment, which didn't move."""
    edited = workload(meta=metadata("chat", generation=7))
    outcome = observe(replace(with_pods(OLD), workload=edited), {}, NOW)
    assert outcome.status["observedGeneration"] == 7
    assert conditions(outcome)["Ready"]["observedGeneration"] == 7
    assert kstatus_of(outcome, generation=7) is Kstatus.CURRENT


@pytest.mark.parametrize("name", CAUSES)
def test_healed_it_shows_no_old_failure(name: str) -> None:
    failed = observe(CAUSES[name], {}, NOW)
    healed = observe(with_pods(OLD), failed.status, NOW + timedelta(minutes=5))
    fresh = observe(with_pods(OLD), {}, NOW + timedelta(minutes=5))
    times = {"lastTransitionTime", "when", "runningSince", "since"}
    assert without(healed.status, times) == without(fresh.status, times)


def without(value: Any, names: set[str]) -> Any:
    """The value without these fields, at any depth."""
    if isinstance(value, dict):
        return {name: without(below, names) for name, below in value.items() if name not in names}
    return [without(item, names) for item in value] if isinstance(value, list) else value


def test_a_normal_start_does_not_read_like_a_failure() -> None:
    looks = [
        replace(BASE, deployment=None),
        starting(node=None),
        starting(),
        starting(state={"running": {}}),
        starting(state={"running": {}}, started=True),
        with_pods(OLD),
    ]
    for observed in looks:
        outcome = observe(observed, {}, NOW)
        assert conditions(outcome)["Ready"]["reason"] in ("Submitted", "Initializing", "NotReady", "Running")
        assert "Stalled" not in conditions(outcome)
        assert not any(word in outcome.message.lower() for word in ("fail", "error", "unavailable"))


def test_liveness_kills_do_not_flap() -> None:
    """Running again, unready, killed, backing off: one state and one message, once it was found lasting."""
    heard = {"uid-chat-1": heard_of([LIVENESS, KILL_LIVENESS])}
    previous: Body = {}
    told = set()
    for restarts in range(2, 6):
        for state in (BACK_OFF, {"running": {}}, {"terminated": KILLED}):
            outcome = observe(replace(starting(state=state, last=KILLED, restarts=restarts), heard=heard), previous, NOW)
            previous = outcome.status
            told.add((outcome.state, outcome.message))
    assert len(told) == 1
