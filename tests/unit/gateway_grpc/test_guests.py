"""Questions of Envoys that belong to other replicas, which may not know yet what is open here. Time is real here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from roadstead.gateway.directory import WORKLOAD
from roadstead.gateway.http import listening
from tests.unit.gateway.test_authoriser import Gateway, path_of
from tests.unit.gateway.waking_world import POD, settle
from tests.unit.gateway_grpc.gateway_processes import until


class Known:
    """What another replica's Envoy knows: nothing, until a test says so."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.told = asyncio.Event()

    def knows(self, node: str, cluster_name: str) -> bool:
        self.asked.append((node, cluster_name))
        return self.told.is_set()

    async def learnt(self, node: str, cluster_name: str) -> None:
        await self.told.wait()


@pytest.fixture
def known() -> Known:
    return Known()


@pytest.fixture
async def gateway(known: Known) -> AsyncIterator[Gateway]:
    async with AsyncExitStack() as stack:
        made = Gateway(stack)
        await made.serve()
        guests = made.authoriser.for_guests(known)
        made.port = await stack.enter_async_context(listening(guests, "127.0.0.1", 0))
        yield made


@pytest.fixture
async def warm(gateway: Gateway) -> Gateway:
    gateway.world.pods(POD)
    await settle()
    return gateway


async def test_one_is_let_through_once_it_knows_the_way(warm: Gateway, known: Known) -> None:
    asking = asyncio.create_task(warm.says(x_roadstead_node="gateway-1"))
    await asyncio.wait([asking], timeout=0.2)
    assert not asking.done()
    known.told.set()
    assert (await asking).status == 200
    assert known.asked == [("gateway-1", warm.world.target().cluster)]
    assert (await warm.says(x_roadstead_node="gateway-1")).status == 200


async def test_what_has_been_open_for_long_it_knows(warm: Gateway, known: Known) -> None:
    warm.world.target().opened_at -= 10
    assert (await warm.says()).status == 200
    assert not known.asked


async def test_a_request_that_waited_waits_for_that_too(gateway: Gateway, known: Known) -> None:
    asking = asyncio.create_task(gateway.says())
    await until(lambda: gateway.world.waking.total == 1, "it waits")
    gateway.world.pods(POD)
    await until(lambda: bool(known.asked), "it waits for the Envoy")
    gateway.world.pods()  # gone again before the Envoy knew
    known.told.set()
    await until(lambda: gateway.world.waking.total == 1, "it waits anew")
    assert not asking.done()
    gateway.world.pods(POD)
    said = await asking
    assert (said.status, "x-roadstead-cold-start" in said.headers) == (200, True)


async def test_a_caller_who_leaves_meanwhile_is_let_go(warm: Gateway, known: Known) -> None:
    connection = await warm.wire()
    connection.ask(path_of(WORKLOAD), authorization="Bearer editor")
    await until(lambda: bool(known.asked), "it waits for the Envoy")
    connection.writer.transport.abort()
    await asyncio.sleep(0.2)
    known.told.set()
    assert (await warm.says()).status == 200
    assert warm.authoriser.answers == {200: 1}


async def test_refusals_wait_for_nobody(warm: Gateway, known: Known) -> None:
    assert (await warm.says("stranger")).status == 404
    assert (await warm.says(None)).status == 401
    assert not known.asked
