"""Every golden child is one that the API server admits."""

from __future__ import annotations

import pytest
import yaml

from hack.cluster.control import ControlCluster
from roadstead.desired import build
from roadstead.errors import Refusal
from tests.golden.golden import Case, bodies, cases


@pytest.fixture(scope="module")
def team(cluster: ControlCluster) -> str:
    """The namespace that the golden cases are in, under Pod Security restricted."""
    manifest = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": "team",
            "labels": {"pod-security.kubernetes.io/warn": "restricted", "pod-security.kubernetes.io/warn-version": "latest"},
        },
    }
    cluster.kubectl("apply", "-f", "-", input=yaml.safe_dump(manifest))
    return "team"


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
def test_the_api_server_admits_the_children(cluster: ControlCluster, team: str, case: Case) -> None:
    try:
        children = bodies(build(case.inputs()))
    except Refusal:
        return
    children = [body for body in children if body["kind"] != "ScaledObject"]  # this cluster has no KEDA; that of test_keda_webhooks.py has
    if not children:
        return
    said = cluster.kubectl(
        "apply", "--server-side", "--dry-run=server", "--warnings-as-errors", "-f", "-", input=yaml.safe_dump_all(children)
    )
    assert said.count("serverside-applied") == len(children)
