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
