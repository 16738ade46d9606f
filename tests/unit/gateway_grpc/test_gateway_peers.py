"""Gateway processes tell each other what they count: real servers on loopback, one of which goes and another comes."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from pathlib import Path

import grpc
import orjson
import pytest
import uvloop

from roadstead.certificates import dns_names, renewal
from roadstead.counts import SERVICE
from roadstead.gateway.ledger.ledger import BUCKETS_A_PART, RETENTION_SECONDS
from roadstead.tls import Certificates
from tests.unit.gateway_grpc.gateway_processes import Fleet, W, until


async def test_it_runs_on_uvloop() -> None:
    assert isinstance(asyncio.get_running_loop(), uvloop.Loop)


async def test_counts_gauges_and_demand_reach_every_process(fleet: Fleet) -> None:
    a, b, c = [await fleet.start(name) for name in "abc"]
    assert not a.peers.complete  # nobody has said yet who the peers are
    a.ledger.report("a", W, 2, 5, 1)
    fleet.introduce("a", "b", "c")
    await until(lambda: all(process.peers.complete and process.peers.hears_all for process in (a, b, c)), "whole states")
    b.ledger.report("b", W, 1, 7, 0)
    c.ledger.set_demand("n/w", 3, True)
    for process in (a, b, c):
        await until(lambda process=process: process.ledger.in_flight([W]) == 3, "requests in flight")
        await until(lambda process=process: process.ledger.held("n/w") == 3, "held requests")
        assert process.ledger.last_hour([W]).value == 12
        assert process.ledger.waking("n/w")
    b.ledger.report("b", W, 0, 0, 0)
    c.ledger.set_demand("n/w", 0, False)
    await until(lambda: a.ledger.in_flight([W]) == 2 and not a.ledger.held("n/w") and not a.ledger.waking("n/w"), "the end of it")


async def test_a_new_process_learns_the_hour_of_one_that_is_gone(fleet: Fleet) -> None:
    """The rollout of all of them: a and b served, a goes, c comes and hears b only; then b goes."""
    a, b = await fleet.start("a"), await fleet.start("b")
    fleet.introduce("a", "b")
    await until(lambda: a.peers.complete and b.peers.complete, "each other's state")
    a.ledger.known_since = b.ledger.known_since = time.time() - 2 * 3600
    a.ledger.report("a", W, 4, 100, 3)
    await until(lambda: b.ledger.last_hour([W]).value == 100, "b to hear of it")
    await a.kill()
    await until(lambda: not b.peers.hears_all, "b to notice")
    assert b.ledger.in_flight([W]) == 4  # its last word holds
    fleet.introduce("b")
    b.ledger.gone("a")
    c = await fleet.start("c")
    fleet.introduce("b", "c")
    await until(lambda: c.peers.complete, "c to know everything")
    assert (c.ledger.last_hour([W]).value, c.ledger.last_hour([W]).exact, c.ledger.in_flight([W])) == (100, True, 0)
    assert c.ledger.attended_since == a.ledger.attended_since
    await b.kill()
    fleet.introduce("c")
    assert c.peers.complete
    assert c.ledger.last_hour([W]).value == 100


async def test_a_process_that_comes_back_is_found_again(fleet: Fleet) -> None:
    a, b = await fleet.start("a"), await fleet.start("b")
    fleet.introduce("a", "b")
    await until(lambda: a.peers.hears_all and b.peers.hears_all, "each other")
    b.ledger.report("b", W, 0, 9, 0)
    b.ledger.set_demand("n/w", 2, True)
    await until(lambda: a.ledger.held("n/w") == 2, "b's demand")
    await b.kill()
    await until(lambda: not a.peers.hears_all, "a to notice")
    again = await fleet.start("b", address=b.address)
    fleet.introduce("a", "b")
    await until(lambda: a.peers.hears_all and again.peers.complete, "each other, again")
    assert again.ledger.last_hour([W]).value == 9
    assert a.ledger.held("n/w") == 0
    again.ledger.report("b", W, 0, 1, 0)
    await until(lambda: a.ledger.last_hour([W]).value == 10, "its new counts beside its old ones")


async def test_whoever_does_not_answer_keeps_others_from_being_complete(fleet: Fleet) -> None:
    a, b = await fleet.start("a"), await fleet.start("b")
    await b.kill()
    a.peers.set_peers([a.address, b.address])
    await asyncio.sleep(0.6)
    assert not a.peers.complete
    fleet.introduce("a")
    await until(lambda: a.peers.complete, "itself")
    await until(lambda: not a.ledger._followers, "a to leave off listening to itself")


async def test_a_large_state_comes_in_parts(fleet: Fleet) -> None:
    a, b = await fleet.start("a"), await fleet.start("b")
    keys = [f"w-{number:024d}" for number in range(BUCKETS_A_PART)]  # a minute and an hour each
    for key in keys:
        a.ledger.report("a", key, 1, 2, 0)
    assert len(list(a.ledger.parts())) == 4
    fleet.introduce("a", "b")
    await until(lambda: b.peers.complete, "all of it")
    assert b.ledger.in_flight(keys) == len(keys)
    assert b.ledger.last_hour(keys).value == 2 * len(keys)


async def test_figures_over_the_wire(fleet: Fleet) -> None:
    a, b = await fleet.start("a"), await fleet.start("b")
    fleet.introduce("a", "b")
    await until(lambda: a.peers.complete and b.peers.complete, "each other's state")
    a.ledger.report("a", W, 2, 5, 1)
    await until(lambda: b.ledger.last_hour([W]).value == 5, "b to hear of it")
    async with grpc.aio.insecure_channel(b.address) as channel:
        ask = channel.unary_unary(f"/{SERVICE}/Figures")
        now = time.time()
        found = orjson.loads(await ask(orjson.dumps({"endpoints": [W], "start": now - RETENTION_SECONDS, "end": now + 60})))
        assert (found["requests"], found["server_errors"], found["in_flight"]) == (5, 1, 2)
        assert found["response_milliseconds"] is None
        assert found["last_request_at"] == pytest.approx(now, abs=60)
        with pytest.raises(grpc.aio.AioRpcError, match="INVALID_ARGUMENT"):
            await ask(b'{"endpoints": [], "start": 0, "end": 1, "quantile": 7}')


async def test_only_those_with_a_certificate_are_told(fleet: Fleet, tmp_path: Path) -> None:
    made = renewal(None, dns_names("roadstead-system", "roadstead-gateway", "roadstead-gateway-peers"), datetime.now(UTC))
    assert made is not None
    for name in ("ca.crt", "tls.crt", "tls.key"):
        (tmp_path / name).write_bytes(made.data[name])
    certificates = Certificates(tmp_path)
    a, b = [await fleet.start(name, certificates=certificates) for name in "ab"]
    stranger = await fleet.start("stranger")
    a.ledger.report("a", W, 0, 5, 0)
    fleet.introduce("a", "b")
    stranger.peers.set_peers([a.address])
    await until(lambda: a.peers.complete and b.peers.complete, "each other's state")
    assert b.ledger.last_hour([W]).value == 5
    await asyncio.sleep(0.5)
    assert not stranger.peers.complete
    assert stranger.ledger.last_hour([W]).value == 0
