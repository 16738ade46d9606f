"""Causes, from pods as real kubelets write them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from roadstead.observed.cause import Scene
from roadstead.observed.causes import find_cause
from roadstead.observed.views import Condition, DeploymentView, pod_view
from tests.build import raw_pod


def waiting(reason: str, message: str = "") -> dict[str, Any]:
    return {"waiting": {"reason": reason, "message": message}}


NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
SCENE = Scene(NOW)
EXIT = {"exitCode": 3, "reason": "Error", "message": "loading\nboom: no such model"}
ROOT = "container has runAsNonRoot and image will run as root"
EXEC = 'exec: "nope": executable file not found in $PATH'
START = (
    "failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create failed: "
    f"unable to start container process: error during container init: {EXEC}"
)
OOM = {"exitCode": 137, "reason": "OOMKilled", "message": ""}


@pytest.mark.parametrize(
    ("pod", "reason", "lasting", "says"),
    [
        pytest.param(
            raw_pod(state=waiting("ErrImagePull", 'image "x": not found')), "ImageNotFound", True, "correct imageUri", id="not found"
        ),
        pytest.param(
            raw_pod(state=waiting("ErrImagePull", "pull access denied")), "ImagePullDenied", True, "imagePullSecrets", id="denied"
        ),
        pytest.param(raw_pod(state=waiting("ErrImagePull", "connection refused")), "ImagePullFailed", False, "refused", id="unreachable"),
        pytest.param(raw_pod(state=waiting("ImagePullBackOff", "connection refused")), "ImagePullFailed", False, "refused", id="backs off"),
        pytest.param(raw_pod(state=waiting("InvalidImageName", "bad")), "InvalidImageName", True, "correct imageUri", id="bad name"),
        pytest.param(
            raw_pod(state=waiting("CreateContainerConfigError", 'secret "k" not found')),
            "CreateContainerConfigError",
            True,
            'secret "k"',
            id="missing secret",
        ),
        pytest.param(
            raw_pod(state=waiting("CreateContainerConfigError", "couldn't find key b in Secret team/k")),
            "CreateContainerConfigError",
            True,
            "add the key",
            id="missing key",
        ),
        pytest.param(
            raw_pod(state=waiting("CreateContainerConfigError", f'{ROOT} (pod: "chat-1_team(uid)", container: main)')),
            "RunAsRoot",
            True,
            f"pods.runAsUser ({ROOT})",
            id="wants root",
        ),
        pytest.param(raw_pod(state=waiting("RunContainerError", START)), "StartError", True, f"entrypoint ({EXEC})", id="bad command"),
        pytest.param(
            raw_pod(state=waiting("CrashLoopBackOff"), last={"exitCode": 128, "reason": "StartError", "message": START}, restarts=1),
            "StartError",
            True,
            f"entrypoint ({EXEC})",
            id="bad command, backing off",
        ),
        pytest.param(raw_pod(state=waiting("CrashLoopBackOff"), last=EXIT, restarts=1), "Crashed", False, "code 3", id="first crash"),
        pytest.param(raw_pod(state=waiting("CrashLoopBackOff"), last=EXIT, restarts=2), "Crashed", True, "no such model", id="crash loop"),
        pytest.param(raw_pod(state=waiting("CrashLoopBackOff"), last=OOM, restarts=2), "OOMKilled", True, "memory", id="out of memory"),
        pytest.param(
            raw_pod(unschedulable="0/1 nodes: Insufficient nvidia.com/gpu"), "Unschedulable", False, "nvidia.com/gpu", id="no gpu"
        ),
        pytest.param(raw_pod(state={"running": {}}, started=True), "NotReady", False, "readiness", id="not ready"),
        pytest.param(raw_pod(state={"running": {}}), "NotReady", False, "startup", id="starting"),
    ],
)
def test_names_the_cause(pod: dict[str, Any], reason: str, lasting: bool, says: str) -> None:
    cause = find_cause(None, [pod_view(pod)], SCENE)
    assert cause is not None
    assert (cause.reason, cause.lasting) == (reason, lasting)
    assert says in cause.message


@pytest.mark.parametrize("pod", [raw_pod(ready=True), raw_pod(), raw_pod(state=waiting("CrashLoopBackOff"), last=EXIT, terminating=True)])
def test_nothing_is_wrong(pod: dict[str, Any]) -> None:
    assert find_cause(None, [pod_view(pod)], SCENE) is None


def deployment(**conditions: Condition) -> DeploymentView:
    return DeploymentView("uid", "owner", "d", "h", (), "t", "u", 1, True, 1, 0, 1, 0, conditions)


def test_a_quota_passes_by_itself_and_a_policy_does_not() -> None:
    quota = deployment(ReplicaFailure=Condition("True", "FailedCreate", 'pods "x" is forbidden: exceeded quota: small'))
    policy = deployment(ReplicaFailure=Condition("True", "FailedCreate", 'pods "x" is forbidden: violates PodSecurity'))
    assert [(c.reason, c.lasting) for d in (quota, policy) if (c := find_cause(d, [], SCENE))] == [
        ("QuotaExceeded", False),
        ("PodRefused", True),
    ]


def test_the_deadline_makes_a_passing_cause_last() -> None:
    late = deployment(Progressing=Condition("False", "ProgressDeadlineExceeded", "timed out"))
    cause = find_cause(late, [pod_view(raw_pod(state={"running": {}}, started=True))], SCENE)
    assert cause is not None
    assert (cause.reason, cause.lasting) == ("NotReady", True)


ROOM = raw_pod("chat-2", unschedulable="0/1 nodes are available: 1 Insufficient cpu.")


@pytest.mark.parametrize(("pods", "lasting"), [([ROOM], False), ([ROOM, raw_pod(ready=True)], True)])
def test_want_of_room_fails_a_rollout_but_not_a_workload(pods: list[dict[str, Any]], lasting: bool) -> None:
    late = deployment(Progressing=Condition("False", "ProgressDeadlineExceeded", "timed out"))
    cause = find_cause(late, [pod_view(pod) for pod in pods], SCENE)
    assert cause is not None
    assert (cause.reason, cause.lasting) == ("Unschedulable", lasting)


def test_a_quota_is_waited_for_beyond_the_deadline() -> None:
    late = deployment(
        Progressing=Condition("False", "ProgressDeadlineExceeded", "timed out"),
        ReplicaFailure=Condition("True", "FailedCreate", 'pods "x" is forbidden: exceeded quota: small'),
    )
    cause = find_cause(late, [], SCENE)
    assert cause is not None
    assert (cause.reason, cause.lasting) == ("QuotaExceeded", False)


def disrupted(reason: str, message: str, **pod: Any) -> dict[str, Any]:
    raw = raw_pod("chat-0", **pod)
    raw["status"]["conditions"].append({"type": "DisruptionTarget", "status": "True", "reason": reason, "message": message})
    return raw


PREEMPTION = "default-scheduler: preempting to accommodate a higher priority pod"
HOMELESS = raw_pod(unschedulable="0/1 nodes are available: 1 Insufficient cpu.")


@pytest.mark.parametrize(
    ("pods", "lost", "reason", "says"),
    [
        pytest.param(
            [disrupted("PreemptionByScheduler", PREEMPTION, terminating=True, ready=True), HOMELESS], (), "Preempted", "Insufficient cpu"
        ),
        pytest.param([disrupted("EvictionByEvictionAPI", "Eviction API: evicting", terminating=True)], (), "Evicted", "evicting"),
        pytest.param([disrupted("TerminationByKubelet", "low on memory")], (), "Evicted", "node-1: low on memory"),
        pytest.param([raw_pod(state={"running": {}}, started=True)], ["node-1"], "NodeLost", "Node node-1"),
        pytest.param([raw_pod("chat-0", ready=True, terminating=True), HOMELESS], ["node-1"], "NodeLost", "Insufficient cpu"),
        pytest.param([HOMELESS], (), "Unschedulable", "lower resourceRequest or add nodes"),
        pytest.param(
            [raw_pod(unschedulable="0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector.")],
            (),
            "Unschedulable",
            "nodeSelector",
        ),
    ],
)
def test_what_befell_a_pod(pods: list[dict[str, Any]], lost: list[str], reason: str, says: str) -> None:
    cause = find_cause(None, map(pod_view, pods), Scene(NOW, frozenset(lost)))
    assert cause is not None
    assert (cause.reason, cause.lasting) == (reason, False)
    assert says in cause.message


def test_an_eviction_of_long_ago_explains_nothing() -> None:
    """The record of it stays; a replica that is added days later has no node for its own reasons."""
    old = raw_pod("chat-0")
    old["status"] |= {"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory."}
    old["status"]["conditions"] = [{"type": "Ready", "status": "False", "lastTransitionTime": "2026-11-20T12:00:00Z"}]
    cause = find_cause(None, [pod_view(old), pod_view(HOMELESS)], SCENE)
    assert cause is not None
    assert cause.reason == "Unschedulable"


def test_the_name_of_a_pod_that_was_never_made_is_left_out() -> None:
    quota = deployment(ReplicaFailure=Condition("True", "FailedCreate", 'pods "chat-7d-x2k9p" is forbidden: exceeded quota: small'))
    cause = find_cause(quota, [], SCENE)
    assert cause is not None
    assert cause.message == "Pods are refused: exceeded quota: small; ask for less, or for more quota"
