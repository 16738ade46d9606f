"""The life of a process made of parts: it lasts until it is told to stop, and ends with the first part that ends by itself."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Mapping
from functools import partial
from typing import Any

log = logging.getLogger(__name__)

Tasks = Mapping[str, asyncio.Task[None]]


async def ready_or_stopped(ready: Coroutine[Any, Any, None], stop: asyncio.Event, tasks: Tasks) -> bool:
    """Wait until it is ready. False where the process was told to stop meanwhile."""
    filled = asyncio.create_task(ready, name="ready")
    try:
        await until(stop, {**tasks, "ready": filled}, enough=filled)
        return not stop.is_set()
    finally:
        filled.cancel()


async def until(stop: asyncio.Event, tasks: Tasks, enough: asyncio.Task[None] | None = None) -> None:
    """Return when told to stop, or ``enough`` is done; a part that ends otherwise takes the process down with it."""
    stopped = asyncio.create_task(stop.wait(), name="stop")
    waiting: set[asyncio.Task[None] | asyncio.Task[bool]] = {stopped, *tasks.values()}
    try:
        while not stopped.done() and not (enough is not None and enough.done()):
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
    finally:
        stopped.cancel()


def only_told(tasks: Tasks) -> None:
    """From now on a part that fails takes nothing down: the log tells at once, and what is under way goes on."""
    for name, task in tasks.items():
        task.add_done_callback(partial(_tell, name))


def _tell(name: str, task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("A part has failed, name=%s", name, exc_info=error)


async def ended(*tasks: asyncio.Task[None]) -> None:
    """Cancel these parts and wait for them."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
