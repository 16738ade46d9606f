"""Workers: take a key, reconcile it, decide when it is looked at again.

What heals by itself (a conflict, an overloaded or unreachable server) is retried quietly; anything else is logged, with its traceback
the first time, and retried as well: a bug in one Workload's path must not stop the others, and a fixed world should need no restart.
What thousands of keys have in common is logged a few times a minute.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Hashable
from contextvars import ContextVar
from typing import Final, Generic, TypeVar

from roadstead.kube.errors import ApiError, Fenced
from roadstead.kube.loglimit import LogLimit
from roadstead.kube.queue import WorkQueue

log = logging.getLogger(__name__)
K = TypeVar("K", bound=Hashable)

QUIET_FAILURES: Final = 4
"""So many in a row of what heals by itself are told at level DEBUG only."""
LOOKED_AT: Final[ContextVar[str]] = ContextVar("LOOKED_AT", default="")
"""What the running worker reconciles; empty outside of workers. Log lines name it."""


async def run_workers(
    queue: WorkQueue[K],
    reconcile: Callable[[K], Awaitable[float | None]],
    count: int,
    *,
    kind: Callable[[K], str] = lambda _: "",
    grace_seconds: float = 3.0,
) -> None:
    """Reconcile keys of ``queue``, ``count`` at a time, until cancelled.

    ``reconcile`` returns after how many seconds to look again, or None. ``kind`` names what a key stands for: errors are told apart by
    it. On cancellation no key is taken any more and those being reconciled get ``grace_seconds`` to finish: half a reconcile is legal but
    leaves more to do for the next leader.
    """
    crew = _Crew(queue, reconcile, kind)
    tasks = {asyncio.create_task(crew.work(), name=f"worker-{number}") for number in range(count)}
    try:
        finished, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in finished:
            if task.cancelled():  # a cancelled task is no failure to a task group: it would go on without workers
                raise RuntimeError(f"{task.get_name()} was cancelled by somebody else")
            task.result()
    finally:
        crew.stopping = True
        for task in tasks - crew.busy:
            task.cancel()
        _, late = await asyncio.wait(tasks, timeout=grace_seconds)
        for task in late:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class _Crew(Generic[K]):
    def __init__(self, queue: WorkQueue[K], reconcile: Callable[[K], Awaitable[float | None]], kind: Callable[[K], str]) -> None:
        self.stopping = False
        self.busy: set[asyncio.Task[object]] = set()
        self._queue = queue
        self._reconcile = reconcile
        self._kind = kind
        self._log = LogLimit(log, "Reconcile failed")

    async def work(self) -> None:
        me = asyncio.current_task()
        assert me is not None  # noqa: S101 - a coroutine always runs in a task; tells mypy
        while not self.stopping:
            key = await self._queue.get()
            self.busy.add(me)
            LOOKED_AT.set(str(key))
            try:
                await self._look(key)
            finally:
                LOOKED_AT.set("")
                self.busy.discard(me)
                self._queue.done(key)

    async def _look(self, key: K) -> None:
        try:
            again = await self._reconcile(key)
        except Fenced:
            self._queue.retry(key)  # the gate is closing; the next leader looks at everything
        except ApiError as error:
            delay = self._queue.retry(key, at_least=error.retry_after or 0.0)
            if error.transient and self._queue.failures(key) <= QUIET_FAILURES:
                log.debug("Reconcile failed again_in=%.1fs: %s", delay, error)
            else:
                kind = f"{self._kind(key)} {type(error).__name__} {error.status} {error.reason}"
                self._log.log(logging.WARNING, kind, key, "Reconcile failed again_in=%.1fs: %s", delay, error)
        except Exception as error:
            delay = self._queue.retry(key)
            self._log.bug(error, key, "Reconcile failed again_in=%.1fs: %r", delay, error)
        else:
            self._queue.forget(key)
            if again is not None:
                self._queue.add_after(key, again)
