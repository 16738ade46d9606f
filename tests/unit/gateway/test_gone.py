"""What becomes of requests and of what is kept when the object that they are for goes, or another takes its name."""

from __future__ import annotations

import asyncio

import pytest

from roadstead.api.platform import Gateway, PlatformSpec
from roadstead.gateway.directory import DEPLOYMENT, WORKLOAD
from roadstead.gateway.waking import Answer, Go, Held
from tests.unit.gateway.waking_world import POD, World, settle


def held(world: World, name: str = "w", kind: str = WORKLOAD) -> Held:
    decision = world.waking.decide(world.target(name, kind))
    assert isinstance(decision, Held), decision
    return decision


async def answer(waiting: Held) -> Answer:
    """What it is told at once: long before the limit of a cold start."""
    async with asyncio.timeout(1):
        found = await waiting.future
    assert isinstance(found, Answer)
    return found


async def test_who_waits_for_a_workload_that_is_deleted_is_told() -> None:
    world = World()
    world.workload()
    waiting = held(world)
    world.workload(deleted=True)
    assert (await answer(waiting)).status == 404
    assert (world.waking.total, world.told.demand["team/w"]) == (0, (0, False))


async def test_who_waits_for_a_workload_that_is_gone_is_told() -> None:
    world = World()
    world.workload()
    waiting = held(world)
    world.no_workload()
    assert (await answer(waiting)).status == 404
    assert (world.waking.total, world.told.demand["team/w"]) == (0, (0, False))


async def test_who_waits_for_a_workload_of_whose_name_there_is_another_is_told() -> None:
    world = World()
    world.workload()
    waiting = held(world)
    world.workload(uid="another")
    assert (await answer(waiting)).status == 404
    assert (world.waking.total, world.told.demand["team/w"]) == (0, (0, False)), "the wake was the former one's"


async def test_who_waits_at_a_deployment_that_is_deleted_is_told() -> None:
    world = World()
    world.workload()
    world.deployment("d", "w", "w")
    waiting = held(world, "d", DEPLOYMENT)
    world.no_deployment("d")
    assert (await answer(waiting)).status == 404
    assert world.told.demand["team/w"] == (0, True), "the wake goes on"


async def test_the_back_off_of_a_deleted_workload_is_not_its_successors() -> None:
    world = World()
    world.workload()
    waiting = held(world)
    world.workload(state="errored", message="no such image", failed_wake="now")
    await answer(waiting)
    world.no_workload()
    world.workload(state="errored")
    held(world)


async def test_a_successor_opens_though_envoy_had_not_spoken_of_the_former_one() -> None:
    world = World()
    world.workload()
    world.envoy.hold()
    world.pods(POD)
    await settle()
    world.workload(uid="another")
    await settle()
    waiting = held(world)
    world.envoy.free.set()
    async with asyncio.timeout(1):
        assert isinstance(await waiting.future, Go)


@pytest.mark.parametrize("steps", range(6))
async def test_readiness_that_comes_back_at_any_step_of_the_wait_opens(steps: int) -> None:
    world = World()
    world.workload()
    world.envoy.hold()
    world.pods(POD)
    await settle()
    world.pods()
    world.envoy.free.set()
    for _ in range(steps):
        await asyncio.sleep(0)
    world.pods(POD)
    await settle()
    await settle()
    assert world.target().open


async def test_a_deployment_that_waits_counts_for_the_workload_that_serves_it_alone() -> None:
    world = World()
    world.workload("a")
    world.workload("b")
    world.deployment("d", "b", "a")
    world.envoy.hold()
    world.pods(POD, workload="a")
    await settle()
    held(world, "d", DEPLOYMENT)
    world.deployment("d", "b", "b")  # a is ready and b isn't: a goes on serving
    assert world.told.demand["team/a"][0] == 1
    world.pods(("10.0.0.2", 80), workload="b")
    assert world.told.demand["team/a"][0] == 0
    assert world.told.demand["team/b"][0] == 1


async def test_who_is_switched_to_another_workload_while_waiting_hears_of_its_failure() -> None:
    world = World()
    world.workload("a")
    world.workload("b")
    world.deployment("d", "a", "a")
    waiting = held(world, "d", DEPLOYMENT)
    world.deployment("d", "b", "b")
    world.workload("b", state="errored", message="no such image")
    assert (await answer(waiting)).detail == "no such image"


async def test_nothing_is_kept_of_what_is_gone() -> None:
    world = World()
    for number in range(20):
        name = f"w{number}"
        world.workload(name)
        waiting = held(world, name)
        world.deployment(f"d{number}", name, name)
        world.pods(POD, workload=name)
        await settle()
        assert waiting.future.done()
        world.no_pods(workload=name)
        waiting = held(world, name)
        world.workload(name, state="errored", message="bad", failed_wake="now")
        await answer(waiting)
        world.directory.platform = PlatformSpec(gateway=Gateway.model_validate({"queueTotal": 1}))
        world.workload(f"{name}-full")
        waiting = held(world, f"{name}-full")
        world.workload(f"{name}-refused")
        refused = world.waking.decide(world.target(f"{name}-refused"))
        assert isinstance(refused, Answer)
        assert refused.status == 429
        waiting.cancel()
        for end in ("", "-full", "-refused"):
            world.no_workload(name + end)
        world.no_deployment(f"d{number}")
    await asyncio.sleep(3600)
    assert world.kept() == 0
