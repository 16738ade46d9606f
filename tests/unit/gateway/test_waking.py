"""What becomes of a request for which no pod is ready."""

from __future__ import annotations

import asyncio

import pytest

from roadstead.api.platform import Gateway, PlatformSpec
from roadstead.gateway.views import workload_view
from roadstead.gateway.waking import Answer, Go, Held
from tests.build import raw_workload
from tests.unit.gateway.waking_world import POD, World, settle

BEGAN = "2026-11-27T12:00:00Z"


def held(world: World, name: str = "w") -> Held:
    decision = world.waking.decide(world.target(name))
    assert isinstance(decision, Held), decision
    return decision


def answered(world: World, name: str = "w") -> Answer:
    decision = world.waking.decide(world.target(name))
    assert isinstance(decision, Answer), decision
    return decision


def configure(world: World, **settings: object) -> None:
    world.directory.platform = PlatformSpec(gateway=Gateway.model_validate(settings))


async def test_a_ready_pod_that_envoy_knows_is_used_at_once() -> None:
    world = World()
    world.workload(replicas=1)
    world.envoy.hold()
    world.pods(POD)
    await settle()
    waiting = held(world)  # ready, but Envoy hasn't said that it knows
    world.envoy.free.set()
    assert isinstance(await waiting.future, Go)
    assert world.waking.decide(world.target()) == Go(4.0)


async def test_the_first_request_wakes_and_all_go_when_the_pod_is_ready() -> None:
    world = World()
    started: list[str] = []
    world.waking.started = lambda view: started.append(view.name)
    world.workload()
    first, second = held(world), held(world)
    assert started == ["w"]
    assert world.told.demand["team/w"] == (2, True)
    await asyncio.sleep(2)
    world.pod()
    await asyncio.sleep(1)
    world.pod(scheduled=True)
    await asyncio.sleep(4)
    world.pod(scheduled=True, running=True, started=True)
    await asyncio.sleep(3)
    world.pods(POD)
    outcomes = await asyncio.gather(first.future, second.future)
    assert all(isinstance(outcome, Go) for outcome in outcomes)
    said = outcomes[0].cold_start
    assert said is not None
    phases = {name: float(value) for name, _, value in (part.partition("=") for part in said.split(";"))}
    assert list(phases) == ["decide", "schedule", "pull", "start", "ready", "total"]
    assert [round(phases[name]) for name in phases] == [2, 1, 4, 0, 3, 10]
    assert world.told.demand["team/w"] == (0, False)
    assert world.waking.total == 0


async def test_that_the_caller_leaves_does_not_end_the_wake() -> None:
    world = World()
    world.workload()
    held(world).cancel()
    assert world.told.demand["team/w"] == (0, True)
    world.pods(POD)
    await settle()
    assert world.told.demand["team/w"] == (0, False)


async def test_a_full_queue_refuses_with_429() -> None:
    world = World()
    configure(world, queuePerWorkload=2, queueTotal=3)
    world.workload("a")
    world.workload("b")
    held(world, "a"), held(world, "a")
    assert answered(world, "a").status == 429
    last = held(world, "b")
    refused = answered(world, "b")
    assert (refused.status, bool(refused.retry_after)) == (429, True)
    last.cancel()
    held(world, "b")


async def test_a_workloads_queue_is_that_of_all_that_lead_to_it() -> None:
    world = World()
    configure(world, queuePerWorkload=2)
    world.workload()
    world.deployment("d", "w", "w")
    held(world), world.waking.decide(world.deployed("d"))
    assert answered(world).status == 429
    full = world.waking.decide(world.deployed("d"))
    assert isinstance(full, Answer)
    assert full.status == 429


async def test_a_request_is_told_504_after_the_limit_and_the_wake_goes_on() -> None:
    world = World()
    configure(world, coldStartLimitSeconds=20)
    world.workload()
    waiting = held(world)
    world.workload(state="initializing", message="Containers are being pulled and started")
    outcome = await waiting.future
    assert outcome == Answer(504, "No pod was ready within 20 s: Containers are being pulled and started")
    assert world.told.demand["team/w"] == (0, True)


STOPPED = "Stopped; set spec.suspend to false to start it"


@pytest.mark.parametrize(("state", "said"), [("stopped", STOPPED), ("running", "The workload is being stopped")])
async def test_a_stopped_workload_answers_503_and_is_not_woken(state: str, said: str) -> None:
    world = World()
    world.workload(suspended=True, state=state, message=STOPPED)
    assert answered(world) == Answer(503, said)
    assert "team/w" not in world.told.demand or world.told.demand["team/w"] == (0, False)


async def test_who_waits_while_it_is_stopped_is_told() -> None:
    world = World()
    world.workload()
    waiting = held(world)
    world.workload(suspended=True, state="stopping", message="1 pods are terminating")
    assert await waiting.future == Answer(503, "1 pods are terminating")
    assert world.told.demand["team/w"] == (0, False)


async def test_a_wake_fails_when_the_operator_says_errored() -> None:
    world = World()
    configure(world, retrySeconds=30)
    world.workload()
    waiting = [held(world), held(world)]
    world.workload(state="initializing", replicas=1)
    world.workload(state="errored", message="The image is not there")
    for one in waiting:
        assert await one.future == Answer(503, "The image is not there", 30.0)
    assert answered(world).detail == "The image is not there"
    assert world.told.demand["team/w"] == (0, False)


async def test_after_a_failed_wake_one_request_per_back_off_tries_again() -> None:
    world = World()
    configure(world, retrySeconds=30)
    world.workload()
    waiting = held(world)
    world.workload(state="errored", message="It crashed", replicas=1)
    assert (await waiting.future).status == 503  # type: ignore[union-attr]
    world.workload(replicas=0)
    early = answered(world)
    assert early.retry_after is not None
    assert 29 < early.retry_after <= 30
    await asyncio.sleep(31)
    again = held(world)  # errored still stands there from before, and doesn't end the new wake
    world.workload(message="It crashed, as said")
    assert not again.future.done()
    assert answered(world).status == 503
    world.workload(state="initializing", replicas=1, message="")
    world.pods(POD)
    assert isinstance(await again.future, Go)
    world.workload(state="running")
    assert isinstance(world.waking.decide(world.target()), Go)


async def test_a_wake_that_fails_as_the_last_one_did_fails_at_once() -> None:
    """Pods that are refused never come: the operator goes from one errored to the next, without another state between them."""
    world = World()
    configure(world, retrySeconds=30)
    world.workload(state="errored", message="Pods are refused", failed_wake="2026-11-26T12:00:00Z")
    again = held(world)
    world.workload(message="Pods are refused, as said")
    assert not again.future.done()
    world.workload(message="Pods are refused", failed_wake=None)
    assert await again.future == Answer(503, "Pods are refused", 30.0)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        pytest.param(None, (None, None), id="none failed"),
        pytest.param({"at": BEGAN}, (None, BEGAN), id="under way"),
        pytest.param({"at": BEGAN, "succeeded": False, "message": "boom"}, (BEGAN, None), id="failed"),
    ],
)
def test_the_last_wake_as_the_operator_tells_it(said: dict[str, object] | None, expected: tuple[str | None, str | None]) -> None:
    view = workload_view(raw_workload() | {"status": {"state": "errored", "lastWake": said}})
    assert (view.failed_wake, view.waking_since) == expected


async def test_a_request_that_finds_no_room_is_no_try() -> None:
    world = World()
    configure(world, queueTotal=1)
    world.workload(state="errored", message="It crashed", failed_wake="2026-11-26T12:00:00Z")
    world.workload("other")
    waiting = held(world, "other")
    assert answered(world).status == 429
    waiting.cancel()
    held(world)


async def test_errored_with_pods_is_not_tried() -> None:
    world = World()
    world.workload(state="errored", replicas=1, message="It crashes")
    assert answered(world) == Answer(503, "It crashes", 10.0)


async def test_a_wake_fails_when_its_time_is_over() -> None:
    world = World()
    configure(world, coldStartLimitSeconds=80000, wakeLimitSeconds=60, retrySeconds=30)
    world.workload()
    waiting = held(world)
    outcome = await waiting.future
    assert outcome == Answer(503, "No pod was ready within 60 s: Scaled to zero", 30.0)
    assert world.told.demand["team/w"] == (0, False)
    assert (world.waking.counts.failed_wakes, world.waking.counts.disappointed) == (1, 1)


async def test_after_a_wake_that_took_too_long_nobody_waits_until_it_is_back_at_zero() -> None:
    """Its pod waits for a node, of which the operator says no error: whoever calls all the time doesn't prolong that."""
    world = World()
    configure(world, coldStartLimitSeconds=80000, wakeLimitSeconds=60, retrySeconds=30)
    world.workload()
    waiting = held(world)
    world.workload(state="submitted", message="No node has a free GPU", replicas=1, waking_since=BEGAN)
    cause = "No pod was ready within 60 s: No node has a free GPU"
    assert await waiting.future == Answer(503, cause, 30.0)
    for _ in range(2):
        assert answered(world).detail == cause
        assert world.told.demand["team/w"] == (0, False)
        await asyncio.sleep(31)  # the back-off is over, and the pod still there
    world.workload(replicas=0, message="Scaled to zero")
    again = held(world)  # the operator hasn't spoken yet
    assert held(world) is not again
    await again.future
    world.workload(state="errored", replicas=0, message="No pod became ready before it went back to zero")
    assert answered(world).detail == "No pod became ready before it went back to zero"


@pytest.mark.parametrize("ends", ["a ready pod", "the user", "another version", "the operator", "another of its name"])
async def test_a_wake_that_took_too_long_is_forgotten_with(ends: str) -> None:
    world = World()
    configure(world, wakeLimitSeconds=60)
    world.workload()
    waiting = held(world)
    world.workload(state="initializing", replicas=1, waking_since=BEGAN)
    await waiting.future
    assert answered(world).status == 503
    match ends:
        case "a ready pod":
            world.pods(POD)
            await settle()
            assert isinstance(world.waking.decide(world.target()), Go)
            world.no_pods()
        case "the user":
            world.workload(suspended=True)
            world.workload(suspended=False)
        case "another version":  # it has to show that it runs, and isn't brought back to zero before
            world.workload(waking_since=None)
        case "the operator":
            world.workload(state="errored")
            world.workload(state="initializing")
        case _:
            world.workload(uid="another")
    held(world)


async def test_a_wake_that_never_left_zero_says_nothing_of_the_next_one() -> None:
    """KEDA was away; when it is back another gateway's request may be the first."""
    world = World()
    configure(world, wakeLimitSeconds=60)
    world.workload()
    await held(world).future
    assert answered(world).status == 503
    world.workload(state="submitted", replicas=1)  # so much is known first
    held(world)
    world.workload(waking_since=BEGAN)
    held(world)


@pytest.mark.parametrize("sleeps", [False, True], ids=["a fixed number", "a version that was never ready"])
async def test_whoever_waits_for_pods_that_stay_may_do_so_again(sleeps: bool) -> None:
    """Nothing would bring them back to zero: they come when they come."""
    world = World()
    configure(world, wakeLimitSeconds=60)
    world.workload(sleeps=sleeps, state="submitted", replicas=1)
    assert isinstance(await held(world).future, Answer)
    waiting = held(world)
    world.pods(POD)
    assert isinstance(await waiting.future, Go)


async def test_pods_that_were_ready_once_and_are_away_for_too_long_are_no_failed_wake() -> None:
    """When it is back at zero, its next request is an ordinary one."""
    world = World()
    configure(world, wakeLimitSeconds=60)
    world.workload(state="initializing", replicas=1)
    assert isinstance(await held(world).future, Answer)
    world.workload(state="running", replicas=0)
    held(world)


async def test_a_workload_that_never_sleeps_holds_while_it_starts() -> None:
    world = World()
    started: list[str] = []
    world.waking.started = lambda view: started.append(view.name)
    world.workload(sleeps=False, state="initializing", replicas=1)
    waiting = held(world)
    world.pods(POD)
    assert isinstance(await waiting.future, Go)
    assert not started


async def test_the_end_leaves_nobody_without_a_word() -> None:
    world = World()
    world.workload()
    waiting = held(world)
    world.waking.answer_all(Answer(503, "The gateway ends", 1))
    assert await waiting.future == Answer(503, "The gateway ends", 1)
