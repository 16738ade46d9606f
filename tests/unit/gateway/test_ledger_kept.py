"""What outlives a restart of the process, and what Envoy's statistics add to the counts."""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path
from typing import Any

import orjson
import pytest

from roadstead.counts import Figures, Question
from roadstead.gateway.ledger.checkpoint import APPEND_SECONDS, FILE, REWRITE_SECONDS, Checkpoint
from roadstead.gateway.ledger.envoy_stats import EnvoyStats, parse
from roadstead.gateway.ledger.figures import figures
from roadstead.gateway.ledger.ledger import Ledger
from roadstead.latencies import BOUNDS
from tests.unit.gateway.ledger_world import BEGAN, HOUR, D, W


class LoopClock:
    """Follows the loop's virtual time."""

    def __init__(self) -> None:
        self.shift = BEGAN - asyncio.get_running_loop().time()

    def __call__(self) -> float:
        return self.shift + asyncio.get_running_loop().time()


async def life(path: Path, clock: LoopClock, *, killed: bool = False, counted: int = 0, seconds: float = 10) -> Ledger:
    """A process's life that begins with what is on disk; ``counted`` requests come in the middle of it."""
    ledger = Ledger("a", clock=clock)
    checkpoint = Checkpoint(path, ledger)
    checkpoint.load()
    task = asyncio.create_task(checkpoint.run())
    await asyncio.sleep(seconds / 2)
    if counted:
        ledger.report("a", W, 1, counted, 0)
    await asyncio.sleep(seconds / 2)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    if not killed:
        await checkpoint.close()
    return ledger


@pytest.mark.parametrize("killed", [True, False])
@pytest.mark.parametrize("seconds", [3 * APPEND_SECONDS, 1.5 * REWRITE_SECONDS])
async def test_counts_outlive_a_restart(tmp_path: Path, killed: bool, seconds: float) -> None:
    clock = LoopClock()
    first = await life(tmp_path, clock, killed=killed, counted=5, seconds=seconds)
    second = await life(tmp_path, clock, killed=killed, counted=7, seconds=seconds)
    third = await life(tmp_path, clock)
    assert third.last_hour([W]).value == 12
    assert third.known_since == second.known_since == first.known_since
    assert third.attended_since > second.attended_since > first.attended_since, "nobody was there between them"
    assert third.in_flight([W]) == 1
    assert os.listdir(tmp_path) == [FILE]


async def test_after_more_than_an_hour_away_the_hour_is_not_known(tmp_path: Path) -> None:
    clock = LoopClock()
    await life(tmp_path, clock, counted=5)
    clock.shift += HOUR + 60
    ledger = await life(tmp_path, clock)
    assert ledger.last_request(W) is not None
    assert ledger.known_since == pytest.approx(clock(), abs=11)


@pytest.mark.parametrize("spoil", ["cut", "garbage", "empty", "folder"])
async def test_a_file_that_cannot_be_read_is_passed_over_with_a_word(tmp_path: Path, spoil: str, caplog: pytest.LogCaptureFixture) -> None:
    clock = LoopClock()
    await life(tmp_path, clock, killed=True, counted=5)
    file = tmp_path / FILE
    match spoil:
        case "cut":
            file.write_bytes(file.read_bytes()[:-9])
        case "garbage":
            file.write_bytes(b"\x00\xff" * 100)
        case "empty":
            file.write_bytes(b"")
        case _:
            file.unlink()
            file.mkdir()
    ledger = Ledger("a", clock=clock)
    with caplog.at_level(logging.WARNING):
        Checkpoint(tmp_path, ledger).load()
    assert ledger.known_since == pytest.approx(clock(), abs=1)
    assert ledger.last_hour([W]).value == 0
    assert ("Counts on disk can be read up to line" in caplog.text) == (spoil != "empty")


async def test_a_folder_that_cannot_be_written_ends_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ledger = await life(tmp_path / "absent", LoopClock(), counted=5)
    assert ledger.last_hour([W]).value == 5
    assert "Counts can't be written to disk" in caplog.text


async def test_without_a_folder_the_ledger_is_pruned_all_the_same() -> None:
    clock = LoopClock()
    ledger = Ledger("a", clock=clock, minute_seconds=1, retention_seconds=60)
    task = asyncio.create_task(Checkpoint(None, ledger).run())
    ledger.report("a", W, 0, 5, 0)
    await asyncio.sleep(200)
    assert ledger.last_request(W) is None
    task.cancel()


# Envoy's statistics


def stats(uptime: int, **counts: Any) -> str:
    """As Envoy 1.40 answers for JSON with cumulative buckets; counts are ``w_4xx=2`` and ``w_time={5: 1, 10: 3}``."""
    found: list[dict[str, Any]] = [{"name": "server.uptime", "value": uptime}]
    histograms = []
    for name, value in counts.items():
        key = f"cluster.{ {'w': W, 'h': f'{W}.h2c', 'o': D}[name[0]] }.upstream_rq_{name[2:]}"
        if isinstance(value, int):
            found.append({"name": key, "value": value})
        else:
            buckets, seen = [], 0
            for bound in BOUNDS:
                seen += value.get(bound, 0)
                buckets.append({"upper_bound": float(bound), "interval": 0, "cumulative": seen})
            histograms.append({"name": key, "buckets": buckets})
    return orjson.dumps({"stats": [*found, *([{"histograms": histograms}] if histograms else [])]}).decode()


def rated(ledger: Ledger, key: str = W) -> tuple[int | None, int | None]:
    """User errors and slow requests (more than 2 s)."""
    found: Figures = figures(ledger, Question(endpoints=[key], start=BEGAN - HOUR, end=ledger.now + 60))
    return found.user_errors, found.slow_requests


async def test_totals_become_what_was_added() -> None:
    ledger = Ledger("a", clock=LoopClock())
    envoy = EnvoyStats(ledger)
    await asyncio.sleep(10)
    assert rated(ledger) == (None, None)
    envoy.take(stats(5))
    await asyncio.sleep(1)
    assert rated(ledger) == (0, 0)
    envoy.take(stats(15, w_4xx=2, w_time={1: 4, 5000: 1}, o_4xx=9))
    envoy.take(stats(25, w_4xx=2, w_time={1: 4, 5000: 1}, o_4xx=9))
    envoy.take(stats(35, w_4xx=3, w_time={1: 4, 5000: 2}, h_4xx=1, h_time={5000: 1}, o_4xx=9))
    assert rated(ledger) == (4, 3)
    assert rated(ledger, D) == (9, 0)
    envoy.take(stats(2, w_4xx=3))  # another Envoy: it began at 0
    assert rated(ledger) == (7, 3)
    envoy.take(stats(12, w_4xx=1))  # the cluster was away for a while
    assert rated(ledger) == (8, 3)


async def test_an_envoy_that_has_run_for_long_is_not_counted_twice() -> None:
    ledger = Ledger("a", clock=LoopClock())
    envoy = EnvoyStats(ledger)
    envoy.take(stats(5000, w_4xx=100))
    envoy.take(stats(5010, w_4xx=101))
    await asyncio.sleep(1)
    assert rated(ledger) == (1, 0)


async def test_a_process_that_has_ended_well_goes_on_where_it_was(tmp_path: Path) -> None:
    clock = LoopClock()
    first = Ledger("a", clock=clock)
    envoy = EnvoyStats(first)
    envoy.take(stats(5, w_4xx=10))
    await Checkpoint(tmp_path, first, envoy).close()
    await asyncio.sleep(20)
    second = Ledger("a", clock=clock)
    envoy = EnvoyStats(second)
    Checkpoint(tmp_path, second, envoy).load()
    envoy.take(stats(25, w_4xx=12))
    await asyncio.sleep(1)
    assert rated(second) == (12, 0)


async def test_readings_that_are_none_add_nothing() -> None:
    class Away:
        async def figures(self, filter: str) -> str | None:
            return None

    ledger = Ledger("a", clock=LoopClock())
    await EnvoyStats(ledger).look(Away())
    assert ledger.rated_since is None
    with pytest.raises(ValueError, match="not statistics of Envoy"):
        EnvoyStats(ledger).take("no")


def test_other_bounds_than_ours_go_to_the_next_that_holds_them() -> None:
    buckets = [{"upper_bound": bound, "cumulative": total} for bound, total in ((0.5, 1), (25, 3), (2500, 4), (1e9, 6))]
    seen = parse(orjson.dumps({"stats": [{"histograms": [{"name": "h", "buckets": buckets}]}]}).decode()).totals["h"]
    assert {bound: count for bound, count in zip((*BOUNDS, "more"), seen, strict=True) if count} == {
        1: 1,
        50: 2,
        5000: 1,
        "more": 2,
    }
