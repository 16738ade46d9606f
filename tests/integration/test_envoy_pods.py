"""What becomes of requests whose pods fail, come and go, or are busy.

Envoy is real and has the gateway's configuration; see tests/support/lone_envoy.py for what stands around it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import grpc.aio
import pytest

from hack.cluster.control import free_ports
from roadstead.api.container import Protocol
from tests.support.lone_envoy import (
    HOST,
    PREFIX,
    TOKEN,
    Echo,
    LoneEnvoy,
    asking,
    faultless,
    lone_envoy,
    read_body,
    read_head,
    reply,
)


@pytest.fixture
async def envoy() -> AsyncIterator[LoneEnvoy]:
    async with lone_envoy() as one, faultless(one):
        yield one


async def test_a_request_that_reached_a_pod_is_never_repeated(envoy: LoneEnvoy) -> None:
    """The pod reads it whole and dies without a word: nobody knows what it did, so nobody may do it again."""
    begun: Counter[str] = Counter()

    async def dies(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await read_head(reader)
        assert head is not None
        begun[head.line.split()[0]] += 1
        await read_body(reader, head)
        writer.transport.abort()

    await envoy.pods(await envoy.listen(dies), await envoy.listen(dies))
    for method in ("GET", "POST"):
        answer = await envoy.get("/do", method=method, body=b"pay" if method == "POST" else b"")
        assert answer.status == 503
    assert begun == {"GET": 1, "POST": 1}


async def test_a_dead_pod_costs_no_request(envoy: LoneEnvoy) -> None:
    """Its address is still known and refuses; the other pod serves all, bodies too."""
    echo = Echo()
    (dead,) = free_ports(1)
    await envoy.pods((HOST, dead), await envoy.listen(echo))
    body = b"x" * 200_000
    answers = await asyncio.gather(*(envoy.get(f"/{n}", method="POST", body=body) for n in range(60)))
    assert Counter(answer.status for answer in answers) == {200: 60}
    assert echo.bodies == [body] * 60


@pytest.mark.parametrize("others", [0, 1])
async def test_what_is_under_way_at_a_pod_that_is_not_ready_any_more_counts(envoy: LoneEnvoy, others: int) -> None:
    """It may be too busy for its probe: of all pods, it isn't the one that has nothing to do. Nobody else is sent there."""
    busy, free = asyncio.Event(), Echo()

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await read_head(reader) is not None:
            await busy.wait()
            writer.write(reply(200, b"at last"))

    pod = await envoy.listen(slow)
    await envoy.pods(pod)
    await reported(envoy, 0)
    waiting = [asyncio.create_task(envoy.get("/slow")) for _ in range(3)]
    await reported(envoy, 3)
    await envoy.pods(*[await envoy.listen(free) for _ in range(others)], unready=(pod,))
    answers = await asyncio.gather(*(envoy.get(f"/{n}") for n in range(20)))
    assert Counter(answer.status for answer in answers) == {200 if others else 503: 20}
    await two_reports(envoy)
    assert envoy.counts.in_progress == 3
    busy.set()
    assert {answer.status for answer in await asyncio.gather(*waiting)} == {200}
    await reported(envoy, 0)
    assert envoy.counts.issued == 3 + 20 * others


async def reported(envoy: LoneEnvoy, in_progress: int) -> None:
    """Return when Envoy has reported twice, and so many requests under way."""
    await two_reports(envoy)
    async with asyncio.timeout(10):
        while envoy.counts.in_progress != in_progress:  # noqa: ASYNC110 - it is about another process
            await asyncio.sleep(0.05)


async def two_reports(envoy: LoneEnvoy) -> None:
    known = envoy.counts.reports
    async with asyncio.timeout(15):
        while envoy.counts.reports < known + 2:  # noqa: ASYNC110 - it is about another process
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("remembered", [False, True])
@pytest.mark.parametrize("left", [0, 1, 2])
async def test_only_dead_pods(envoy: LoneEnvoy, left: int, remembered: bool) -> None:
    """Or none: then Envoy says so, in our form."""
    if remembered:
        envoy.gate.verdict_seconds = 60
    await envoy.pods(await envoy.listen(Echo()))
    assert (await envoy.get("/x")).status == 200
    await envoy.pods(*((HOST, port) for port in free_ports(left)))
    answers = await asyncio.gather(*(envoy.get("/x", method="POST", body=b"a") for _ in range(20)))
    assert Counter((answer.status, answer.header("retry-after")) for answer in answers) == {(503, "1"): 20}
    assert {answer.body.strip() for answer in answers} == {b'{"detail":"the service can\'t be reached at the moment; try again"}'}


@pytest.mark.parametrize("left", [0, 1])
async def test_only_dead_pods_of_grpc(envoy: LoneEnvoy, left: int) -> None:
    """A client gets what it may try again, whatever its pods would have spoken."""
    await envoy.pods(*((HOST, port) for port in free_ports(left)), protocol=Protocol.H2C)
    async with grpc.aio.insecure_channel(f"{HOST}:{envoy.port}") as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await channel.unary_unary(f"{PREFIX}/p.S/Unary")(b"x", metadata=[("authorization", TOKEN)], timeout=20)
    assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
    assert "the service can't be reached at the moment; try again" in str(refused.value.details())


async def test_pods_come_and_go_under_load(envoy: LoneEnvoy) -> None:
    """Removed from what Envoy is told first, then gone: no request fails, and those that are under way end well."""

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while (head := await read_head(reader)) is not None:
            await read_body(reader, head)
            await asyncio.sleep(0.02)
            writer.write(reply(200, b"done"))

    pods = [await envoy.listen(slow) for _ in range(3)]
    await envoy.pods(*pods)
    async with asking(envoy) as seen:
        for turn in range(30):
            await envoy.pods(*(pod for index, pod in enumerate(pods) if index != turn % 3))
            await asyncio.sleep(0.05)
    assert seen[200] > 100
    assert set(seen) == {200}


async def test_the_least_busy_pod_is_asked(envoy: LoneEnvoy) -> None:
    """One pod never answers: of two chosen by chance the other one is less busy, so the stuck one gets a quarter and not half."""
    stuck, met, over = Counter[str](), asyncio.Semaphore(0), asyncio.Event()

    async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        stuck["requests"] += 1
        met.release()
        await over.wait()
        writer.write(reply(200, b"late"))

    async def at_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await read_head(reader) is not None:
            writer.write(reply(200, b"now"))
            met.release()

    await envoy.pods(await envoy.listen(never), await envoy.listen(at_once))
    waiting = []
    for _ in range(200):
        waiting.append(asyncio.create_task(envoy.get("/x")))
        await met.acquire()
    over.set()
    assert {(await task).status for task in waiting} == {200}
    assert stuck["requests"] < 80
