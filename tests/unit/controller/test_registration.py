"""Versions, against an API server that takes every patch and shows none of them to the cache."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from roadstead.controller.kinds import Key, Kind
from roadstead.controller.objects import Objects
from roadstead.controller.registration import Registrar
from roadstead.kube.client import ApiClient
from roadstead.kube.config import ClusterConfig
from tests.build import raw_artifact
from tests.unit.kube.fake import ScriptedApi, answer


@pytest.fixture
async def client() -> AsyncIterator[ApiClient]:
    async with ScriptedApi() as api:
        api.will(*[answer({})] * 100)
        async with ApiClient(ClusterConfig(api.url), user_agent="test") as entered:
            yield entered


async def test_no_number_twice_and_no_lock_left(client: ApiClient) -> None:
    objects = Objects(lambda _: None, lambda _: None)
    registrar = Registrar(client, objects)
    names = [f"model-{number}" for number in range(20)]

    async def version(name: str) -> int | None:
        objects.saw(Kind.ARTIFACT, raw_artifact(name, status="registered", collection=f"family-{int(name[6:]) % 2}"))
        key = Key(Kind.ARTIFACT, "team", name)
        stored = objects.get(key)
        assert stored is not None
        return await registrar.version(key, stored)

    given = await asyncio.gather(*map(version, names))
    assert sorted(number for number in given if number) == sorted([*range(1, 11)] * 2)
    assert await asyncio.gather(*map(version, names)) == given
    assert len(registrar._locks) == 0
