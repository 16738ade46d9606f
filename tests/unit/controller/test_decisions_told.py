"""Decisions that change something are one line of the log each, which names the object; what rests says nothing."""

from __future__ import annotations

from typing import Any

import pytest

from roadstead.api.base import Metadata
from roadstead.api.platform import PodSettings
from roadstead.controller.controller import Controller
from roadstead.controller.kinds import Key, Kind
from roadstead.controller.memory import Memory
from roadstead.controller.retention import Retention
from roadstead.desired import ChildKind, Desired, Inputs, build
from roadstead.kube.client import ApiClient
from roadstead.kube.events import Recorder
from roadstead.names import DELETED_ANNOTATION
from roadstead.resources import WORKLOADS
from tests.build import artifact, platform, raw_artifact, raw_deployment, raw_workload, workload
from tests.unit.kube.fake import ScriptedApi, answer, refuse

CHAT = Key(Kind.WORKLOAD, "team", "chat")


@pytest.fixture(autouse=True)
def everything(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "roadstead")


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was logged since the last time."""
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("roadstead")]
    caplog.clear()
    return lines


def new_controller(client: ApiClient) -> Controller:
    return Controller(client, Recorder(client, controller="test", instance="test"))


async def test_a_deletion_and_a_restoration(api: ScriptedApi, client: ApiClient, caplog: pytest.LogCaptureFixture) -> None:
    retention = Retention(client)

    async def keep(deleted: bool, **annotations: str) -> None:
        metadata = Metadata(name="chat", namespace="team", uid="uid-chat", annotations=annotations)
        await retention.keep(WORKLOADS, CHAT, metadata, deleted=deleted, days=30)

    api.will(answer({}), answer({}))
    await keep(True)
    (body,) = api.bodies
    assert isinstance(body, dict)
    stamp = body["metadata"]["annotations"][DELETED_ANNOTATION]
    assert said(caplog) == [f"Workload team/chat is marked as deleted at {stamp}"]
    await keep(True, **{DELETED_ANNOTATION: stamp})
    assert said(caplog) == []
    await keep(False, **{DELETED_ANNOTATION: stamp})
    assert said(caplog) == ["Workload team/chat is restored: the time of its deletion is taken off"]
    await keep(False)
    assert said(caplog) == []
    assert len(api.requests) == 2


async def test_a_deletion_that_was_not_written_is_not_said(api: ScriptedApi, client: ApiClient, caplog: pytest.LogCaptureFixture) -> None:
    api.will(refuse(404))
    with pytest.raises(Exception, match="404"):
        await Retention(client).keep(WORKLOADS, CHAT, Metadata(name="chat", namespace="team"), deleted=True, days=30)
    assert said(caplog) == []


async def test_a_switch(api: ScriptedApi, client: ApiClient, caplog: pytest.LogCaptureFixture) -> None:
    controller, front = new_controller(client), Key(Kind.DEPLOYMENT, "team", "front")
    seen: dict[str, Any] = {}

    async def look(target: str) -> None:
        controller.objects.saw(Kind.DEPLOYMENT, {**raw_deployment("front", target), **({"status": seen} if seen else {})})
        api.will(answer({}))
        await controller._endpoints.reconcile(front)
        api.script.clear()

    def echo() -> None:
        nonlocal seen
        operations = api.bodies[-1]
        assert isinstance(operations, list)
        seen = operations[-1]["value"]

    controller.objects.saw(Kind.ARTIFACT, raw_artifact(status="registered"))
    for name in ("one", "two"):
        controller.objects.saw(Kind.WORKLOAD, raw_workload(name, suspend=True))
    await look("one")
    assert said(caplog) == ["Deployment team/front switches from none to Workload one"]
    await look("one")  # before the echo of the write
    assert said(caplog) == []
    echo()
    await look("one")
    assert said(caplog) == []
    await look("two")
    assert said(caplog) == ["Deployment team/front switches from Workload one to Workload two"]
    echo()
    for name in ("one", "two"):
        controller.objects.saw(Kind.WORKLOAD, raw_workload(name), deleted=True)
    await look("two")
    assert said(caplog) == ["Deployment team/front switches from Workload two to none"]
    controller.objects.saw(Kind.DEPLOYMENT, raw_deployment("front", "two"), deleted=True)
    await controller._endpoints.reconcile(front)
    assert controller._endpoints._switched == {}
    assert said(caplog) == []


@pytest.mark.parametrize("taken", [False, True], ids=["the name is free", "it was not free a moment ago"])
async def test_a_creation_at_zero(api: ScriptedApi, client: ApiClient, caplog: pytest.LogCaptureFixture, taken: bool) -> None:
    stopped = workload(suspend=True)
    whole = build(Inputs(stopped, artifact(), platform()))
    desired = Desired({ChildKind.DEPLOYMENT: whole.children[ChildKind.DEPLOYMENT]}, whole.replicas)
    made = answer({"metadata": {"name": "chat", "namespace": "team", "uid": "uid-made"}})
    api.will(*[refuse(409, "Conflict"), refuse(404)] if taken else [], made, made, made)
    memory = Memory("uid-chat")
    await new_controller(client)._workloads._children.write(stopped, desired, memory, PodSettings())
    assert not api.script
    assert [line.partition(": ")[0] for line in said(caplog)] == ["Deployment team/chat is written"]
    await new_controller(client)._workloads._children.write(stopped, desired, memory, PodSettings())  # its echo hasn't come yet
    assert said(caplog) == []
