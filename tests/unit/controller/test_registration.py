"""Versions, against an API server that takes every patch and shows none of them to the cache."""

from __future__ import annotations

import asyncio

from roadstead.controller.kinds import Key, Kind
from roadstead.controller.objects import Objects, Stored
from roadstead.controller.registration import Registrar
from roadstead.kube.client import ApiClient
from roadstead.kube.resource import Body
from tests.build import raw_artifact
from tests.unit.kube.fake import ScriptedApi, Step, answer


def listed(*items: Body) -> Step:
    return answer({"metadata": {"resourceVersion": "9"}, "items": list(items)})


def saw(objects: Objects, name: str, collection: str) -> tuple[Key, Stored]:
    key = Key(Kind.ARTIFACT, "team", name)
    objects.saw(Kind.ARTIFACT, raw_artifact(name, status="registered", collection=collection))
    stored = objects.get(key)
    assert stored is not None
    return key, stored


async def test_no_number_twice_and_no_lock_left(api: ScriptedApi, client: ApiClient) -> None:
    api.will(listed(), *[answer({})] * 20)
    objects = Objects(lambda _: None, lambda _: None)
    registrar = Registrar(client, objects)
    artifacts = [saw(objects, f"model-{number}", f"family-{number % 2}") for number in range(20)]
    given = await asyncio.gather(*(registrar.version(*each) for each in artifacts))
    assert sorted(number for number in given if number) == sorted([*range(1, 11)] * 2)
    assert await asyncio.gather(*(registrar.version(*each) for each in artifacts)) == given
    assert len(registrar._locks) == 0


async def test_what_another_leader_gave_last_is_known_before_the_cache_shows_it(api: ScriptedApi, client: ApiClient) -> None:
    """Two Artifacts were registered elsewhere a moment ago; this cache shows one of them without its version and the other not at all."""
    objects = Objects(lambda _: None, lambda _: None)
    registrar = Registrar(client, objects)
    api.will(listed(), answer({}))
    assert await registrar.version(*saw(objects, "first", "llm")) == 1
    registrar.new_term()
    fresh = [raw_artifact(name, status="registered", collection="llm") for name in ("second", "third")]
    for number, body in enumerate(fresh, 2):
        body["metadata"]["annotations"] = {"roadstead.dev/version": str(number)}
    api.will(listed(*fresh), answer({}))
    assert await registrar.version(*saw(objects, "fourth", "llm")) == 4
    assert await registrar.version(*saw(objects, "third", "llm")) == 3
    assert [request.method for request in api.requests] == ["GET", "PATCH", "GET", "PATCH"]
