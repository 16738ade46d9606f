"""Listening to what happens, through whatever the API does; nothing is kept."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from roadstead.kube.client import ApiClient
from roadstead.kube.listener import STREAM_SECONDS, Listener
from roadstead.kube.resource import CORE_EVENTS
from tests.unit.kube.fake import ScriptedApi, Step, bookmark, break_off, event, hang_up, lists, refuse, thing, until, watch


@asynccontextmanager
async def listening(client: ApiClient) -> AsyncIterator[list[str]]:
    """The names told of so far."""
    told: list[str] = []
    listener = Listener(client, CORE_EVENTS, field_selector="reason=Killing", tell=lambda body: told.append(body["metadata"]["name"]))
    task = asyncio.create_task(listener.run())
    try:
        yield told
        if task.done():
            task.result()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_tells_what_comes_and_changes_from_now_on(api: ScriptedApi, client: ApiClient) -> None:
    api.will(
        lists(thing("old", size=1), version="10"),
        watch(event("ADDED", thing("a", "11")), event("MODIFIED", thing("a", "12")), bookmark("13"), event("DELETED", thing("b", "14"))),
    )
    async with listening(client) as told:
        await until(lambda: len(told) == 2)
    assert told == ["a", "a"]
    first, stream = api.requests
    assert dict(first.query) == {"limit": "1"}
    assert (stream.query["resourceVersion"], stream.query["fieldSelector"]) == ("10", "reason=Killing")
    assert int(stream.query["timeoutSeconds"]) <= STREAM_SECONDS[1]


async def test_each_stream_begins_at_the_present(api: ScriptedApi, client: ApiClient) -> None:
    """So none has to be told of what is long over, and none is begun at a version that is too old."""
    api.will(lists(version="10"), watch(event("ADDED", thing("a", "11")), ends=True), lists(version="500"), watch(ends=True))
    async with listening(client) as told:
        await until(lambda: len(api.requests) >= 4)
    assert told == ["a"]
    assert [request.query["resourceVersion"] for request in api.requests if "watch" in request.query][:2] == ["10", "500"]


@pytest.mark.parametrize(
    "trouble",
    [
        pytest.param([hang_up()] * 5, id="no answer"),
        pytest.param([lists(version="10"), break_off()], id="a stream that breaks off"),
        pytest.param([lists(version="10"), refuse(410)], id="a version too old"),
        pytest.param([refuse(500)] * 9, id="errors"),
    ],
)
async def test_hears_again_after_trouble(api: ScriptedApi, client: ApiClient, trouble: list[Step]) -> None:
    api.will(*trouble, lists(version="20"), watch(event("ADDED", thing("a", "21"))))
    async with listening(client) as told:
        await until(lambda: told == ["a"])


async def test_without_the_right_it_says_so_once_and_asks_ever_more_seldom(
    api: ScriptedApi, client: ApiClient, caplog: pytest.LogCaptureFixture
) -> None:
    api.will(*[refuse(403, "Forbidden")] * 8, lists(version="20"), watch(event("ADDED", thing("a", "21"))))
    began = asyncio.get_running_loop().time()
    async with listening(client) as told:
        await until(lambda: told == ["a"])
    assert asyncio.get_running_loop().time() - began > 60
    assert len([record for record in caplog.records if "Doesn't hear of events" in record.message]) == 1


async def test_streams_that_end_at_once_are_not_repeated_in_a_tight_loop(api: ScriptedApi, client: ApiClient) -> None:
    api.will(*[lists(version="10"), watch(ends=True)] * 40)
    began = asyncio.get_running_loop().time()
    async with listening(client):
        await until(lambda: len(api.requests) >= 80)
    assert asyncio.get_running_loop().time() - began >= 15
