"""When the probes say that something is wrong, and what."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import Any, cast

import pytest

from roadstead.kube.resource import PODS
from roadstead.lag import PAUSE_SECONDS, LoopLag
from roadstead.operator.health import Health
from roadstead.operator.pulse import Pulse
from roadstead.resources import WORKLOADS


@pytest.fixture
def world() -> Any:
    """What the probes look at: one mirror that was heard of just now, an empty queue, an event loop in time."""
    reflector = SimpleNamespace(resource=PODS, present=True, last_heard=time.monotonic(), last_failed=0.0)
    return SimpleNamespace(
        reflector=reflector,
        pulse=Pulse(WORKLOADS, present=True),
        mirrors=SimpleNamespace(reflectors=(reflector,)),
        queue=SimpleNamespace(oldest_age_seconds=0.0, longest_held_seconds=0.0),
        lag=SimpleNamespace(worst_seconds=0.0),
    )


@pytest.fixture
def health(world: Any) -> Health:
    made = Health(cast(Any, world), [world.pulse], world.lag)
    made.filled = True
    return made


async def asked(health: Health) -> tuple[int, int, str]:
    """Codes of liveness and readiness, and the sentence of the latter."""
    live, ready = await health.livez(cast(Any, None)), await health.readyz(cast(Any, None))
    return live.status, ready.status, ready.text or ""


async def test_all_is_well(health: Health) -> None:
    assert await asked(health) == (200, 200, "ok")


async def test_until_caches_are_filled_it_lives_but_is_not_ready(health: Health, world: Any) -> None:
    """However long that takes: the API server may not be there yet."""
    health.filled = False
    world.reflector.last_heard -= 1000
    assert await asked(health) == (200, 503, "caches are being filled")


async def test_a_silent_watch_is_said(health: Health, world: Any) -> None:
    world.reflector.last_heard -= 200
    assert await asked(health) == (503, 503, "the watch of pods has been silent for 200 s")


async def test_so_is_one_of_kopfs(health: Health, world: Any) -> None:
    world.pulse.last_failed -= 300
    world.pulse.last_heard -= 200
    assert await asked(health) == (503, 503, "the watch of workloads has been silent for 200 s")
    world.pulse.beat()
    assert await asked(health) == (200, 200, "ok")


async def test_watches_that_wait_for_an_api_server_to_begin_anew_may_be_silent(health: Health, world: Any) -> None:
    """kopf gives up on one that stays away; a restart would only lose what is known."""
    world.pulse.last_failed = world.pulse.last_heard = time.monotonic() - 1000
    world.pulse.present = False
    assert await asked(health) == (200, 200, "ok")


async def test_an_api_server_that_is_away_is_no_reason_to_restart(health: Health, world: Any) -> None:
    world.reflector.last_heard -= 1000
    world.reflector.last_failed = time.monotonic()
    assert await asked(health) == (200, 200, "ok")


async def test_a_kind_that_is_not_there_may_be_silent(health: Health, world: Any) -> None:
    world.reflector.last_heard -= 200
    world.reflector.present = False
    assert await asked(health) == (200, 200, "ok")


async def test_an_object_that_nobody_takes_is_said(health: Health, world: Any) -> None:
    world.queue.oldest_age_seconds = 700.0
    assert await asked(health) == (503, 503, "an object has waited 700 s to be reconciled")


async def test_a_worker_that_hangs_is_not_ready_and_no_reason_to_restart(health: Health, world: Any) -> None:
    """Nobody waits for its object: that is held, and the others are reconciled by the other workers."""
    world.queue.longest_held_seconds = 700.0
    assert await asked(health) == (200, 503, "a worker has reconciled one object for 700 s")


async def test_a_late_event_loop_is_not_ready_and_no_reason_to_restart(health: Health, world: Any) -> None:
    world.lag.worst_seconds = 6.0
    assert await asked(health) == (200, 503, "the event loop was 6.0 s late")


async def test_the_lag_is_what_keeps_the_loop_from_turning() -> None:
    samples: asyncio.Queue[float] = asyncio.Queue()
    lag = LoopLag(samples.put_nowait)
    assert lag.worst_seconds == 0.0
    task = asyncio.create_task(lag.run())
    await asyncio.sleep(0)  # it measures from now on
    time.sleep(1.1 * PAUSE_SECONDS + 0.2)  # noqa: ASYNC251 - what must not happen; it may wait for the tick after the next
    assert await asyncio.wait_for(samples.get(), 30) >= 0.19
    task.cancel()
    assert lag.worst_seconds >= 0.19
