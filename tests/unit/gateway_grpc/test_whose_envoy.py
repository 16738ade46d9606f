"""Which Envoys the Store waits for: the one beside us even before it comes, another replica's as long as it visits. Time is real here."""

from __future__ import annotations

import asyncio

import grpc.aio
import pytest
from envoy.service.discovery.v3 import discovery_pb2

from roadstead.api.container import Protocol
from roadstead.gateway.envoy.ads import CLUSTERS, ENDPOINTS, Envoy, Store
from roadstead.gateway.envoy.resources import cluster
from tests.support.discovery import NAME, OTHER, envoy, pods, take


@pytest.fixture
def store() -> Store:
    return Store()


async def test_one_that_comes_and_goes_in_a_moment_is_waited_for_again(store: Store) -> None:
    configured = asyncio.create_task(store.configured())
    await asyncio.sleep(0)
    fleeting = Envoy(home=True)
    store.join(fleeting)
    store.leave(fleeting)
    await asyncio.wait([configured], timeout=0.1)
    assert not configured.done()
    configured.cancel()


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
