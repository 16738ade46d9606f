"""Which Envoys the Store waits for: the one beside us even before it comes, another replica's as long as it visits. Time is real here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc.aio
import pytest
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.service.discovery.v3 import ads_pb2_grpc, discovery_pb2

from roadstead.api.container import Protocol
from roadstead.gateway.envoy.ads import CLUSTERS, ENDPOINTS, Discovery, Store
from roadstead.gateway.envoy.resources import assignment, cluster

NAME = "w-0123456789abcdef01234567"
OTHER = "w-76543210fedcba9876543210"


def pods(*hosts: str) -> endpoint_pb2.ClusterLoadAssignment:
    return assignment(NAME, [(host, 80) for host in hosts], None)


@pytest.fixture
def store() -> Store:
    return Store()


@asynccontextmanager
async def envoy(store: Store, node: str = "one", visit_seconds: float | None = None) -> AsyncIterator[Any]:
    """An Envoy that asks for one cluster's addresses. With ``visit_seconds`` it is another replica's."""
    server = grpc.aio.server()
    ads_pb2_grpc.add_AggregatedDiscoveryServiceServicer_to_server(Discovery(store, visit_seconds), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        found = ads_pb2_grpc.AggregatedDiscoveryServiceStub(channel).DeltaAggregatedResources()
        first = discovery_pb2.DeltaDiscoveryRequest(type_url=ENDPOINTS, resource_names_subscribe=[NAME])
        first.node.id = node
        await found.write(first)
        yield found
        found.cancel()
    await server.stop(None)


async def take(stream: Any) -> None:
    """Read what comes, and say yes to it."""
    told = await stream.read()
    await stream.write(discovery_pb2.DeltaDiscoveryRequest(type_url=told.type_url, response_nonce=told.nonce))


async def test_waits_for_the_envoy_beside_us_to_come(store: Store) -> None:
    """As after a restart of this process; that another replica's has taken it is not enough."""
    store.put(ENDPOINTS, NAME, pods("10.0.0.1"))
    async with envoy(store, "guest", visit_seconds=60) as guest:
        await take(guest)
        waiting = asyncio.create_task(store.acknowledged(ENDPOINTS, NAME))
        await asyncio.wait([waiting], timeout=0.2)
        assert not waiting.done()
        async with envoy(store, "ours") as ours:
            await asyncio.wait([waiting], timeout=0.2)
            assert not waiting.done()
            await take(ours)
            async with asyncio.timeout(4):
                await waiting


async def test_an_envoy_that_never_comes_holds_nobody_up_for_long(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("roadstead.gateway.envoy.ads.PATIENCE_SECONDS", 0.2)
    store.put(ENDPOINTS, NAME, pods("10.0.0.1"))
    async with asyncio.timeout(4):
        await asyncio.gather(*(store.acknowledged(ENDPOINTS, NAME) for _ in range(5)))
    assert len(caplog.records) == 1, "it is said once"


async def test_configured_is_an_envoy_that_has_taken_all_it_asked_for(store: Store) -> None:
    store.put(CLUSTERS, NAME, cluster(NAME, Protocol.HTTP))
    store.put(ENDPOINTS, NAME, pods("10.0.0.1"))
    waiting = asyncio.create_task(store.configured())
    async with envoy(store, "guest", visit_seconds=60) as guest:
        await guest.write(discovery_pb2.DeltaDiscoveryRequest(type_url=CLUSTERS))
        await take(guest)
        await take(guest)
        await asyncio.wait([waiting], timeout=0.2)
        assert not waiting.done()
    async with envoy(store) as ours:
        await take(ours)
        await asyncio.wait([waiting], timeout=0.2)
        assert not waiting.done(), "it has not asked for clusters yet"
        await ours.write(discovery_pb2.DeltaDiscoveryRequest(type_url=CLUSTERS))
        await asyncio.wait([waiting], timeout=0.2)
        assert not waiting.done()
        await take(ours)  # the cluster
        await take(ours)  # and its addresses once more
        async with asyncio.timeout(4):
            await waiting


async def test_what_a_guest_knows_is_told_by_its_name(store: Store) -> None:
    store.put(ENDPOINTS, NAME, pods("10.0.0.1"))
    async with envoy(store, "ours") as ours:
        await take(ours)
        await store.acknowledged(ENDPOINTS, NAME)
        assert store.knows("ours", ENDPOINTS, NAME)
        assert not store.knows("guest", ENDPOINTS, NAME)
        waiting = asyncio.create_task(store.learnt("guest", ENDPOINTS, NAME))
        async with envoy(store, "guest", visit_seconds=60) as guest:
            await asyncio.wait([waiting], timeout=0.2)
            assert not waiting.done()
            await take(guest)
            await waiting
            assert store.knows("guest", ENDPOINTS, NAME)
    assert store.knows("guest", ENDPOINTS, OTHER), "there is no such thing to know"


async def test_a_guest_that_never_comes_is_not_waited_for_for_long(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("roadstead.gateway.envoy.ads.GUEST_PATIENCE_SECONDS", 0.2)
    store.put(ENDPOINTS, NAME, pods("10.0.0.1"))
    async with asyncio.timeout(4):
        await store.learnt("guest", ENDPOINTS, NAME)


async def test_a_visit_ends(store: Store) -> None:
    store.put(ENDPOINTS, NAME, pods("10.0.0.1"))
    async with envoy(store, "guest", visit_seconds=0.3) as guest:
        await take(guest)
        async with asyncio.timeout(4):
            assert await guest.read() is grpc.aio.EOF
    assert store.envoys == []
