"""Mirrors of a real API server's objects: they follow, outlive its restart, and wait for kinds that aren't there."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from hack.cluster.control import ControlCluster
from roadstead.kube.client import ApiClient
from roadstead.kube.reflector import Reflector
from roadstead.kube.resource import CRDS, SERVICES, Body, Key, Resource
from tests.clusters import wait_admission
from tests.integration.kube.edge import US, service, until


@asynccontextmanager
async def mirror_of(
    client: ApiClient, resource: Resource, namespace: str | None = None, *, optional: bool = False
) -> AsyncIterator[tuple[Reflector[str], list[tuple[str, str | None, str | None]]]]:
    told: list[tuple[str, str | None, str | None]] = []

    def project(body: Body) -> str:
        return str((body["metadata"].get("labels") or {}).get("size", ""))

    def notify(key: Key, old: str | None, new: str | None) -> None:
        told.append((key[1], old, new))

    reflector = Reflector(
        client, resource, project=project, notify=notify, namespace=namespace, optional=optional, absent_seconds=0.3, retry_base_seconds=0.1
    )
    task = asyncio.create_task(reflector.run())
    try:
        yield reflector, told
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def sized(name: str, size: str) -> Body:
    body = service()
    body["metadata"] = {"name": name, "labels": {"size": size}}
    return body


async def test_a_mirror_follows_and_outlives_the_server(cluster: ControlCluster, client: ApiClient, namespace: str) -> None:
    for name in "ab":
        await client.apply(SERVICES, namespace, sized(name, "1"), field_manager=US)
    async with mirror_of(client, SERVICES, namespace) as (reflector, told):
        await asyncio.wait_for(reflector.synced.wait(), 10)
        assert reflector.items == {(namespace, "a"): "1", (namespace, "b"): "1"}
        await client.apply(SERVICES, namespace, sized("a", "2"), field_manager=US)
        await client.merge_patch(SERVICES, namespace, "b", {"metadata": {"annotations": {"no": "interest"}}})
        await client.delete(SERVICES, namespace, "b", uid=None)
        await until(lambda: ("b", "1", None) in told)
        # Not in a thread: the server is bound to die with the thread that started it (PR_SET_PDEATHSIG).
        cluster.restart_apiserver()
        await client.apply(SERVICES, namespace, sized("c", "3"), field_manager=US)
        await until(lambda: (namespace, "c") in reflector.items)
    assert told == [("a", None, "1"), ("b", None, "1"), ("a", "1", "2"), ("b", "1", None), ("c", None, "3")]
    wait_admission(cluster)


async def test_lists_come_in_chunks_of_one_snapshot(client: ApiClient, namespace: str) -> None:
    for number in range(5):
        await client.create(SERVICES, namespace, sized(f"s{number}", ""))
    pages = [page async for page in client.pages(SERVICES, namespace=namespace, limit=2)]
    assert [len(page.items) for page in pages] == [2, 2, 1]
    assert len({page.resource_version for page in pages}) == 1
    assert pages[0].items[0]["kind"] == "Service"


@pytest.fixture
def kind_that_comes_and_goes() -> tuple[Resource, Body]:
    resource = Resource("kube.example.org", "v1", "things", "Thing")
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    return (
        resource,
        {
            "metadata": {"name": "things.kube.example.org"},
            "spec": {
                "group": resource.group,
                "scope": "Namespaced",
                "names": {"plural": "things", "kind": "Thing", "singular": "thing", "listKind": "ThingList"},
                "versions": [{"name": "v1", "served": True, "storage": True, "schema": schema}],
            },
        },
    )


async def test_a_kind_that_appears_and_disappears(
    client: ApiClient, namespace: str, kind_that_comes_and_goes: tuple[Resource, Body]
) -> None:
    resource, crd = kind_that_comes_and_goes
    async with mirror_of(client, resource, optional=True) as (reflector, told):
        await asyncio.wait_for(reflector.synced.wait(), 10)
        assert not reflector.present
        await client.create(CRDS, None, copy.deepcopy(crd))
        await until(lambda: reflector.present)
        await client.create(resource, namespace, {"apiVersion": resource.api_version, "kind": "Thing", "metadata": {"name": "t"}})
        await until(lambda: told == [("t", None, "")])
        await client.delete(CRDS, None, crd["metadata"]["name"], uid=None)
        await until(lambda: not reflector.present, 60)
        assert told == [("t", None, ""), ("t", "", None)]
