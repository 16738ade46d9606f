"""Requests and answers that are slow, silent or large: they last while something moves, and cost no memory that grows with them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import aiohttp
import httpx
import pytest

from hack.cluster.control import ControlCluster
from tests.clusters import declare_platform, wait_for
from tests.support.gateways import Replica, wait_route
from tests.support.large_bodies import transfer
from tests.support.memory import FLAT_MIB, resident_mib
from tests.support.place import Place
from tests.support.web_pod import MIB


@pytest.fixture
def short_idle_timeout(cluster: ControlCluster, gateway: Replica, settings: None) -> int:
    declare_platform(cluster, gateway={"idleTimeoutSeconds": 3})
    wait_route(gateway, 3)
    return 3


def test_slow_bodies_and_silence_within_the_limit(place: Place, name: str, short_idle_timeout: int) -> None:
    """A request may last longer than the idle timeout as long as something moves."""

    def pieces() -> Iterator[bytes]:
        for _ in range(6):
            yield b"x" * 1000
            time.sleep(1)

    with ThreadPoolExecutor(3) as pool:
        up = pool.submit(httpx.post, place.url(name, "/upload"), headers=place.headers, content=pieces(), timeout=30)
        down = pool.submit(httpx.get, place.url(name, "/drip?pieces=6&pause=1"), headers=place.headers, timeout=30)
        silent = pool.submit(httpx.get, place.url(name, "/silent?seconds=2"), headers=place.headers, timeout=30)
        assert up.result().json()["size"] == 6000
        assert len(down.result().content) == 6000
        assert silent.result().text == "done"


def test_silence_beyond_the_limit(place: Place, name: str, short_idle_timeout: int) -> None:
    for _ in range(2):
        answer = httpx.get(place.url(name, "/silent?seconds=20"), headers=place.headers, timeout=30)
        assert answer.status_code == 504
        assert answer.headers["content-type"] == "application/json"
        assert "detail" in answer.json()


async def test_a_websocket_is_cut_when_it_is_silent_for_too_long(place: Place, name: str, short_idle_timeout: int) -> None:
    async with aiohttp.ClientSession() as session, session.ws_connect(place.url(name, "/ws"), headers=place.headers) as socket:
        for _ in range(5):
            await asyncio.sleep(1)
            await socket.send_str("still there")
            assert await socket.receive_str(timeout=10) == "still there"
        message = await socket.receive(timeout=20)
        assert message.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.CLOSING)


@pytest.mark.parametrize("mib", [200, pytest.param(1024, marks=pytest.mark.long)])
def test_large_bodies(place: Place, name: str, mib: int) -> None:
    transfer(place.gateway, place.prefix(name), place.token, mib)


def test_a_pod_that_doesnt_read_stops_the_client_not_the_memory(place: Place, name: str) -> None:
    """What a container doesn't take is not taken from the client either."""
    assert place.gateway.envoy is not None
    pid = place.gateway.envoy.pid
    before, given = resident_mib(pid), [0] * 4

    def pieces(number: int) -> Iterator[bytes]:
        for _ in range(200):
            yield bytes(MIB)
            given[number] += 1

    with ThreadPoolExecutor(4) as pool:
        path = place.url(name, "/silent?seconds=3")
        uploads = [pool.submit(httpx.post, path, headers=place.headers, content=pieces(number), timeout=60) for number in range(4)]
        time.sleep(2)
        assert resident_mib(pid) - before < FLAT_MIB
        assert max(given) < 50
        wait_for(lambda: all(upload.done() for upload in uploads), "the pod to answer")


def test_a_slow_reader_stops_the_pod_not_the_memory(place: Place, name: str) -> None:
    """Who doesn't read what he asked for costs a buffer, not the whole answer."""
    assert place.gateway.envoy is not None
    pid = place.gateway.envoy.pid
    before = resident_mib(pid)
    with place.client() as client, ExitStack() as stack:
        for _ in range(4):
            answer = stack.enter_context(client.stream("GET", place.prefix(name) + "/download?mib=100"))
            assert answer.status_code == 200
        time.sleep(2)
        assert resident_mib(pid) - before < FLAT_MIB
