from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from roadstead.kube import events
from roadstead.kube.client import ApiClient
from roadstead.kube.events import ObjectRef, Recorder
from roadstead.kube.resource import Body
from tests.unit.kube.fake import ScriptedApi, answer, refuse

THING = ObjectRef("example.org/v1", "Thing", "ns", "thing", "uid-1")


@pytest.fixture
async def recorder(api: ScriptedApi, client: ApiClient) -> AsyncIterator[Recorder]:
    api.will(*[answer({})] * 1000)
    made = Recorder(client, controller="example.org/operator", instance="pod-1", clock=asyncio.get_running_loop().time)
    task = asyncio.create_task(made.run())
    yield made
    assert not task.done()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def stored(api: ScriptedApi) -> list[Body]:
    await asyncio.sleep(1)
    return [body for body in api.bodies if isinstance(body, dict)]


async def say(recorder: Recorder, note: str, regarding: ObjectRef = THING) -> None:
    await recorder.emit(regarding, "Normal", "Created", note, "Create")


async def test_what_is_stored(api: ScriptedApi, recorder: Recorder) -> None:
    await recorder.emit(THING, "Warning", "Failed", "no such thing", "Create")
    (event,) = await stored(api)
    assert api.requests[0].path == "/apis/events.k8s.io/v1/namespaces/ns/events"
    assert event.pop("eventTime").endswith("Z")
    assert event["metadata"].pop("name").startswith("thing.")
    assert event == {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"namespace": "ns"},
        "type": "Warning",
        "reason": "Failed",
        "action": "Create",
        "note": "no such thing",
        "reportingController": "example.org/operator",
        "reportingInstance": "pod-1",
        "regarding": {"apiVersion": "example.org/v1", "kind": "Thing", "namespace": "ns", "name": "thing", "uid": "uid-1"},
    }


async def test_names_sort_by_time(api: ScriptedApi, recorder: Recorder) -> None:
    """kubectl describe lists them by name."""
    for number in range(events.BURST):
        await say(recorder, str(number))
    notes = [event["note"] for event in sorted(await stored(api), key=lambda event: str(event["metadata"]["name"]))]
    assert notes == [str(number) for number in range(events.BURST)]


async def test_events_about_cluster_scoped_objects_go_to_default(api: ScriptedApi, recorder: Recorder) -> None:
    await say(recorder, "x", ObjectRef("v1", "Node", "", "n", "uid-n"))
    await stored(api)
    assert api.requests[0].path == "/apis/events.k8s.io/v1/namespaces/default/events"


async def test_a_repeat_of_the_last_within_ten_minutes_is_dropped(api: ScriptedApi, recorder: Recorder) -> None:
    other = ObjectRef("example.org/v1", "Thing", "ns", "thing", "uid-2")
    for _ in range(5):
        await say(recorder, "a")
        await say(recorder, "a", other)
    assert len(await stored(api)) == 2
    await asyncio.sleep(events.REPEAT_SECONDS)
    await say(recorder, "a")
    assert len(await stored(api)) == 3
    assert recorder.dropped == 0


async def test_what_comes_back_is_said_again(api: ScriptedApi, recorder: Recorder) -> None:
    """Running, stopped, running: without the last a story would end with the stop. Who goes on and on is cut short."""
    for _ in range(events.BURST):
        await say(recorder, "a")
        await say(recorder, "b")
    assert [event["note"] for event in await stored(api)] == ["a", "b"] * (events.BURST // 2)


async def test_an_object_that_says_too_much_is_cut_short_and_others_are_not(api: ScriptedApi, recorder: Recorder) -> None:
    for number in range(30):
        await say(recorder, f"note {number}")
    await say(recorder, "x", ObjectRef("v1", "Node", "", "n", "uid-n"))
    assert len(await stored(api)) == events.BURST + 1
    assert recorder.dropped == 20
    await asyncio.sleep(2 * events.REFILL_SECONDS)
    for number in range(10, 20):
        await say(recorder, f"note {number}")  # dropped before, so not a repeat
    assert len(await stored(api)) == events.BURST + 3


async def test_a_long_note_is_cut_between_characters(api: ScriptedApi, recorder: Recorder) -> None:
    await say(recorder, "é" * 1000)
    await say(recorder, "x" * 1024)
    notes = [event["note"] for event in await stored(api)]
    assert notes[0] == "é" * 510 + "…"
    assert all(len(note.encode()) <= 1024 for note in notes)


async def test_trouble_is_swallowed_and_what_waits_is_bounded(api: ScriptedApi, client: ApiClient) -> None:
    made = Recorder(client, controller="c", instance="i", backlog=3)
    for number in range(5):
        await say(made, str(number), ObjectRef("v1", "Pod", "ns", "p", f"uid-{number}"))
    assert made.dropped == 2
    api.will(refuse(403), answer({}), refuse(500))
    task = asyncio.create_task(made.run())
    await asyncio.sleep(5)
    assert not task.done()
    assert made.dropped == 4
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_memory_is_bounded(client: ApiClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "REMEMBERED", 10)
    made = Recorder(client, controller="c", instance="i", backlog=100)
    for number in range(50):
        await say(made, "x", ObjectRef("v1", "Pod", "ns", "p", f"uid-{number}"))
    assert len(made._said) == len(made._buckets) == 10


async def test_flush_waits_until_all_is_stored(api: ScriptedApi, recorder: Recorder) -> None:
    for number in range(5):
        await say(recorder, f"note {number}")
    await recorder.flush()
    assert len(api.bodies) == 5


async def test_flush_does_not_wait_for_ever(api: ScriptedApi, recorder: Recorder) -> None:
    api.script.clear()
    api.will(*[refuse(429, retry_after="9")] * 1000)
    await say(recorder, "note")
    began = asyncio.get_running_loop().time()
    await recorder.flush()
    assert asyncio.get_running_loop().time() - began < 5
