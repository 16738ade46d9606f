"""How long a process that ends waits to be rid of what it counted."""

from __future__ import annotations

import asyncio

import pytest

from roadstead.gateway.ledger.ledger import Ledger
from roadstead.gateway.parts import HAND_OVER_SECONDS, handed_over
from roadstead.gateway.peers import ROUND_SECONDS
from tests.unit.gateway.ledger_world import W

SOON = ROUND_SECONDS + 0.2


async def test_it_waits_for_two_reports_of_its_envoy_and_until_all_are_told() -> None:
    ledger = Ledger("a")
    with ledger.follow() as changes:
        waiting = asyncio.create_task(handed_over(ledger, "a"))
        await asyncio.sleep(SOON)
        ledger.reported("a")  # under way before the last request was
        changes.take()
        await asyncio.sleep(SOON)
        assert not waiting.done()
        ledger.report("a", W, 0, 1, 0)
        ledger.reported("a")
        await asyncio.sleep(SOON)
        assert not waiting.done()  # nobody knows yet
        assert changes.take() is not None
        await asyncio.sleep(SOON)
        assert waiting.done()


@pytest.mark.parametrize("reports", [0, 1])
async def test_an_envoy_that_is_away_keeps_nobody_up(reports: int) -> None:
    ledger = Ledger("a")
    waiting = asyncio.create_task(handed_over(ledger, "a"))
    await asyncio.sleep(0.1)
    for _ in range(reports):
        ledger.reported("a")
    await asyncio.sleep(HAND_OVER_SECONDS - 1)
    assert not waiting.done()
    await asyncio.sleep(1 + SOON)
    assert waiting.done()


async def test_who_listens_and_never_takes_keeps_nobody_up() -> None:
    ledger = Ledger("a")
    with ledger.follow():
        waiting = asyncio.create_task(handed_over(ledger, "a"))
        await asyncio.sleep(0.1)
        ledger.report("a", W, 0, 1, 0)
        for _ in range(2):
            ledger.reported("a")
        await asyncio.sleep(HAND_OVER_SECONDS - 1)
        assert not waiting.done()
        await asyncio.sleep(1 + SOON)
        assert waiting.done()
