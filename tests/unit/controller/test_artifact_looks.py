"""An Artifact hears of every change of its Workloads, which may be thousands."""

from __future__ import annotations

from roadstead.controller.artifacts import PAUSE_SECONDS
from roadstead.controller.controller import Controller
from roadstead.controller.kinds import Key, Kind
from roadstead.kube.client import ApiClient
from roadstead.kube.events import Recorder
from tests.build import raw_artifact, raw_workload
from tests.unit.kube.fake import ScriptedApi, answer


async def test_an_artifact_is_looked_at_once_a_second_whatever_its_workloads_do(api: ScriptedApi, client: ApiClient) -> None:
    """Also while nothing about its status changes."""
    key = Key(Kind.ARTIFACT, "team", "model")

    def seeing(artifact: dict[str, object]) -> Controller:
        controller = Controller(client, Recorder(client, controller="test", instance="test"))
        controller.objects.saw(Kind.ARTIFACT, artifact)
        controller.objects.saw(Kind.WORKLOAD, raw_workload())
        return controller

    api.will(answer({}))
    await seeing(raw_artifact())._artifacts.reconcile(key)
    (operations,) = api.bodies
    assert isinstance(operations, list)
    settled = seeing({**raw_artifact(), "status": operations[-1]["value"]})
    assert await settled._artifacts.reconcile(key) is None
    again = await settled._artifacts.reconcile(key)
    assert again is not None
    assert 0 < again <= PAUSE_SECONDS
    assert len(api.requests) == 1
