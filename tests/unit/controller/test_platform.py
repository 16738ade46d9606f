"""Which settings are in force."""

from __future__ import annotations

import pytest

from roadstead.api.identity import object_id
from roadstead.api.platform import PlatformSpec
from roadstead.controller.kinds import Kind
from roadstead.controller.objects import Objects
from roadstead.controller.platform import PlatformKeeper
from roadstead.errors import Refusal
from roadstead.kube.client import ApiClient
from roadstead.kube.config import ClusterConfig
from roadstead.kube.resource import Body


def test_a_bad_platform_that_is_deleted_is_in_nobodys_way() -> None:
    """As after a restart: until there is a good one, the defaults hold."""
    objects = Objects(lambda _: keeper.look(), lambda _: None)
    keeper = PlatformKeeper(ApiClient(ClusterConfig("http://nowhere"), user_agent="test"), objects, lambda _: None)
    body: Body = {"metadata": {"name": "default", "uid": "1", "generation": 1}, "spec": {"pods": {"rollout": "Sometimes"}}}
    objects.saw(Kind.PLATFORM, body)
    with pytest.raises(Refusal):
        keeper.settings()
    objects.saw(Kind.PLATFORM, body, deleted=True)
    assert keeper.settings() == PlatformSpec()


def test_the_last_good_one_stays_in_force_when_it_is_deleted() -> None:
    objects = Objects(lambda _: keeper.look(), lambda _: None)
    keeper = PlatformKeeper(ApiClient(ClusterConfig("http://nowhere"), user_agent="test"), objects, lambda _: None)
    body: Body = {"metadata": {"name": "default", "uid": "1", "generation": 1}, "spec": {"pods": {"runAsUser": 7}}}
    objects.saw(Kind.PLATFORM, body)
    objects.saw(Kind.PLATFORM, body, deleted=True)
    assert keeper.settings().pods.run_as_user == 7


def test_urls_follow_the_settings_in_force_and_outlive_bad_ones() -> None:
    """A restart with a Platform that can't be put in force takes no URL from anybody."""
    objects = Objects(lambda _: keeper.look(), lambda _: None)
    keeper = PlatformKeeper(ApiClient(ClusterConfig("http://nowhere"), user_agent="test"), objects, lambda _: None)
    said = {"endpoint": "https://ai.example.com/api/v2/endpoints/workloads/1/"}

    def declare(generation: int, **spec: object) -> None:
        objects.saw(Kind.PLATFORM, {"metadata": {"name": "default", "uid": "1", "generation": generation}, "spec": spec})

    declare(1, pods={"rollout": "Sometimes"})
    assert keeper.endpoint("workloads", ("team", "chat"), said) == said["endpoint"]
    assert keeper.endpoint("workloads", ("team", "chat"), {}) is None
    declare(2, gateway={"url": "https://ai.example.org"})
    id = object_id("workloads", "team", "chat")
    assert keeper.endpoint("workloads", ("team", "chat"), said) == f"https://ai.example.org/api/v2/endpoints/workloads/{id}/"
    declare(3)
    assert keeper.endpoint("workloads", ("team", "chat"), said) is None
