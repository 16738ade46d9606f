"""From an empty process to one that watches and reconciles, in an order in which nothing is missed, however long it takes.

First the lists of our own kinds, then everything else: until the API server answers and knows our kinds, nobody else asks it anything
(but for the Lease), so that nobody sits out a long back-off when it has come.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

from roadstead import heap
from roadstead.controller.controller import Controller
from roadstead.kube.backoff import backoff
from roadstead.kube.config import ClusterConfig
from roadstead.kube.errors import ApiError, NotFound
from roadstead.operator import watches
from roadstead.operator.health import Health
from roadstead.operator.leadership import Leadership
from roadstead.operator.pulse import Pulses
from roadstead.settings import Settings

log = logging.getLogger(__name__)
WAIT_SECONDS: Final = 2.0
REMIND_SECONDS: Final = 60.0
"""How often to say again what is waited for."""
FIRST_SWEEP_SECONDS: Final = 15.0
SETTLE_SECONDS: Final = 2.0
"""After kopf has listed one kind anew: what made it do so makes it list the others too."""
BREAKS: Final = 3
"""Breaks of kopf's watches in a row, each within a minute of an API server that answers, after which the process gives up."""
SHORT_SECONDS: Final = 60.0


class Startup:
    """The parts that wait for one another. Each coroutine runs for the life of the process, but for ``open``, which ends by itself."""

    def __init__(self, controller: Controller, leadership: Leadership, health: Health, pulses: Pulses, settings: Settings) -> None:
        self._controller = controller
        self._leadership = leadership
        self._health = health
        self._pulses = pulses
        self._settings = settings
        self._listed = asyncio.Event()

    async def reconcile(self) -> None:
        """List our own kinds, then mirror their children and reconcile."""
        heap.fills()
        await _patiently(self._controller.fill)
        self._listed.set()
        await self._controller.run(self._settings.workers)

    async def open(self) -> None:
        """Let this replica work when every cache is filled. Nothing is written before that."""
        await self._listed.wait()
        await self._controller.mirrors.wait_synced()
        heap.is_full()
        self._health.filled = True
        log.info("Caches are filled")
        self._leadership.filled(self._controller)

    async def watch(self, config: ClusterConfig, spawned: Callable[[], None]) -> None:
        """Watch our own kinds. kopf gives up on an API server that stays away or answers oddly; then it is started anew.

        Raises what ended it when it can't watch an API server that answers.
        """
        await self._listed.wait()
        loop, breaks = asyncio.get_running_loop(), 0
        while True:
            began = loop.time()
            try:
                await watches.run(self._controller.objects.saw, config, spawned, self._pulses)
            except Exception as error:
                breaks = breaks + 1 if loop.time() - began < SHORT_SECONDS else 1
                if breaks > BREAKS:
                    raise
                log.warning("The watches of our own kinds broke off and are started again: %r", error)
            await asyncio.sleep(backoff(max(breaks, 1), base=1.0, cap=WAIT_SECONDS * 5))
            await _patiently(self._controller.sweep)

    async def sweep(self) -> None:
        """Look for missed deletions when kopf has listed anew and every so often, and at everything once in a long while."""
        await self._listed.wait()
        loop, listed = asyncio.get_running_loop(), self._pulses.listed
        resync_at = loop.time() + self._settings.resync_seconds
        await asyncio.sleep(FIRST_SWEEP_SECONDS)
        while True:
            listed.clear()
            await _patiently(self._controller.sweep)
            if loop.time() >= resync_at:
                self._controller.enqueue_all()
                resync_at = loop.time() + self._settings.resync_seconds
            with suppress(TimeoutError):
                await asyncio.wait_for(listed.wait(), self._settings.sweep_seconds)
                await asyncio.sleep(SETTLE_SECONDS)


async def _patiently(lists: Callable[[], Awaitable[None]]) -> None:
    """Do what lists our own kinds, as soon as the API server lets us; says for what it waits, but not at each try."""
    loop = asyncio.get_running_loop()
    said, at = "", 0.0
    while True:
        try:
            await lists()
        except NotFound:
            trouble = "the custom resource definitions of roadstead.dev; `roadstead crds apply` installs them"
        except ApiError as error:
            trouble = f"the API server: {error}"
        else:
            return
        if trouble != said or loop.time() - at > REMIND_SECONDS:
            log.warning("Waiting for %s", trouble)
            said, at = trouble, loop.time()
        await asyncio.sleep(WAIT_SECONDS)
