"""Whether there is anything of an id isn't told by how long the answer takes. Time is real here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from roadstead.gateway.directory import WORKLOAD
from tests.unit.gateway.test_authoriser import NOBODY, Gateway, path_of


@pytest.fixture
async def gateway(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Gateway]:
    monkeypatch.setattr("roadstead.gateway.authoriser.UNSEEN_SECONDS", 1.0)
    async with AsyncExitStack() as stack:
        made = Gateway(stack)
        await made.serve()
        yield made


async def test_what_is_not_there_is_told_as_late_as_what_may_not_be_seen(gateway: Gateway) -> None:
    paths = (path_of(WORKLOAD), f"/api/v2/endpoints/workloads/{NOBODY}/")
    for _ in range(2):  # asked of the API server, and kept
        asking = [asyncio.create_task(gateway.says("stranger", path)) for path in paths]
        await asyncio.wait(asking, timeout=0.4)
        assert not any(one.done() for one in asking)
        assert [(await one).status for one in asking] == [404, 404]


async def test_who_leaves_meanwhile_is_told_nothing(gateway: Gateway) -> None:
    connection = await gateway.wire()
    connection.ask(f"/api/v2/endpoints/workloads/{NOBODY}/", authorization="Bearer stranger")
    await asyncio.sleep(0.4)
    connection.writer.transport.abort()
    await asyncio.sleep(1)
    assert not gateway.authoriser.answers


async def test_others_need_not_wait(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("roadstead.gateway.authoriser.UNSEEN_SECONDS", 1000.0)
    async with asyncio.timeout(20):
        statuses = [(await gateway.says("viewer")).status, (await gateway.says(None)).status]
        statuses.append((await gateway.says("stranger", "/api/v2/endpoints/nothing")).status)
    assert statuses == [403, 401, 404]
