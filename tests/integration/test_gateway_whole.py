"""The gateway as a whole on a real API server: Envoy, the process beside it, and who waits for the first pod."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

import aiohttp
import httpx

from tests.clusters import wait_for
from tests.support.gateways import DESCRIPTORS, figure
from tests.support.place import Place
from tests.support.pods import Pod


def test_a_request_reaches_the_pod(place: Place, served: Pod) -> None:
    name = place.workload(served)
    with place.client() as client:
        answer = client.get(place.prefix(name) + "/a/b%2Fc?q=1%202")
        assert answer.status_code == 200, answer.text
        said = answer.json()
        assert said["path"] == "/a/b%2Fc?q=1%202"
        assert "authorization" not in said["headers"]
        assert said["headers"]["x-forwarded-prefix"] == place.prefix(name)
        assert said["headers"]["x-roadstead-user"] == f"system:serviceaccount:{place.namespace}:caller"
        again = client.get(place.prefix(name) + "/")
        assert again.status_code == 200
        assert client.get(place.prefix("nothing") + "/").status_code == 404
    assert httpx.get(place.url(name)).status_code == 401


def test_a_request_waits_for_the_first_pod(place: Place, served: Pod) -> None:
    name, before = place.workload(), len(served.seen)
    phases = ("ready", "total")
    counted = [figure(place.gateway, f'roadstead_gateway_cold_start_seconds_count{{phase="{phase}"}}') for phase in phases]
    with ThreadPoolExecutor(20) as pool:
        waiting = [pool.submit(httpx.get, place.url(name), headers=place.headers, timeout=30) for _ in range(20)]
        time.sleep(2)
        assert not any(one.done() for one in waiting)
        place.pods(name, served)
        answers = [one.result() for one in waiting]
    assert {answer.status_code for answer in answers} == {200}
    assert all("total=" in answer.headers["x-roadstead-cold-start"] for answer in answers)
    assert len(served.seen) - before == 20
    told = [figure(place.gateway, f'roadstead_gateway_cold_start_seconds_count{{phase="{phase}"}}') for phase in phases]
    assert told == [count + 1 for count in counted], "one cold start, however many waited for it"


def test_more_may_wait_than_descriptors_were_given(place: Place, served: Pod) -> None:
    """Each request that waits is a connection of the process beside Envoy."""
    names = [place.workload() for _ in range(4)]

    async def ask() -> list[int]:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), headers=place.headers) as session:

            async def status(name: str) -> int:
                async with session.get(place.url(name), timeout=aiohttp.ClientTimeout(60)) as answer:
                    return answer.status

            return await asyncio.gather(*(status(name) for name in names * 100))

    assert len(names) * 100 > DESCRIPTORS
    with ThreadPoolExecutor(1) as pool:
        answers = pool.submit(asyncio.run, ask())
        wait_for(lambda: figure(place.gateway, "roadstead_gateway_held_requests") == 400, "all to wait")
        for name in names:
            place.pods(name, served)
        assert answers.result() == [200] * 400
