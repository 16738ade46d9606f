"""What is left of the lines that thousands of objects give, in virtual time."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from roadstead.kube.errors import ApiError, Invalid, ServerError
from roadstead.kube.loglimit import KINDS_AT_MOST, LINES_AT_MOST, OBJECTS_AT_MOST, OTHERS, LogLimit
from roadstead.kube.queue import WorkQueue
from roadstead.kube.workers import QUIET_FAILURES, run_workers
from roadstead.logs import TextFormatter

log = logging.getLogger("roadstead.test")
SAID = "%s failed"


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Iterator[list[str]]:
    """The lines from level WARNING on as an administrator sees them, without time and logger."""
    said: list[str] = []
    formatter = TextFormatter()

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(formatter.format(record).split(": ", 1)[1])

    handler = Kept(logging.WARNING)
    logging.getLogger("roadstead").addHandler(handler)
    yield said
    logging.getLogger("roadstead").removeHandler(handler)


async def test_a_few_are_told_at_once_and_the_rest_as_a_number(lines: list[str]) -> None:
    limit = LogLimit(log, "Work failed")
    for turn in range(2):
        for number in range(1000):
            limit.log(logging.WARNING, "Workload 500", number % 400, SAID, number)
            assert len(lines) == turn * (LINES_AT_MOST + 1) + min(number + 1, LINES_AT_MOST)
        await asyncio.sleep(61)
    assert lines[0] == "0 failed"
    told = "Work failed 990 more times in a minute for 400 objects: Workload 500"
    assert [line for line in lines if "more times" in line] == [told, told]
    assert len(lines) == 2 * (LINES_AT_MOST + 1)


async def test_what_is_new_is_told_whatever_else_is_left_out(lines: list[str]) -> None:
    limit = LogLimit(log, "Work failed")
    for number in range(1000):
        limit.log(logging.WARNING, "Workload 500", number, SAID, number)
    limit.log(logging.WARNING, "Workload 422", "chat", SAID, "chat")
    assert lines[-1] == "chat failed"


async def test_who_is_seldom_is_never_left_out(lines: list[str]) -> None:
    limit = LogLimit(log, "Work failed")
    for number in range(100):
        limit.log(logging.WARNING, "Workload 422", number, SAID, number)
        await asyncio.sleep(7)
    assert len(lines) == 100


async def test_debug_keeps_them_all(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", "roadstead")
    limit = LogLimit(log, "Work failed")
    for number in range(300):
        limit.log(logging.WARNING, "Workload 500", number, SAID, number)
    assert [record.getMessage() for record in caplog.records] == [f"{number} failed" for number in range(300)]
    assert [record.levelname for record in caplog.records] == ["WARNING"] * LINES_AT_MOST + ["DEBUG"] * (300 - LINES_AT_MOST)


async def test_what_no_level_shows_is_not_counted(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("ERROR", "roadstead")
    limit = LogLimit(log, "Work failed")
    for number in range(300):
        limit.log(logging.WARNING, "Workload 500", number, SAID, number)
    await asyncio.sleep(61)
    assert caplog.records == []


async def test_neither_kinds_nor_objects_pile_up(lines: list[str]) -> None:
    limit = LogLimit(log, "Work failed")
    for number in range(2000):
        limit.log(logging.WARNING, f"kind {number}", number, SAID, number)
    assert len(limit._windows) == KINDS_AT_MOST + 1
    assert len(lines) == KINDS_AT_MOST + LINES_AT_MOST
    for number in range(2 * OBJECTS_AT_MOST):
        limit.log(logging.WARNING, "kind 1", number, SAID, number)
    assert len(limit._windows["kind 1"].objects) == OBJECTS_AT_MOST
    await asyncio.sleep(61)
    assert limit._windows == {}
    assert f"more times in a minute for {2000 - KINDS_AT_MOST - LINES_AT_MOST} objects: {OTHERS}" in lines[-1]
    assert any(f"for {OBJECTS_AT_MOST} objects or more: kind 1" in line for line in lines)


async def test_a_bug_has_its_traceback_once_for_each_place(caplog: pytest.LogCaptureFixture) -> None:
    limit = LogLimit(log, "Work failed")

    def break_at(number: int) -> None:
        if number % 2:
            raise ValueError(number)
        raise ValueError(number)

    for number in range(100):
        try:
            break_at(number)
        except ValueError as error:
            limit.bug(error, number, SAID, number)
    assert len(caplog.records) == 2 * LINES_AT_MOST
    assert [bool(record.exc_info) for record in caplog.records] == [True, True] + [False] * (2 * LINES_AT_MOST - 2)
    await asyncio.sleep(61)
    kinds = {record.getMessage().rpartition(": ")[2] for record in caplog.records[-2:]}
    assert len(kinds) == 2
    assert all(kind.startswith(f"ValueError at {__name__}:") for kind in kinds)


def webhook_down(key: str) -> ApiError:
    return ServerError(500, "InternalError", f'failed calling webhook "pods.example.org" for {key}')


def refused(key: str) -> ApiError:
    return Invalid(422, "Invalid", f"{key} breaks a rule")


def bug(key: str) -> Exception:
    return KeyError(key)


@pytest.mark.parametrize(
    ("failing", "kind", "quiet"),
    [
        pytest.param(webhook_down, "Workload ServerError 500 InternalError", QUIET_FAILURES, id="it may heal by itself"),
        pytest.param(refused, "Workload Invalid 422 Invalid", 0, id="refused"),
        pytest.param(bug, f"KeyError at {__name__}:", 0, id="a bug"),
    ],
)
async def test_keys_that_fail_alike_are_a_few_lines_a_minute(
    lines: list[str], failing: Callable[[str], Exception], kind: str, quiet: int
) -> None:
    """And the first names its object at once, except for what heals by itself: that is given some tries."""
    queue, tries = WorkQueue[str](base_seconds=4.0, cap_seconds=16.0), Counter[str]()
    queue.open()
    for number in range(40):
        queue.add(f"ns/chat-{number}")
    told_before: list[tuple[int, int]] = []

    async def reconcile(key: str) -> None:
        tries[key] += 1
        told_before.append((tries[key], len(lines)))
        raise failing(key)

    minutes = 3
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(run_workers(queue, reconcile, 10, kind=lambda _: "Workload"), minutes * 60)
    first = next(at for at, (nth, _) in enumerate(told_before) if nth > quiet)
    assert [told for _, told in told_before[first : first + 2]] == [0, 1]
    assert " object=ns/chat-" in lines[0]
    assert tries.total() > 40 * (quiet + 5)
    assert len(lines) <= minutes * (LINES_AT_MOST + 1)
    ends = [line for line in lines if " more times " in line]
    assert minutes - 1 <= len(ends) <= minutes
    assert all(f"for 40 objects: {kind}" in line and "object=" not in line for line in ends)
