"""Virtual time, as in the tests of ``kube``: limits of minutes pass in milliseconds. And an authoriser to ask."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from tests.unit.gateway.authoriser_world import Gateway
from tests.unit.gateway.waking_world import POD, settle
from tests.unit.kube.conftest import pytest_asyncio_loop_factories

__all__ = ["pytest_asyncio_loop_factories"]


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    async with AsyncExitStack() as stack:
        made = Gateway(stack)
        await made.serve()
        yield made


@pytest.fixture
async def warm(gateway: Gateway) -> Gateway:
    """With a ready pod."""
    gateway.world.pods(POD)
    await settle()
    return gateway
