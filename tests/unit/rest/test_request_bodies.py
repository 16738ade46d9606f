"""Bodies are taken as JSON Schema means them: strictly, and numbers by their value."""

from __future__ import annotations

import json
from typing import Any

import pytest

from roadstead.rest.bodies import parsed
from roadstead.rest.problems import Problem
from roadstead.rest.v241.models import WorkloadCreate

ID = "5f0c8a1b2d3e4f5061728394"
GROUP = {"containers": [{"imageUri": "app", "resourceRequest": {"cpu": 1, "memory": 1}}]}


def replicas(count: str) -> WorkloadCreate:
    return parsed(f'{{"artifactId": "{ID}", "runtime": {{"replicaCount": {count}}}}}'.encode(), WorkloadCreate)


@pytest.mark.parametrize("count", ["2", "2.0", "2e0", "0.2e1"])
def test_a_whole_number_is_an_integer_however_it_is_written(count: str) -> None:
    runtime = replicas(count).runtime
    assert runtime is not None
    assert repr(runtime.replica_count) == "2"


@pytest.mark.parametrize("count", ["2.5", "1e300", '"2"', "true", "NaN", "Infinity"])
def test_nothing_else_is(count: str) -> None:
    with pytest.raises(Problem) as refused:
        replicas(count)
    assert refused.value.status == 422


def test_one_artifact_is_enough() -> None:
    assert parsed(json.dumps({"artifactId": ID, "artifact": None}).encode(), WorkloadCreate).artifact_id == ID


@pytest.mark.parametrize("body", [{}, {"artifactId": None}, {"artifactId": ID, "artifact": {"spec": {"containerGroups": [GROUP]}}}])
def test_neither_none_nor_two(body: dict[str, Any]) -> None:
    with pytest.raises(Problem, match="exactly one of artifact and artifactId is needed"):
        parsed(json.dumps(body).encode(), WorkloadCreate)


def test_what_is_not_json_is_400() -> None:
    with pytest.raises(Problem) as refused:
        parsed(b'{"artifactId": ', WorkloadCreate)
    assert refused.value.status == 400


@pytest.mark.parametrize("memory", ["9007199254740992.0", "1e18"])
def test_an_integer_may_be_beyond_what_a_float_counts_one_by_one(memory: str) -> None:
    """What two to the power of 53 is as a float is a whole number all the same, and the OpenAPI document allows it."""
    group = json.dumps(GROUP).replace('"memory": 1', f'"memory": {memory}')
    artifact = parsed(f'{{"artifact": {{"spec": {{"containerGroups": [{group}]}}}}}}'.encode(), WorkloadCreate).artifact
    assert artifact is not None
    assert artifact.spec.container_groups[0].containers[0].resource_request.memory == int(float(memory))


@pytest.mark.parametrize("memory", [str(2**63), str(10**30), "[]"])
def test_memory_is_bytes_that_can_be_written_down_or_a_text(memory: str) -> None:
    """Where it is said, no part of a type's name is in the way: the field."""
    group = json.dumps(GROUP).replace('"memory": 1', f'"memory": {memory}')
    with pytest.raises(Problem) as refused:
        parsed(f'{{"artifact": {{"spec": {{"containerGroups": [{group}]}}}}}}'.encode(), WorkloadCreate)
    places = [entry["loc"] for entry in refused.value.detail if isinstance(entry, dict)]
    assert ["body", "artifact", "spec", "containerGroups", 0, "containers", 0, "resourceRequest", "memory"] in places
    assert all("constrained" not in str(step) for place in places for step in place)
