"""Answers of the API server that are kept for seconds: who a token belongs to, and what its owner may do.

One question is asked once, however many wait for its answer. A positive answer serves for ``kept`` seconds, a negative one for a moment
only, so that a new right works at once. While the API server can't be asked, either stays in force for ``stale`` seconds more.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from math import inf
from typing import Final, Generic, TypeVar

from roadstead.kube.errors import ApiError, Unreachable

log = logging.getLogger(__name__)

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
MOST: Final = 20_000
"""Answers kept at once; the least used go first."""
ANSWER_SECONDS: Final = 4.0
"""Without an answer for so long the API server counts as away; clients have little patience."""
AWAY_SECONDS: Final = 2.0
"""After a failure nobody who has an older answer waits for a new one meanwhile: reads stay quick while the API server is away."""


@dataclass(frozen=True, slots=True)
class _Kept(Generic[V]):
    value: V
    asked_at: float
    positive: bool


@dataclass(frozen=True, slots=True)
class Keeping:
    """For how long. ``stale_seconds`` is asked when it matters, since it is a setting of the cluster."""

    kept_seconds: float
    refused_seconds: float
    stale_seconds: Callable[[], float]


class Verdicts(Generic[K, V]):
    """``positive`` tells a yes from a no."""

    def __init__(self, positive: Callable[[V], bool], keeping: Keeping) -> None:
        self._positive = positive
        self._keeping = keeping
        self._answers: OrderedDict[K, _Kept[V]] = OrderedDict()
        self._failed_at = -inf
        self._asking: dict[K, asyncio.Task[V]] = {}

    async def get(self, key: K, ask: Callable[[], Awaitable[V]]) -> V:
        """The answer, kept or asked for. Raises ApiError where nothing is kept and the API server doesn't answer in a useful way."""
        kept = self._answers.get(key)
        age = inf if kept is None else time.monotonic() - kept.asked_at
        fresh = 0.0 if kept is None else self._fresh_seconds(kept)
        if kept is not None and age < fresh:
            self._answers.move_to_end(key)
            return kept.value
        usable = kept is not None and age < fresh + self._keeping.stale_seconds()
        if kept is not None and usable and time.monotonic() - self._failed_at < AWAY_SECONDS:
            return kept.value
        try:
            return await self._ask(key, ask)
        except ApiError as error:
            if not error.transient:
                # An API server that has just started knows no RBAC yet. If it lasts, our own account lacks the right to ask.
                log.error("A review was refused; may this process create it? %s", error)
                self._failed_at = time.monotonic()
            if kept is not None and usable:
                return kept.value
            raise error if error.transient else Unreachable(f"a review was refused: {error}") from error

    def fresh(self, key: K) -> V | None:
        """The answer, if it is kept and needn't be asked for anew, else None; never waits."""
        kept = self._answers.get(key)
        if kept is None or time.monotonic() - kept.asked_at >= self._fresh_seconds(kept):
            return None
        self._answers.move_to_end(key)
        return kept.value

    def guessing(self, key: K) -> bool:
        """Whether ``get`` would begin to ask, and no yes is known, however old: what whoever makes up keys does time and again."""
        if key in self._asking:
            return False
        kept = self._answers.get(key)
        return kept is None or not (kept.positive or time.monotonic() - kept.asked_at < self._fresh_seconds(kept))

    def forget(self, key: K) -> None:
        """Ask anew next time: the API server has just said otherwise."""
        self._answers.pop(key, None)

    def _fresh_seconds(self, kept: _Kept[V]) -> float:
        return self._keeping.kept_seconds if kept.positive else self._keeping.refused_seconds

    async def _ask(self, key: K, ask: Callable[[], Awaitable[V]]) -> V:
        task = self._asking.get(key)
        if task is None:
            task = asyncio.create_task(self._answered(key, ask))
            self._asking[key] = task
            task.add_done_callback(lambda done: self._asked(key, done))
        return await asyncio.shield(task)  # who leaves doesn't take the answer from those who wait

    def _asked(self, key: K, task: asyncio.Task[V]) -> None:
        del self._asking[key]
        if not task.cancelled():
            task.exception()  # those who wait for it have it; nobody may be left

    async def _answered(self, key: K, ask: Callable[[], Awaitable[V]]) -> V:
        asked_at = time.monotonic()
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                value = await ask()
        except TimeoutError as error:
            self._failed_at = time.monotonic()
            raise Unreachable(f"no answer within {ANSWER_SECONDS:g} s") from error
        except ApiError as error:
            if error.transient:
                self._failed_at = time.monotonic()
            raise
        self._answers[key] = _Kept(value, asked_at, self._positive(value))
        self._answers.move_to_end(key)
        while len(self._answers) > MOST:
            self._answers.popitem(last=False)
        return value
