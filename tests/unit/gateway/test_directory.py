"""What can be called, and what Envoy is told of it."""

from __future__ import annotations

import asyncio

from roadstead.api.container import Protocol
from roadstead.api.identity import object_id
from roadstead.gateway.directory import KEEP_SECONDS, PARTING_SECONDS, WORKLOAD
from roadstead.gateway.waking import Answer, Go, Held
from tests.unit.gateway.waking_world import NS, POD, World, settle

OTHER = ("10.0.0.2", 8080)


async def test_a_workload_at_zero_costs_envoy_nothing() -> None:
    world = World()
    world.workload()
    assert world.envoy.clusters == {}
    assert not world.target().open


async def test_pods_come_and_go_and_the_last_one_stays_while_it_drains() -> None:
    world = World()
    world.workload()
    world.pods(POD)
    await settle()
    target = world.target()
    assert target.open
    world.pods(POD, OTHER)
    assert world.envoy.clusters[target.cluster] == (Protocol.HTTP, (POD, OTHER))
    assert target.open
    world.pods(leaving=(OTHER,))  # to zero: nobody new, but Envoy may remember a verdict
    assert not target.open
    assert world.envoy.clusters[target.cluster][1] == (OTHER,)
    world.pods()
    assert world.envoy.clusters[target.cluster][1] == ()
    await asyncio.sleep(KEEP_SECONDS + 1)
    assert world.envoy.clusters == {}


async def test_envoy_is_told_of_pods_until_they_are_gone_since_what_is_under_way_there_counts() -> None:
    world = World()
    world.workload()
    world.pods(POD, OTHER)
    await settle()
    cluster = world.target().cluster
    world.pods(POD, leaving=(OTHER,))  # fewer pods: nobody new
    assert (world.envoy.clusters[cluster][1], world.envoy.unready[cluster]) == ((POD,), (OTHER,))
    world.pods(unready=(POD, OTHER))  # too busy for its probe, and about to end
    assert (world.envoy.clusters[cluster][1], world.envoy.unready[cluster]) == ((), (POD, OTHER))
    assert not world.target().open
    await asyncio.sleep(2 * KEEP_SECONDS)
    assert world.envoy.unready[cluster] == (POD, OTHER)
    world.pods(POD)
    await settle()
    assert world.target().open
    assert (world.envoy.clusters[cluster][1], world.envoy.unready[cluster]) == ((POD,), ())


async def test_one_that_comes_back_in_time_keeps_its_cluster() -> None:
    world = World()
    world.workload()
    world.pods(POD)
    world.pods()
    await asyncio.sleep(KEEP_SECONDS - 1)
    world.pods(OTHER)
    await asyncio.sleep(2 * KEEP_SECONDS)
    assert world.envoy.clusters[world.target().cluster][1] == (OTHER,)
    assert world.target().open


async def test_one_that_was_forgotten_by_envoy_is_made_anew() -> None:
    world = World()
    world.workload()
    world.pods(POD)
    world.pods()
    await asyncio.sleep(KEEP_SECONDS + 1)
    world.workload(message="something else")
    assert world.envoy.clusters == {}
    world.pods(POD)
    await settle()
    assert world.target().open
    assert world.envoy.clusters[world.target().cluster][1] == (POD,)


async def test_readiness_that_flickers_while_envoy_is_slow_waits_for_its_last_word() -> None:
    world = World()
    world.workload()
    world.envoy.hold()
    world.pods(POD)
    await settle()
    world.pods()
    world.pods(OTHER)
    await settle()
    assert not world.target().open
    world.envoy.free.set()
    await settle()
    assert world.target().open


async def test_a_deleted_workload_is_unknown_and_its_successor_another() -> None:
    world = World()
    world.workload()
    id = object_id(WORKLOAD, NS, "w")
    first = world.target()
    world.workload(deleted=True)
    assert world.directory.find(WORKLOAD, id) is None
    world.workload(deleted=False)
    assert world.target() is not first
    world.no_workload()
    assert world.directory.find(WORKLOAD, id) is None


async def test_another_protocol_is_another_cluster() -> None:
    world = World()
    world.workload()
    world.pods(POD)
    await settle()
    before = world.target().cluster
    world.pods(POD, protocol=Protocol.H2C)
    await settle()
    assert world.target().cluster == f"{before}.h2c"
    assert before in world.envoy.clusters
    assert world.target().figures == before
    await asyncio.sleep(KEEP_SECONDS + 1)
    assert set(world.envoy.clusters) == {f"{before}.h2c"}


async def test_a_deployment_follows_its_active_workload_without_a_gap() -> None:
    world = World()
    world.workload("a")
    world.workload("b")
    world.pods(POD, workload="a")
    world.deployment("d", wanted="a", active="a")
    await settle()
    target = world.deployed("d")
    assert target.open
    world.deployment("d", wanted="b", active="a")
    assert world.directory.awaited((NS, "b"))
    assert not world.directory.awaited((NS, "a"))
    assert world.waking.wakes((NS, "b"))
    assert world.told.demand["team/b"] == (0, True)
    world.deployment("d", wanted="b", active="b")  # the operator sees b's pod before our mirror of endpoints does
    assert target.open
    assert world.envoy.clusters[target.cluster][1] == (POD,)
    world.pods(OTHER, workload="b")
    assert target.open
    assert world.envoy.clusters[target.cluster][1] == (OTHER,)
    assert world.envoy.unready[target.cluster] == (POD,)  # what it was asked last is to be reported
    assert not world.directory.awaited((NS, "b"))
    await asyncio.sleep(PARTING_SECONDS + 0.1)
    assert (world.envoy.clusters[target.cluster][1], world.envoy.unready[target.cluster]) == ((OTHER,), ())
    world.pods(workload="a")  # no business of the deployment any more
    assert world.envoy.clusters[target.cluster][1] == (OTHER,)
    world.deployment("d", wanted="a", active="a")  # back, with no pod of a: b serves on
    assert world.envoy.clusters[target.cluster][1] == (OTHER,)
    world.pods(POD, workload="a")
    assert world.envoy.clusters[target.cluster][1] == (POD,)


async def test_a_deployment_that_is_switched_twice_and_deleted_leaves_nothing() -> None:
    world = World()
    for name, pod in (("a", POD), ("b", OTHER)):
        world.workload(name)
        world.pods(pod, workload=name)
    world.deployment("d", wanted="a", active="a")
    await settle()
    cluster = world.deployed("d").cluster
    world.deployment("d", wanted="b", active="b")
    await asyncio.sleep(PARTING_SECONDS - 1)
    world.deployment("d", wanted="a", active="a")
    await asyncio.sleep(PARTING_SECONDS - 1)
    assert (world.envoy.clusters[cluster][1], world.envoy.unready[cluster]) == ((POD,), (OTHER,))
    world.no_deployment("d")
    told = len(world.envoy.told)
    await asyncio.sleep(PARTING_SECONDS)
    assert len(world.envoy.told) == told
    await asyncio.sleep(KEEP_SECONDS)
    assert cluster not in world.envoy.clusters


async def test_a_deployment_whose_active_workload_is_stopped_holds_for_the_new_one() -> None:
    world = World()
    world.workload("a")
    world.workload("b")
    world.pods(POD, workload="a")
    world.deployment("d", wanted="a", active="a")
    await settle()
    world.workload("a", suspended=True, state="stopping")
    world.pods(leaving=(POD,), workload="a")
    world.deployment("d", wanted="b", active="b")
    waiting = world.waking.decide(world.deployed("d"))
    assert isinstance(waiting, Held)
    assert world.told.demand["team/b"] == (1, True)
    world.pods(OTHER, workload="b")
    assert isinstance(await waiting.future, Go)


async def test_a_deployment_without_its_workload_says_so() -> None:
    world = World()
    world.deployment("d", wanted="a", active="a")
    answer = world.waking.decide(world.deployed("d"))
    assert isinstance(answer, Answer)
    assert answer.status == 503
    assert '"a"' in answer.detail


async def test_figures_of_a_workload_are_its_own_and_those_of_its_deployments() -> None:
    world = World()
    world.workload("a")
    world.workload("b")
    for name in ("d", "e"):
        world.deployment(name, wanted="a", active="a")
    world.deployment("f", wanted="a", active="b")
    world.pods(POD, workload="b")
    found = {target.name for target in world.directory.in_front((NS, "a"))}
    assert found == {"a", "d", "e"}
    assert {target.name for target in world.directory.in_front((NS, "b"))} == {"b", "f"}


async def test_envoy_knows_a_cluster_before_its_first_pod_is_ready() -> None:
    """It counts requests from its next load report on, so that those who waited would else not be counted."""
    world = World()
    world.workload()
    world.pods(unready=(POD,), protocol=Protocol.H2C)
    target = world.target()
    assert world.envoy.clusters == {f"{target.figures}.h2c": (Protocol.H2C, ())}
    assert world.envoy.unready == {f"{target.figures}.h2c": (POD,)}
    await settle()
    assert not target.open
    world.pods(POD, protocol=Protocol.H2C)
    await settle()
    assert target.open
    world.pods()
    await asyncio.sleep(KEEP_SECONDS + 1)
    assert world.envoy.clusters == {}
