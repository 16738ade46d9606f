"""What is made of the Events that are heard when they come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from roadstead.controller.overheard import KILLS, WARNINGS, Overheard
from roadstead.kube.client import ApiClient
from roadstead.kube.config import ClusterConfig
from roadstead.observed.hearing import Doubt, Kill, Topic
from roadstead.observed.views import PodView, pod_view
from tests.build import raw_pod
from tests.unit.kube.fake import ScriptedApi, event, lists, until, watch
from tests.unit.observed.test_hearing import KILL_LIVENESS, LIVENESS, READINESS, STOPPED

Body = dict[str, Any]
NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
POD = pod_view(raw_pod())
DOUBT = Doubt(POD.uid, Topic.READINESS, NOW)
LAST = "the-last"


def said(body: Body, **about: str) -> bytes:
    """An Event of our pod, but for these fields of what it is about."""
    ours = body["involvedObject"] | {"kind": "Pod", "namespace": "team", "name": POD.name, "uid": POD.uid} | about
    return event("ADDED", body | {"metadata": {"resourceVersion": "11"}, "involvedObject": ours})


@asynccontextmanager
async def hearing(pod: PodView, *events: bytes) -> AsyncIterator[tuple[Overheard, list[str]]]:
    """Who has heard these Events, and whom it told of."""
    told: list[str] = []
    known = {("team", pod.name): pod, ("team", LAST): pod_view(raw_pod(LAST))}
    async with ScriptedApi() as api, ApiClient(ClusterConfig(api.url), user_agent="test") as client:
        api.will(lists(), lists(), watch(*events, said(KILL_LIVENESS, name=LAST, uid=f"uid-{LAST}")))
        overheard = Overheard(client, known.get, lambda _, pod: told.append(pod.name))
        tasks = [asyncio.create_task(loop) for loop in overheard.loops()]
        try:
            await until(lambda: LAST in told and len(api.requests) == 4)
            told.remove(LAST)
            assert {request.query["fieldSelector"] for request in api.requests[2:]} == {KILLS, WARNINGS}
            yield overheard, told
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_kill_is_news_whether_the_pod_is_ready_or_not() -> None:
    async with hearing(pod_view(raw_pod(ready=True)), said(KILL_LIVENESS), said(KILL_LIVENESS), said(READINESS)) as (overheard, told):
        assert told == [POD.name, POD.name]
        assert overheard.kills([POD]) == {POD.uid: Kill("main", "liveness", "2026-11-25T12:09:00Z")}
        overheard.forget(POD.uid)
        assert (overheard.kills([POD]), overheard.answer(DOUBT)) == ({}, None)


@pytest.mark.parametrize(("pod", "told_of"), [(POD, [POD.name] * 2), (pod_view(raw_pod(ready=True)), [])])
async def test_an_answer_is_news_when_it_differs_and_the_pod_is_not_ready(pod: PodView, told_of: list[str]) -> None:
    newer = READINESS | {"message": "Readiness probe failed: 404"}
    async with hearing(pod, said(READINESS), said(READINESS), said(newer), said(newer)) as (overheard, told):
        assert told == told_of
        answer = overheard.answer(DOUBT)
        assert answer is not None
        assert answer.message.endswith("404"), "the newest counts"
        assert overheard.answer(Doubt(POD.uid, Topic.STARTUP, NOW)) is None


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(said(STOPPED), id="the end of a container with its pod"),
        pytest.param(said(LIVENESS), id="a failed probe that kills nothing yet"),
        pytest.param(said(READINESS, uid="uid-former"), id="of a former pod of that name"),
        pytest.param(said(KILL_LIVENESS, namespace="others"), id="of a stranger's pod"),
    ],
)
async def test_what_is_nobodys_business(words: bytes) -> None:
    async with hearing(POD, words) as (overheard, told):
        assert (told, overheard.kills([POD]), overheard.answer(DOUBT)) == ([], {}, None)
