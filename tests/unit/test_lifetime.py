"""What becomes of a process when one of its parts fails."""

from __future__ import annotations

import asyncio

import pytest

from roadstead.lifetime import ended, only_told, until


async def fails() -> None:
    raise ZeroDivisionError("a defect")


async def test_a_part_that_fails_takes_the_process_down() -> None:
    tasks = {"part": asyncio.create_task(fails())}
    with pytest.raises(ZeroDivisionError):
        await until(asyncio.Event(), tasks)


async def test_at_the_end_it_is_told_at_once_and_others_go_on(caplog: pytest.LogCaptureFixture) -> None:
    other = asyncio.create_task(asyncio.Event().wait())
    tasks = {"part": asyncio.create_task(fails()), "other": other}
    only_told(tasks)  # type: ignore[arg-type]
    await asyncio.sleep(0.01)
    assert [record.getMessage() for record in caplog.records] == ["A part has failed, name=part"]
    assert "ZeroDivisionError" in caplog.text
    await ended(*tasks.values())  # type: ignore[arg-type]
    assert other.cancelled()
    assert len(caplog.records) == 1
