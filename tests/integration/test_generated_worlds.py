"""Whatever the CRDs admit gives children that the API server admits: generated worlds, by server-side dry-run."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings

from hack.cluster.control import ControlCluster
from roadstead.api.artifact import Artifact
from roadstead.api.platform import PlatformSpec
from roadstead.api.workload import Workload
from roadstead.controller.kinds import CHILDREN
from roadstead.desired import ChildKind, Inputs, build
from roadstead.errors import Refusal
from roadstead.kube.errors import ApiError
from roadstead.kube.resource import Resource
from roadstead.resources import ARTIFACTS, WORKLOADS
from tests.conftest import LONG
from tests.strategies import PLATFORM, worlds
from tests.support.calls import calls

SETTINGS = PlatformSpec.model_validate(PLATFORM)
NAMESPACE = "properties"
Body = dict[str, Any]


@pytest.mark.timeout(900)
def test_the_api_server_admits_the_children(cluster: ControlCluster) -> None:
    """Sent by the operator's own client, as JSON: kubectl's YAML can't carry every string that the API takes."""
    cluster.kubectl("create", "namespace", NAMESPACE)
    tried = 0

    with calls(cluster) as (client, run):

        def dry(resource: Resource, body: Body) -> None:
            run(client.apply(resource, NAMESPACE, body, field_manager="test", dry_run=True))

        @settings(max_examples=1500 if LONG else 150, derandomize=not LONG)
        @given(worlds())
        def check(world: tuple[Body, Body]) -> None:
            nonlocal tried
            artifact, workload = ({**body, "metadata": {"name": body["metadata"]["name"], "namespace": NAMESPACE}} for body in world)
            try:
                dry(ARTIFACTS, artifact)
                dry(WORKLOADS, workload)
            except ApiError as refused:
                raise AssertionError(f"the strategy makes what the CRDs refuse: {refused}") from refused
            owned = {**workload, "metadata": {**workload["metadata"], "uid": "00000000-0000-0000-0000-000000000000"}}
            try:
                desired = build(Inputs(Workload.model_validate(owned), Artifact.model_validate(artifact), SETTINGS))
            except Refusal:
                return
            for kind, child in desired.children.items():
                if child is not None and kind is not ChildKind.SCALED_OBJECT:  # this cluster has no KEDA; that of test_keda_webhooks.py has
                    dry(CHILDREN[kind], child.body)
                    tried += 1

        check()
    assert tried > 100
