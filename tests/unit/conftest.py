"""A scripted API server: protocol faults, which a real one can't be asked to commit, and answers to every call alike."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from roadstead.kube.client import ApiClient
from roadstead.kube.config import ClusterConfig
from tests.unit.kube.fake import ScriptedApi


@pytest.fixture
async def api() -> AsyncIterator[ScriptedApi]:
    async with ScriptedApi() as running:
        yield running


@pytest.fixture
async def client(api: ScriptedApi) -> AsyncIterator[ApiClient]:
    async with ApiClient(ClusterConfig(api.url), user_agent="test") as entered:
        yield entered
