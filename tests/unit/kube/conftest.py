"""Virtual time and a scripted API server: protocol faults, which a real API server can't be asked to commit, in milliseconds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping

import pytest

from roadstead.kube.client import ApiClient
from roadstead.kube.config import ClusterConfig
from tests.unit.kube.fake import ScriptedApi, VirtualTimeLoop


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"virtual-time": VirtualTimeLoop}


@pytest.fixture
async def api() -> AsyncIterator[ScriptedApi]:
    async with ScriptedApi() as running:
        yield running


@pytest.fixture
async def client(api: ScriptedApi) -> AsyncIterator[ApiClient]:
    async with ApiClient(ClusterConfig(api.url), user_agent="test") as entered:
        yield entered
