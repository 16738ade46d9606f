"""What a PUT changes of an Artifact: containers are compared by meaning, as far as they have one."""

from __future__ import annotations

import json
from typing import Any

import pytest

from roadstead.rest.bodies import parsed
from roadstead.rest.v241.artifacts import replaced
from roadstead.rest.v241.models import ArtifactCreate

Body = dict[str, Any]


def groups(memory: Any) -> list[Body]:
    return [{"containers": [{"imageUri": "app", "resourceRequest": {"cpu": 1, "memory": memory}}]}]


def put(memory: Any) -> Body:
    """What changes of a draft with 512Mi."""
    wish = parsed(json.dumps({"name": "app", "spec": {"containerGroups": groups(memory)}}).encode(), ArtifactCreate)
    return replaced({"spec": {"displayName": "app", "containerGroups": groups("512Mi")}}, wish)


@pytest.mark.parametrize("memory", ["512Mi", 536870912, "536870912"])
def test_the_same_in_another_form_is_no_change(memory: Any) -> None:
    assert "containerGroups" not in put(memory)


@pytest.mark.parametrize("memory", ["513Mi", 1, "__main__", ""])
def test_anything_else_is_one_and_the_api_server_says_whether_it_may_be(memory: Any) -> None:
    (group,) = put(memory)["containerGroups"]
    assert group["containers"][0]["resourceRequest"]["memory"] == memory
