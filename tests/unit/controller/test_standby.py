"""A standby that sees objects come and go for a long time."""

from __future__ import annotations

import pytest

from roadstead.controller.controller import Controller
from roadstead.controller.kinds import Key, Kind
from roadstead.desired import ChildKind
from roadstead.kube.client import ApiClient
from roadstead.kube.config import ClusterConfig
from roadstead.kube.errors import NotFound
from roadstead.kube.events import Recorder
from roadstead.observed.views import ChildView
from tests.build import raw_artifact, raw_workload
from tests.unit.kube.fake import ScriptedApi, answer, refuse

SERVICE = ChildView("uid", "owner", "digest", "hash", ())


async def test_a_standby_keeps_nothing_of_what_is_gone(api: ScriptedApi, client: ApiClient) -> None:
    controller = Controller(client, Recorder(client, controller="test", instance="test"))
    for number in range(100):
        controller.objects.saw(Kind.WORKLOAD, raw_workload(f"chat-{number}"))
        controller._workloads.child_changed(Key(Kind.WORKLOAD, "team", f"chat-{number}"), ChildKind.SERVICE, SERVICE, None)
    for number in range(1, 100):
        controller.objects.saw(Kind.WORKLOAD, raw_workload(f"chat-{number}"), deleted=True)
    kept = raw_workload("chat-0")
    empty = {"metadata": {"resourceVersion": "9"}, "items": []}
    api.will(answer(empty), answer({**empty, "items": [kept]}), answer(empty), answer(empty))
    await controller.sweep()
    assert controller._workloads._doubted == {Key(Kind.WORKLOAD, "team", "chat-0")}
    assert controller.queue.take(lambda _: True) == [Key(Kind.WORKLOAD, "team", "chat-0")]


async def test_nothing_is_kept_of_a_draft_that_is_gone() -> None:
    controller = Controller(
        client := ApiClient(ClusterConfig("http://nowhere"), user_agent="test"), Recorder(client, controller="test", instance="test")
    )
    draft = Key(Kind.ARTIFACT, "team", "model")
    controller.objects.saw(Kind.ARTIFACT, raw_artifact())
    for name in ("one", "two"):
        controller.objects.saw(Kind.WORKLOAD, raw_workload(name))
    drafts = controller._artifacts._drafts
    drafts.look(draft)
    assert draft in drafts._holders
    controller.objects.saw(Kind.ARTIFACT, raw_artifact(), deleted=True)
    assert await controller.reconcile(draft) is None
    assert drafts._holders == {}


async def test_where_a_namespace_is_gone_it_is_asked_whether_the_workload_is_too(api: ScriptedApi, client: ApiClient) -> None:
    controller = Controller(client, Recorder(client, controller="test", instance="test"))
    controller.platform.look()
    key = Key(Kind.WORKLOAD, "team", "chat")
    controller.objects.saw(Kind.ARTIFACT, raw_artifact())
    controller.objects.saw(Kind.WORKLOAD, raw_workload())
    api.will(*[refuse(404)] * 20)
    with pytest.raises(NotFound):
        await controller.reconcile(key)
    tried = len(api.requests)
    assert await controller.reconcile(key) is None
    assert [request.path for request in api.requests[tried:]] == ["/apis/roadstead.dev/v1alpha1/namespaces/team/workloads/chat"]
    assert controller.objects.get(key) is None
