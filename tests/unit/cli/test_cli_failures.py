"""Every failure says what to do."""

from __future__ import annotations

import pytest

from roadstead.cli.failure import sentence
from roadstead.kube.errors import ApiError, Unreachable, error_of

SERVER = "https://cluster.test"


def refused(code: int, message: str, reason: str = "Because", **details: object) -> ApiError:
    return error_of({"code": code, "message": message, "reason": reason, "details": details})


@pytest.mark.parametrize(
    ("error", "parts"),
    [
        (Unreachable("Connection refused"), ("doesn't answer: Connection refused", "kubectl config get-contexts")),
        (refused(401, "Unauthorized"), ("doesn't accept your credentials", "Log in again", "--context")),
        (
            refused(403, 'workloads.roadstead.dev is forbidden: User "eve" cannot list resource "workloads"'),
            ('User "eve" cannot list', "role view, edit or admin"),
        ),
        (
            refused(403, 'workloads.roadstead.dev is forbidden: User "system:anonymous" cannot list resource "workloads"'),
            ("doesn't know who you are", "log in again"),
        ),
        (refused(403, 'denied by "images.roadstead.dev": image not allowed'), ("Refused: denied by", "image not allowed.")),
        (refused(404, 'workloads.roadstead.dev "chat" not found'), ('"chat" not found', "roadstead get KIND -A", "-n chooses")),
        (
            refused(404, "the server could not find the requested resource"),
            ("isn't installed there", "roadstead crds apply"),
        ),
        (
            refused(409, 'Apply failed with 1 conflict: conflict with "argocd" using roadstead.dev/v1alpha1: .spec.suspend'),
            ('conflict with "argocd"', ".spec.suspend", "--force-conflicts"),
        ),
        (refused(409, "the object has been modified"), ("changed meanwhile", "run the command again")),
        (
            refused(422, "Workload is invalid", causes=[{"field": "spec.runtime", "message": "must be at least 1"}]),
            ("correct these fields", "\n  spec.runtime: must be at least 1"),
        ),
        (refused(422, "Workload is invalid: bad"), ("The object is refused: Workload is invalid: bad.",)),
        (refused(429, "too many requests", retryAfterSeconds=7), ("Try again in 7 s",)),
        (refused(503, "etcd leader changed"), ("failed (503): etcd leader changed", "Try again")),
        (refused(400, "bad label selector"), ("bad label selector.",)),
    ],
)
def test_sentence(error: ApiError, parts: tuple[str, ...]) -> None:
    text = sentence(error, SERVER)

    for part in parts:
        assert part in text
