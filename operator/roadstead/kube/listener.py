"""Following what happens to the objects of a kind, without keeping any of them.

For what is told once and is worth nothing later, such as Events: there is no list to begin with and nothing that could grow. What
happens while no stream is open (for the moment between two, or while the API server is away) is missed; whoever listens must be
able to do without.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from contextlib import aclosing
from typing import Final

from roadstead.kube.backoff import backoff
from roadstead.kube.client import ApiClient
from roadstead.kube.errors import ApiError
from roadstead.kube.resource import Body, Resource

log = logging.getLogger(__name__)
STREAM_SECONDS: Final = (45, 60)
"""How long one stream lasts. Events have no watch cache, thus no bookmarks, and a stream silent for longer would pass for a dead one."""
RETRY_BASE_SECONDS: Final = 0.5
RETRY_CAP_SECONDS: Final = 60.0


class Listener:
    """Calls ``tell`` with every object of a kind that is created or changed while it listens. ``tell`` must not block."""

    def __init__(self, client: ApiClient, resource: Resource, *, field_selector: str, tell: Callable[[Body], None]) -> None:
        self._client = client
        self._resource = resource
        self._field_selector = field_selector
        self._tell = tell
        self._failures = 0

    async def run(self) -> None:
        """Listen until cancelled, through whatever the API does."""
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            try:
                await self._listen()
                self._failures = 0
                if loop.time() - began < RETRY_BASE_SECONDS:  # ended at once: no error, but nothing to repeat in a tight loop either
                    await asyncio.sleep(RETRY_BASE_SECONDS)
            except ApiError as error:
                self._failures += 1
                if self._failures == 1 and not error.transient:  # said once, not at every retry
                    log.warning("Doesn't hear of %s, so statuses say some things later: %s", self._resource.plural, error)
                await asyncio.sleep(max(error.retry_after or 0.0, backoff(self._failures, base=RETRY_BASE_SECONDS, cap=RETRY_CAP_SECONDS)))

    async def _listen(self) -> None:
        """One stream, from now on until the server ends it."""
        stream = self._client.watch(
            self._resource,
            field_selector=self._field_selector,
            resource_version=await self._present(),
            timeout_seconds=random.randint(*STREAM_SECONDS),  # noqa: S311
        )
        async with aclosing(stream):
            async for event in stream:
                if event.type in ("ADDED", "MODIFIED"):
                    self._tell(event.object)

    async def _present(self) -> str:
        """The version to listen from: that of a list which is as short as one can be."""
        async with aclosing(self._client.pages(self._resource, limit=1)) as pages:
            return (await anext(pages)).resource_version
