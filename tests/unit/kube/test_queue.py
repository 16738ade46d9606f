from __future__ import annotations

import asyncio

import pytest
import uvloop

from roadstead.kube.errors import Fenced, Forbidden, Invalid, TooManyRequests
from roadstead.kube.queue import LOOKS_A_SECOND, LOOKS_AT_ONCE, WorkQueue
from roadstead.kube.workers import run_workers


def opened(**options: float) -> WorkQueue[str]:
    queue = WorkQueue[str](**options)
    queue.open()
    return queue


def now() -> float:
    return asyncio.get_running_loop().time()


async def drain(queue: WorkQueue[str]) -> list[str]:
    keys = []
    while queue.depth:
        keys.append(await queue.get())
        queue.done(keys[-1])
    return keys


async def idle(queue: WorkQueue[str], seconds: float = 1.0) -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(queue.get(), seconds)


async def test_a_burst_is_one_key() -> None:
    queue = opened()
    for key in "aabab":
        queue.add(key)
    assert await drain(queue) == ["a", "b"]


async def test_a_key_is_never_handed_out_twice_at_once_but_once_more_afterwards() -> None:
    queue = opened()
    queue.add("a")
    assert await queue.get() == "a"
    queue.add("a")
    queue.add("a")
    await idle(queue)
    queue.done("a")
    assert await drain(queue) == ["a"]


@pytest.mark.parametrize(
    ("adds", "order"),
    [
        ([("a", True), ("b", False)], "ba"),
        ([("a", True), ("b", False), ("a", False)], "ba"),
        ([("a", True), ("b", True), ("b", False)], "ba"),
        ([("a", False), ("b", False), ("b", True)], "ab"),
    ],
)
async def test_low_waits_for_normal_and_is_promoted(adds: list[tuple[str, bool]], order: str) -> None:
    queue = opened()
    for key, low in adds:
        queue.add(key, low=low)
    assert await drain(queue) == list(order)


@pytest.mark.parametrize(("lows", "first"), [((True,), "b"), ((True, False), "a"), ((False, True), "a")])
async def test_priority_of_what_came_during_a_look(lows: tuple[bool, ...], first: str) -> None:
    queue = opened()
    queue.add("a")
    await queue.get()
    for low in lows:
        queue.add("a", low=low)
    queue.done("a")
    queue.add("b")
    assert (await drain(queue))[0] == first


async def test_nothing_leaves_a_closed_queue_and_nothing_is_lost() -> None:
    queue = WorkQueue[str]()
    waiting = [asyncio.create_task(queue.get()) for _ in range(3)]
    for key in "abc":
        queue.add(key)
    await asyncio.sleep(10)
    assert not any(task.done() for task in waiting)
    assert queue.oldest_age_seconds == 0
    queue.open()
    assert sorted(await asyncio.gather(*waiting)) == ["a", "b", "c"]
    queue.close()
    queue.add("d")
    await idle(queue)


async def test_a_key_waits_only_since_the_queue_was_opened() -> None:
    """Or a standby of many hours would tell its liveness probe, on taking over, that its workers hang."""
    waits: list[float] = []
    queue = WorkQueue[str](waited=waits.append)
    queue.add("a")
    queue.add("b", low=True)
    await asyncio.sleep(3600)
    queue.open()
    assert queue.oldest_age_seconds < 1
    await asyncio.sleep(5)
    queue.open()
    assert queue.oldest_age_seconds == pytest.approx(5, abs=0.5)
    assert await drain(queue) == ["a", "b"]
    assert waits == pytest.approx([5, 5], abs=0.5)


async def test_keys_are_taken_out_of_a_closed_queue() -> None:
    queue = WorkQueue[str]()
    queue.add("a")
    queue.add("b", low=True)
    queue.add("c")
    assert queue.take(lambda key: key in "ab") == ["a", "b"]
    queue.open()
    assert await drain(queue) == ["c"]


async def test_a_waiter_cancelled_at_the_moment_it_is_woken_passes_the_key_on() -> None:
    queue = opened()
    first, second = (asyncio.create_task(queue.get()) for _ in range(2))
    await asyncio.sleep(0)
    queue.add("a")
    first.cancel()
    assert await asyncio.wait_for(second, 1) == "a"


async def test_only_the_earliest_timer_is_kept() -> None:
    queue = opened()
    began = now()
    queue.add_after("a", 60)
    queue.add_after("a", 5)
    queue.add_after("a", 30)
    assert await queue.get() == "a"
    assert now() - began == pytest.approx(5, abs=0.5)
    queue.done("a")
    await idle(queue, 100)


async def test_back_off_doubles_up_to_the_cap_and_forget_starts_over() -> None:
    queue = opened(base_seconds=1, cap_seconds=8)
    delays = [queue.retry("a") for _ in range(6)]
    for delay, longest in zip(delays, (1, 2, 4, 8, 8, 8), strict=True):
        assert longest / 2 <= delay <= longest
    assert (queue.failures("a"), queue.retries) == (6, 6)
    queue.forget("a")
    assert queue.retry("a") <= 1
    assert queue.retry("a", at_least=20) == 20


async def test_depth_and_age() -> None:
    queue = opened()
    queue.add("a", low=True)
    await asyncio.sleep(7)
    queue.add("b")
    assert queue.depth == 2
    assert queue.oldest_age_seconds == pytest.approx(7, abs=0.5)


async def test_how_long_keys_have_been_held() -> None:
    queue = opened()
    assert (queue.longest_held_seconds, queue.unfinished_seconds) == (0, 0)
    queue.add("a")
    await queue.get()
    await asyncio.sleep(7)
    queue.add("a")  # to be looked at again: it is held as long as before
    queue.add("b")
    await queue.get()
    await asyncio.sleep(5)
    assert queue.longest_held_seconds == pytest.approx(12, abs=0.5)
    assert queue.unfinished_seconds == pytest.approx(17, abs=0.5)
    queue.done("a")
    assert queue.longest_held_seconds == pytest.approx(5, abs=0.5)
    queue.close()  # whoever holds a key holds it still
    assert queue.unfinished_seconds == pytest.approx(5, abs=0.5)
    queue.done("b")
    assert (queue.longest_held_seconds, queue.unfinished_seconds) == (0, 0)


async def test_a_hundred_thousand_keys_are_taken_in_linear_time() -> None:
    queue = WorkQueue[int]()
    queue.open()
    for key in range(100_000):
        queue.add(key)
    for key in range(100_000):
        assert await queue.get() == key
        queue.done(key)


# Workers


async def test_workers_look_again_when_told_and_retry_what_failed(caplog: pytest.LogCaptureFixture) -> None:
    queue = opened(base_seconds=1)
    looks: list[tuple[str, float]] = []
    answers: dict[str, list[float | Exception | None]] = {
        "again": [30.0, None],
        "busy": [TooManyRequests(429, "TooManyRequests", "slow", retry_after=90.0), None],
        "fenced": [Fenced("no"), None],
        "bug": [RuntimeError("bug"), RuntimeError("bug"), None],
        "invalid": [Invalid(422, "Invalid", "bad"), None],
        "forbidden": [Forbidden(403, "Forbidden", "no"), None],
    }
    began = now()

    async def reconcile(key: str) -> float | None:
        looks.append((key, now() - began))
        said = answers[key].pop(0)
        if isinstance(said, Exception):
            raise said
        return said

    for key in answers:
        queue.add(key)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(run_workers(queue, reconcile, 3), 200)
    assert not any(answers.values())
    times = {key: [at for name, at in looks if name == key] for key in answers}
    assert times["again"][1] == pytest.approx(30, abs=1)
    assert times["busy"][1] == pytest.approx(90, abs=1)
    assert times["bug"][1] <= 2
    assert all(queue.failures(key) == 0 for key in answers)
    bugs = [record for record in caplog.records if "bug" in record.getMessage()]
    assert [bool(record.exc_info) for record in bugs] == [True, False]
    assert not [record for record in caplog.records if "busy" in record.getMessage() or "fenced" in record.getMessage()]


async def test_cancelled_workers_finish_what_they_hold_and_take_nothing_more() -> None:
    queue = opened()
    finished: list[str] = []

    async def reconcile(key: str) -> None:
        await asyncio.sleep(100 if key == "stuck" else 2)
        finished.append(key)

    for key in ("a", "b", "stuck"):
        queue.add(key)
    workers = asyncio.create_task(run_workers(queue, reconcile, 5))
    await asyncio.sleep(1)
    began = now()
    workers.cancel()
    await asyncio.sleep(0)
    queue.add("c")
    with pytest.raises(asyncio.CancelledError):
        await workers
    assert finished == ["a", "b"]
    assert queue.depth == 1
    assert now() - began == pytest.approx(3.0, abs=0.4)


async def test_a_worker_that_is_cancelled_by_what_it_awaits_is_not_lost_silently() -> None:
    """A shared task that somebody cancelled (a name being resolved, say) cancels who awaits it."""
    queue = opened()
    queue.add("a")

    async def reconcile(_: str) -> None:
        raise asyncio.CancelledError

    with pytest.raises(RuntimeError, match=r"worker-\d was cancelled"):
        await asyncio.wait_for(run_workers(queue, reconcile, 3), 60)


async def test_no_key_is_looked_at_twice_at_once_under_load() -> None:
    queue = opened()
    at_work: set[str] = set()
    looks = 0

    async def reconcile(key: str) -> None:
        nonlocal looks
        assert key not in at_work
        at_work.add(key)
        await asyncio.sleep(0.1)
        at_work.discard(key)
        looks += 1

    async def stir() -> None:
        for turn in range(200):
            queue.add("abcdef"[turn % 6], low=turn % 5 == 0)
            await asyncio.sleep(0.03)

    workers = asyncio.create_task(run_workers(queue, reconcile, 4))
    await stir()
    await asyncio.sleep(10)
    assert 6 < looks <= 200
    assert queue.depth == 0
    assert queue.retries == 0
    workers.cancel()
    with pytest.raises(asyncio.CancelledError):
        await workers


async def test_resyncs_go_on_however_much_changes() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.open()
    queue.add("resync", low=True)
    for number in range(30):
        queue.add(f"change-{number}")
    taken = [await queue.get() for _ in range(11)]
    assert taken.index("resync") == 9
    assert taken[:3] == ["change-0", "change-1", "change-2"]


async def test_a_key_that_flaps_is_looked_at_so_often_and_at_last() -> None:
    queue, looked, changes = opened(), [], 0

    async def look() -> None:
        while True:
            key = await queue.get()
            looked.append((key, changes))
            queue.done(key)

    worker, began = asyncio.create_task(look()), now()
    for _ in range(1000):
        changes += 1
        queue.add("flaps")
        if changes % 100 == 0:
            queue.add(f"calm-{changes}")
        await asyncio.sleep(0.01)
        if changes % 100 == 0:
            assert looked.count((f"calm-{changes}", changes)) == 1  # at once, however much the other has to say
    await asyncio.sleep(1)
    allowed = LOOKS_AT_ONCE + LOOKS_A_SECOND * (now() - began)
    assert allowed - 10 <= sum(key == "flaps" for key, _ in looked) <= allowed + 2
    assert [seen for key, seen in looked if key == "flaps"][-1] == 1000

    looked.clear()
    await asyncio.sleep(5)
    for _ in range(15):  # after a rest it's as any other
        queue.add("flaps")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    worker.cancel()
    assert len(looked) == 15


def test_a_key_that_is_due_at_once_may_be_wished_for_again() -> None:
    """On the loop that the operator runs on: what is due in less than half a millisecond has no time there."""

    async def wish() -> str:
        queue = opened()
        queue.add_after("a", 0.0001)
        queue.add_after("a", 10)
        return await asyncio.wait_for(queue.get(), 5)

    assert uvloop.run(wish()) == "a"
