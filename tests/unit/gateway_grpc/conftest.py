"""grpc.aio in the event loop that the process runs on: uvloop, real sockets on loopback, real time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping

import pytest
import uvloop

from tests.unit.gateway_grpc.gateway_processes import Fleet
from tests.unit.gateway_grpc.rpc_talker import Connect, Server, talking


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
async def fleet() -> AsyncIterator[Fleet]:
    made = Fleet(time.time)
    yield made
    await made.close()


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
async def connect(server: Server) -> AsyncIterator[Connect]:
    async with talking(server) as connected:
        yield connected
