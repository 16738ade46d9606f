"""What the Store waits for: the word of every Envoy on what there is, and on nothing else. A real gRPC stream plays Envoy."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from envoy.service.discovery.v3 import discovery_pb2

from roadstead.api.container import Protocol
from roadstead.gateway.envoy.ads import CLUSTERS, ENDPOINTS, Store
from roadstead.gateway.envoy.resources import assignment, cluster
from tests.support.discovery import NAME, OTHER, envoy, pods, take


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
async def stream(store: Store) -> AsyncIterator[Any]:
    """An Envoy that has asked for one cluster's addresses, and been told."""
    store.put(ENDPOINTS, NAME, pods("10.0.0.1"))
    async with envoy(store) as found:
        yield found


async def waits(store: Store) -> asyncio.Task[None]:
    """Somebody who waits for Envoy's word on the addresses."""
    waiting = asyncio.create_task(store.acknowledged(ENDPOINTS, NAME))
    await asyncio.wait([waiting], timeout=0.2)
    assert not waiting.done()
    return waiting


async def test_waits_for_the_present_version(store: Store, stream: Any) -> None:
    await take(stream)
    await store.acknowledged(ENDPOINTS, NAME)
    store.put(ENDPOINTS, NAME, pods("10.0.0.2"))
    waiting = await waits(store)
    await take(stream)
    await waiting


async def test_waits_not_for_what_is_gone(store: Store, stream: Any) -> None:
    await stream.read()  # and says nothing
    waiting = await waits(store)
    store.drop(ENDPOINTS, NAME)
    async with asyncio.timeout(10):
        await waiting
    assert await take(stream) == [NAME]


async def test_waits_not_for_an_envoy_that_has_left(store: Store, stream: Any) -> None:
    await stream.read()
    waiting = await waits(store)
    stream.cancel()
    async with asyncio.timeout(10):
        await waiting


async def refuse(stream: Any) -> list[str]:
    """Read what comes, and say no to it; give back the names of what it was."""
    told = await stream.read()
    refusal = discovery_pb2.DeltaDiscoveryRequest(type_url=told.type_url, response_nonce=told.nonce)
    refusal.error_detail.message = "malformed"
    await stream.write(refusal)
    return [resource.name for resource in told.resources]


async def test_waits_not_for_what_is_refused(store: Store, stream: Any) -> None:
    await take(stream)
    store.put(ENDPOINTS, NAME, pods("nonsense"))
    waiting = asyncio.create_task(store.acknowledged(ENDPOINTS, NAME))
    await refuse(stream)
    async with asyncio.timeout(5):
        await waiting
    assert store.rejected == 1
    store.put(ENDPOINTS, NAME, pods("10.0.0.2"))
    waiting = await waits(store)
    await take(stream)
    await waiting


async def test_waits_not_for_addresses_of_a_cluster_that_is_refused(store: Store, stream: Any) -> None:
    await take(stream)
    store.put(CLUSTERS, OTHER, cluster(OTHER, Protocol.HTTP))
    store.put(ENDPOINTS, OTHER, assignment(OTHER, [("10.0.0.3", 80)]))
    await stream.write(discovery_pb2.DeltaDiscoveryRequest(type_url=CLUSTERS))
    waiting = asyncio.create_task(store.acknowledged(ENDPOINTS, OTHER))
    assert await refuse(stream) == [OTHER]
    async with asyncio.timeout(5):
        await waiting


async def test_what_is_refused_together_is_told_one_by_one(store: Store, stream: Any) -> None:
    await take(stream)
    await stream.write(discovery_pb2.DeltaDiscoveryRequest(type_url=ENDPOINTS, resource_names_subscribe=[OTHER]))
    await take(stream)
    store.put(ENDPOINTS, NAME, pods("nonsense"))
    store.put(ENDPOINTS, OTHER, assignment(OTHER, [("10.0.0.3", 80)]))
    waiting = [asyncio.create_task(store.acknowledged(ENDPOINTS, name)) for name in (NAME, OTHER)]
    assert await refuse(stream) == [NAME, OTHER]
    assert await refuse(stream) == [NAME]
    await asyncio.wait(waiting, timeout=0.2)
    assert [each.done() for each in waiting] == [True, False], "the other may still be taken"
    await take(stream)
    async with asyncio.timeout(5):
        await asyncio.gather(*waiting)


async def test_an_envoy_that_hangs_holds_nobody_up_for_long(store: Store, stream: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("roadstead.gateway.envoy.ads.PATIENCE_SECONDS", 0.2)
    store.put(ENDPOINTS, NAME, pods("10.0.0.1", "10.0.0.2"))
    async with asyncio.timeout(10):
        await store.acknowledged(ENDPOINTS, NAME)
