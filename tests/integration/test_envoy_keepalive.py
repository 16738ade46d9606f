"""Connections on which nothing moves for hours: the kernel asks the other side whether it is still there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.lone_envoy import HOST, PREFIX, LoneEnvoy, lone_envoy, read_head, request

ESTABLISHED = "01"
KEEPALIVE = "02"
"""Of the timers in proc(5)'s net/tcp: not the one for what is sent and not acknowledged, nor the one for closed windows."""
TICKS_PER_SECOND = 100
KEEPALIVE_SECONDS = 60
"""The kernel's own choice is two hours, longer than load balancers and connection tables remember."""


@pytest.fixture
async def envoy() -> AsyncIterator[LoneEnvoy]:
    async with lone_envoy() as one:
        yield one


def asked_in(local: int | None = None, remote: int | None = None) -> list[float | None]:
    """In how many seconds the kernel asks on each connection between these ports of this machine; None: never."""
    found: list[float | None] = []
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, here, there, state, _, timer, *_ = line.split()
        ports = int(here.rpartition(":")[2], 16), int(there.rpartition(":")[2], 16)
        if state == ESTABLISHED and ports == (local or ports[0], remote or ports[1]):
            kind, _, ticks = timer.partition(":")
            found.append(int(ticks, 16) / TICKS_PER_SECOND if kind == KEEPALIVE else None)
    return found


async def is_asked_on(local: int | None = None, remote: int | None = None) -> None:
    """Return when there is such a connection, and all of them are asked on."""
    async with asyncio.timeout(10):
        while not (found := asked_in(local, remote)) or None in found:  # noqa: ASYNC110 - what was sent last is acknowledged first
            await asyncio.sleep(0.1)
    assert max(seconds for seconds in found if seconds is not None) <= KEEPALIVE_SECONDS


async def test_silent_connections_are_kept_alive(envoy: LoneEnvoy) -> None:
    """Those of clients, of pods, and of the authoriser that holds a request."""
    over = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        await over.wait()

    pod = await envoy.listen(silent)
    await envoy.pods(pod)
    envoy.gate.release = asyncio.Event()
    _, writer = await asyncio.open_connection(HOST, envoy.port)
    try:
        writer.write(request(PREFIX + "/x"))
        await is_asked_on(local=envoy.port)
        await is_asked_on(remote=envoy.authoriser_port)
        envoy.gate.release.set()
        await is_asked_on(remote=pod[1])
        await is_asked_on(local=envoy.port)
    finally:
        over.set()
        writer.close()
