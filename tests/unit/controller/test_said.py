"""The Events that a Workload's story leaves behind."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from roadstead.controller.contention import deleter_of, rival_of
from roadstead.controller.said import Announcer
from roadstead.kube.client import ApiClient
from roadstead.kube.config import ClusterConfig
from roadstead.kube.events import BURST, Recorder
from roadstead.observed import Observed, observe
from tests.build import workload
from tests.unit.kube.fake import ScriptedApi, answer
from tests.unit.observed.test_observe import BASE, NOW
from tests.unit.observed.test_tools_agree import CASES
from tests.unit.observed.test_wake import ASLEEP, crashing, serving, starting

Told = list[tuple[str, str]]
READY = ("Normal", "Running")


async def told(story: list[Observed]) -> Told:
    """Type and reason of every Event that is stored while a Workload goes through the story."""
    async with ScriptedApi() as api, ApiClient(ClusterConfig(api.url), user_agent="test") as client:
        api.will(*[answer({})] * len(story))
        recorder = Recorder(client, controller="roadstead.dev/operator", instance="pod-1")
        storing = asyncio.create_task(recorder.run())
        announcer, previous = Announcer(recorder), dict[str, Any]()
        for moment, observed in enumerate(story):
            outcome = observe(observed, previous, NOW + timedelta(seconds=moment))
            await announcer.workload(observed.workload, previous, outcome)
            previous = outcome.status
        await recorder.flush(10)
        storing.cancel()
        return [(body["type"], body["reason"]) for body in api.bodies if isinstance(body, dict)]


def cases(*names: str) -> list[Observed]:
    return [CASES[name][0] for name in names]


QUARREL = replace(CASES["ready"][0], conflict=rival_of([("kubectl", "/spec/a")], "Deployment chat"))
DELETED = replace(BASE, deployment=None, pods=(), conflict=deleter_of("Deployment chat"))
UNSERVED = replace(ASLEEP, gateway_serving=False)
START = ("nothing there yet", "no node yet", "containers start", "startup probe", "readiness probe")


@pytest.mark.parametrize(
    ("story", "expected"),
    [
        pytest.param(cases(*START, "ready", "ready"), [READY], id="a normal start"),
        pytest.param(
            cases(*START, "first crash", "crash loop", "crash loop", "ready"),
            [("Warning", "Crashed"), ("Warning", "Crashed"), READY],
            id="crashes: at the first, when it is given up on, and the end",
        ),
        pytest.param(
            [starting(), serving(), ASLEEP, UNSERVED, ASLEEP, UNSERVED, ASLEEP], [READY], id="asleep, while the gateway goes and comes back"
        ),
        pytest.param(
            [starting(), serving(), ASLEEP, starting(), crashing(), ASLEEP, ASLEEP, starting(), serving()],
            [READY, ("Warning", "Crashed"), ("Warning", "WakeFailed"), READY],
            id="a wake that fails, and one that doesn't",
        ),
        pytest.param(
            cases("no node yet", "quota", "quota", "containers start", "ready"), [("Warning", "QuotaExceeded"), READY], id="quota"
        ),
        pytest.param(cases("unschedulable", "no such GPU"), [("Warning", "Unschedulable"), ("Warning", "GpuUnavailable")], id="no room"),
        pytest.param(
            cases("refused: ArtifactMissing", *START, "ready"), [("Warning", "ArtifactMissing"), READY], id="no Artifact at first"
        ),
        pytest.param(
            cases("ready", "good new version", "bad new version, the old one serves", "ready"),
            [READY, ("Warning", "Crashed"), ("Normal", "Recovered")],
            id="a bad version, taken back",
        ),
        pytest.param(
            cases("ready", "stopping", "stopped", "nothing there yet", *START, "ready"),
            [READY, ("Normal", "Stopping"), ("Normal", "Stopped"), READY],
            id="stop and start",
        ),
        pytest.param(
            [*cases("ready"), QUARREL, QUARREL, *cases("ready", "ready")],
            [READY, ("Warning", "FieldConflict"), ("Normal", "UpToDate")],
            id="two writers, and the end of that",
        ),
        pytest.param(
            [*cases("ready"), DELETED, DELETED, *cases("ready")],
            [READY, ("Warning", "ChildDeleted"), READY, ("Normal", "UpToDate")],
            id="somebody deletes the Deployment again and again",
        ),
        pytest.param(cases("ready", "normal scale-up", "ready", "an autoscaler's step", "ready"), [READY], id="scaling"),
    ],
)
async def test_a_story(story: list[Observed], expected: Told) -> None:
    assert await told(story) == expected


@pytest.mark.parametrize(
    ("story", "expected"),
    [
        pytest.param(
            cases("nothing there yet", "no node yet", "containers start", "startup probe", "readiness probe", "ready", "ready"),
            ["none to submitted: Submitted", "submitted to initializing: Initializing", "initializing to running: Running"],
            id="a normal start",
        ),
        pytest.param(
            cases("ready", "stopping", "stopped", "stopped"),
            ["none to running: Running", "running to stopping: Stopping", "stopping to stopped: Stopped"],
            id="a stop",
        ),
        pytest.param(
            cases("containers start", "crash loop", "crash loop"),
            ["none to initializing: Initializing", "initializing to errored: Crashed"],
            id="a crash loop",
        ),
    ],
)
async def test_each_change_of_the_state_is_a_line(story: list[Observed], expected: list[str], caplog: pytest.LogCaptureFixture) -> None:
    """One, and none at rest."""
    caplog.set_level("INFO", "roadstead.controller.said")
    await told(story)
    lines = [record.getMessage() for record in caplog.records if record.name == "roadstead.controller.said"]
    assert len(lines) == len(expected)
    assert all(line.startswith(f"Workload team/chat goes from {words}") for line, words in zip(lines, expected, strict=True)), lines


async def test_what_a_container_said_is_not_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """It may be anything, a secret too."""
    caplog.set_level("INFO", "roadstead.controller.said")
    (crashed,) = cases("crash loop")
    assert "boom" in observe(crashed, {}, NOW).message
    await told([crashed])
    assert "boom" not in caplog.text


async def test_who_goes_up_and_down_is_cut_short() -> None:
    assert len(await told(cases("ready", "crash loop") * 50)) == BURST


async def test_a_restart_of_the_operator_says_nothing() -> None:
    """Another process, the same statuses."""
    async with ScriptedApi() as api, ApiClient(ClusterConfig(api.url), user_agent="test") as client:
        announcer = Announcer(recorder := Recorder(client, controller="roadstead.dev/operator", instance="pod-2"))
        storing = asyncio.create_task(recorder.run())
        for observed, _ in CASES.values():
            before = observe(observed, {}, NOW)
            await announcer.workload(observed.workload, before.status, observe(observed, before.status, NOW + timedelta(seconds=9)))
        await announcer.workload(workload(), {}, observe(replace(BASE, deployment=None), {}, NOW))
        await recorder.flush(10)
        storing.cancel()
        assert api.bodies == []
