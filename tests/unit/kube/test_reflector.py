from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from roadstead.kube.client import ApiClient
from roadstead.kube.reflector import Reflector
from roadstead.kube.resource import SERVICES, Body, Key
from tests.unit.kube.fake import (
    ScriptedApi,
    Step,
    answer,
    bookmark,
    break_off,
    error,
    event,
    hang_up,
    lists,
    refuse,
    thing,
    until,
    watch,
)


@dataclass
class Mirror:
    reflector: Reflector[int]
    told: list[tuple[str, int | None, int | None]]
    presence: list[bool] = field(default_factory=list)

    @property
    def items(self) -> dict[str, int]:
        return {name: size for (_, name), size in self.reflector.items.items()}


@asynccontextmanager
async def mirroring(client: ApiClient, *, optional: bool = False) -> AsyncIterator[Mirror]:
    told: list[tuple[str, int | None, int | None]] = []
    presence: list[bool] = []

    def size(body: Body) -> int:
        return int(body["spec"]["size"])

    def notify(key: Key, old: int | None, new: int | None) -> None:
        told.append((key[1], old, new))

    reflector = Reflector(
        client, SERVICES, project=size, notify=notify, optional=optional, on_presence=presence.append, label_selector="a=b"
    )
    task = asyncio.create_task(reflector.run())
    try:
        yield Mirror(reflector, told, presence)
        if task.done():
            task.result()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_lists_then_follows_and_stays_silent_about_echoes(api: ScriptedApi, client: ApiClient) -> None:
    api.will(
        lists(thing("a", size=1), thing("b", size=2), version="10"),
        watch(
            event("MODIFIED", thing("a", "11", size=1)),  # an echo of no interest
            event("MODIFIED", thing("b", "12", size=3)),
            event("ADDED", thing("c", "13", size=4)),
            event("DELETED", thing("a", "14", size=1)),
            bookmark("20"),
            ends=True,
        ),
    )
    async with mirroring(client) as mirror:
        await until(lambda: len(api.requests) >= 3)
        assert mirror.items == {"b": 3, "c": 4}
        assert mirror.told == [("a", None, 1), ("b", None, 2), ("b", 2, 3), ("c", None, 4), ("a", 1, None)]
        assert mirror.reflector.synced.is_set()
        assert mirror.reflector.present
    listing, first, second = (request.query for request in api.requests[:3])
    assert listing["limit"] == "500"
    assert listing["labelSelector"] == first["labelSelector"] == "a=b"
    assert first["allowWatchBookmarks"] == "true"
    assert (first["resourceVersion"], second["resourceVersion"]) == ("10", "20")


async def test_not_synced_before_the_last_page(api: ScriptedApi, client: ApiClient) -> None:
    release = asyncio.Event()

    async def slow(request: object) -> object:
        await release.wait()
        return await lists(thing("b", size=2))(request)  # type: ignore[arg-type]

    api.will(lists(thing("a", size=1), go_on="more"), slow)  # type: ignore[arg-type]
    async with mirroring(client) as mirror:
        await until(lambda: len(api.requests) == 2)
        assert mirror.items == {"a": 1}
        assert not mirror.reflector.synced.is_set()
        release.set()
        await until(mirror.reflector.synced.is_set)
        assert mirror.items == {"a": 1, "b": 2}
    assert api.requests[1].query["continue"] == "more"


RELIST = lists(thing("a", size=1), thing("new", size=9), version="50")


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param([refuse(410, "Expired")], id="410 at the watch"),
        pytest.param([watch(error(410), ends=True)], id="410 inside the stream"),
        pytest.param([refuse(410), lists(thing("a", size=1), go_on="more"), refuse(410)], id="410 in the middle of the list"),
        pytest.param([refuse(403)] * 3, id="forbidden for a while"),
        pytest.param([refuse(400)], id="bad request"),
        pytest.param([watch(error(500), ends=True)] * 4, id="ERROR 500 again and again"),
        pytest.param([break_off()] * 4, id="connection lost again and again"),
    ],
)
async def test_what_changed_unseen_is_noticed_at_the_next_list(api: ScriptedApi, client: ApiClient, fault: list[Step]) -> None:
    api.will(lists(thing("a", size=1), thing("gone", size=2)), *fault, RELIST)
    async with mirroring(client) as mirror:
        await until(lambda: "new" in mirror.items and "gone" not in mirror.items)
        assert ("gone", 2, None) in mirror.told
        assert mirror.told.count(("a", None, 1)) == 1
        await until(lambda: "watch" in api.requests[-1].query)
    assert api.requests[-1].query["resourceVersion"] == "50"


async def test_a_list_that_expired_under_way_is_fetched_in_one_piece(api: ScriptedApi, client: ApiClient) -> None:
    api.will(lists(thing("a", size=1), go_on="more"), refuse(410), lists(thing("a", size=1)))
    async with mirroring(client) as mirror:
        await mirror.reflector.synced.wait()
    assert [request.query.get("limit") for request in api.requests[:3]] == ["500", "500", None]


NEWS = event("ADDED", thing("b", "31", size=2))


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param([watch(bookmark("30"))], id="silence"),
        pytest.param([watch(bookmark("30"), NEWS[:40], ends=True)], id="truncated"),
        pytest.param([watch(bookmark("30"), b"{garbled}\n", ends=True)], id="garbled"),
        pytest.param([watch(bookmark("30"), error(500), ends=True)], id="ERROR 500"),
        pytest.param([watch(bookmark("30"), ends=True)], id="ended"),
        pytest.param([watch(bookmark("30"), ends=True), refuse(429, retry_after="7")], id="429"),
        pytest.param([watch(bookmark("30"), ends=True), refuse(503), hang_up()], id="503 and lost connection"),
    ],
)
async def test_a_broken_watch_is_taken_up_where_it_broke(api: ScriptedApi, client: ApiClient, fault: list[Step]) -> None:
    api.will(lists(thing("a", size=1)), *fault, watch(NEWS))
    async with mirroring(client) as mirror:
        await until(lambda: mirror.items == {"a": 1, "b": 2})
        assert mirror.told == [("a", None, 1), ("b", None, 2)]
    assert api.requests[-1].query["resourceVersion"] == "30"
    assert sum("watch" not in request.query for request in api.requests) == 1


async def test_retry_after_is_waited_for(api: ScriptedApi, client: ApiClient) -> None:
    api.will(lists(), refuse(429, retry_after="100"), watch(NEWS))
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with mirroring(client) as mirror:
        await until(lambda: bool(mirror.items))
    assert 100 <= loop.time() - began < 110


async def test_silence_is_noticed_after_seventy_seconds(api: ScriptedApi, client: ApiClient) -> None:
    api.will(lists(), watch(), watch(NEWS))
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with mirroring(client) as mirror:
        await until(lambda: bool(mirror.items))
    assert 70 <= loop.time() - began < 80


async def test_streams_that_end_at_once_are_not_reopened_in_a_tight_loop(api: ScriptedApi, client: ApiClient) -> None:
    api.will(lists(), *[watch(ends=True)] * 1000)
    async with mirroring(client):
        await asyncio.sleep(10)
    assert len(api.requests) < 30


async def test_an_object_of_a_megabyte_in_small_pieces(api: ScriptedApi, client: ApiClient) -> None:
    line = event("ADDED", thing("big", "11", size=1, text="x" * 2**20))
    api.will(lists(), watch(*(line[at : at + 5000] for at in range(0, len(line), 5000)), NEWS))
    async with mirroring(client) as mirror:
        await until(lambda: mirror.items == {"big": 1, "b": 2})


async def test_an_object_that_cannot_be_read_hides_no_other(api: ScriptedApi, client: ApiClient, caplog: pytest.LogCaptureFixture) -> None:
    odd = event("MODIFIED", thing("a", "11", size="seven"))
    api.will(lists(thing("a", size=1)), watch(odd, NEWS))
    async with mirroring(client) as mirror:
        await until(lambda: mirror.items == {"a": 1, "b": 2})
    assert "ns/a" in caplog.text


async def test_many_objects_that_cannot_be_read_are_a_few_lines(
    api: ScriptedApi, client: ApiClient, caplog: pytest.LogCaptureFixture
) -> None:
    """However often they change, and at each new list; what they hold is told with the first alone."""
    odd = [thing(f"odd-{number}", size="secret") for number in range(500)]
    api.will(lists(*odd), watch(*(event("MODIFIED", body) for body in odd), ends=True), refuse(410), lists(*odd), watch(NEWS))
    async with mirroring(client) as mirror:
        await until(lambda: mirror.items == {"b": 2})
        told = [record for record in caplog.records if "Could not read" in record.getMessage()]
        assert told[0].getMessage() == "Could not read Service ns/odd-0: ValueError"
        assert [bool(record.exc_info) for record in told] == [True] + [False] * (len(told) - 1)
        assert not [record for record in told if "secret" in record.getMessage()]
        assert len(told) <= 21
        await asyncio.sleep(61)
        assert " more times in a minute for 500 objects: ValueError at " in caplog.records[-1].getMessage()


async def test_a_kind_that_may_be_missing(api: ScriptedApi, client: ApiClient) -> None:
    api.will(
        refuse(404),
        refuse(404),
        lists(thing("a", size=1)),
        watch(ends=True),
        refuse(404),  # its CRD was deleted
        refuse(404),
    )
    loop = asyncio.get_running_loop()
    async with mirroring(client, optional=True) as mirror:
        began = loop.time()
        await mirror.reflector.synced.wait()
        assert loop.time() - began < 1
        assert not mirror.reflector.present
        await until(lambda: mirror.presence == [True, False])
        assert 40 < loop.time() - began < 90
        assert mirror.told == [("a", None, 1), ("a", 1, None)]
        assert mirror.items == {}


async def test_a_kind_that_must_exist_is_not_synced_while_missing(api: ScriptedApi, client: ApiClient) -> None:
    api.will(refuse(404), refuse(404), lists(thing("a", size=1)))
    async with mirroring(client) as mirror:
        await until(lambda: len(api.requests) >= 2)
        assert not mirror.reflector.synced.is_set()
        await mirror.reflector.synced.wait()
        assert mirror.items == {"a": 1}


async def test_one_line_for_a_long_outage_and_one_for_its_end(
    api: ScriptedApi, client: ApiClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "roadstead")
    api.will(lists(), *[refuse(500)] * 20, lists(), watch(NEWS))
    async with mirroring(client) as mirror:
        await until(lambda: bool(mirror.items), 10_000)
    assert [record.levelname for record in caplog.records if record.name.startswith("roadstead")] == ["WARNING", "INFO"]


async def test_last_heard_moves_with_bookmarks(api: ScriptedApi, client: ApiClient, monkeypatch: pytest.MonkeyPatch) -> None:
    api.will(answer({"metadata": {"resourceVersion": "1"}, "items": None}))
    async with mirroring(client) as mirror:
        await mirror.reflector.synced.wait()
        before = mirror.reflector.last_heard
        api.will(watch(bookmark("2")))
        await until(lambda: mirror.reflector.last_heard > before)
