"""A mirror of one kind: list, then watch, and a diff at every new list.

The diff is the point: whatever was deleted while nobody listened is noticed, as if its DELETED event had come. Only projections are
kept, since whole bodies cost twenty times the memory; a change that leaves the projection equal is nobody's business and stops here.
ResourceVersions are passed back to the server, never compared.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from contextlib import aclosing
from typing import Final, Generic, TypeVar

from roadstead.kube.backoff import backoff
from roadstead.kube.client import ApiClient
from roadstead.kube.errors import ApiError, Gone, NotFound
from roadstead.kube.loglimit import LogLimit
from roadstead.kube.resource import Body, Key, Resource, key_of

log = logging.getLogger(__name__)
P = TypeVar("P")

RESUMES: Final = 3
"""Failures in a row after which a watch isn't resumed any more: perhaps it is the version that the server can't stand."""


class Reflector(Generic[P]):
    """Mirrors one kind as projections; diff at every relist (deletions missed while disconnected are noticed).

    ``notify(key, old, new)`` is called for every change of a projection, in the loop, and must not block; ``old`` is None for a new
    object, ``new`` for one that is gone. With ``optional`` the kind itself may be missing: then the mirror is empty, ``synced`` and not
    ``present``, and looks again every ``absent_seconds``; ``on_presence`` hears of every change of ``present``.
    """

    def __init__(
        self,
        client: ApiClient,
        resource: Resource,
        *,
        project: Callable[[Body], P],
        notify: Callable[[Key, P | None, P | None], None],
        label_selector: str = "",
        namespace: str | None = None,
        optional: bool = False,
        on_presence: Callable[[bool], None] | None = None,
        absent_seconds: float = 30.0,
        retry_base_seconds: float = 0.5,
        retry_cap_seconds: float = 30.0,
    ) -> None:
        self.resource = resource
        self.items: dict[Key, P] = {}
        self.synced = asyncio.Event()
        self.present = False
        self.last_heard = time.monotonic()
        """Monotonic time of the last sign of life of the API server: a list, an event, a bookmark."""
        self.last_failed = self.last_heard
        """Of the last failure: who fails and tries again isn't stuck."""
        self._client = client
        self._project = project
        self._notify = notify
        self._label_selector = label_selector
        self._namespace = namespace
        self._optional = optional
        self._on_presence = on_presence
        self._absent_seconds = absent_seconds
        self._retry_base = retry_base_seconds
        self._retry_cap = retry_cap_seconds
        self._version: str | None = None
        """Where to resume the watch; None: list first."""
        self._page_limit = 500
        self._failures = 0
        self._trouble: str | None = None
        self._unreadable = LogLimit(log, f"Could not read {resource.kind}")

    async def run(self) -> None:
        """Mirror until cancelled, through whatever the API does."""
        while True:
            try:
                if self._version is None:
                    self._version = await self._list()
                await self._watch(self._version)
                continue
            except NotFound as error:
                self._version = None
                if self._optional:
                    self._absent()
                    await asyncio.sleep(self._absent_seconds * random.uniform(0.8, 1.2))  # noqa: S311
                    continue
                pause = self._failed(error)
            except ApiError as error:
                pause = self._failed(error)
                if isinstance(error, Gone) or not error.transient or self._failures > RESUMES:
                    self._version = None
            await asyncio.sleep(pause)

    async def _list(self) -> str:
        seen: set[Key] = set()
        version = ""
        pages = self._client.pages(self.resource, namespace=self._namespace, label_selector=self._label_selector, limit=self._page_limit)
        try:
            async for page in pages:
                self.last_heard = time.monotonic()
                version = page.resource_version
                for body in page.items:
                    seen.add(self._put(body))
        except Gone:
            self._page_limit = 0  # too slow for the snapshot to live; in one piece it can't expire
            raise
        self._page_limit = 500
        for key in self.items.keys() - seen:  # deleted while we weren't looking
            self._remove(key)
        self._set_present(True)
        self.synced.set()
        return version

    async def _watch(self, version: str) -> None:
        """One stream, until the server ends it. Keeps ``_version`` at the last one heard of."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        # Servers end streams at the time asked for; spread, lest all mirrors come back at once.
        timeout_seconds = random.randint(240, 480)  # noqa: S311
        events = self._client.watch(
            self.resource,
            namespace=self._namespace,
            label_selector=self._label_selector,
            resource_version=version,
            timeout_seconds=timeout_seconds,
        )
        heard = False
        async with aclosing(events):
            async for event in events:
                if event.type == "DELETED":
                    self._remove(key_of(event.object))
                elif event.type != "BOOKMARK":
                    self._put(event.object)
                self._version = event.object["metadata"]["resourceVersion"]
                self.last_heard = time.monotonic()
                if not heard:
                    heard = True
                    self._recovered()
        if heard or loop.time() - began >= self._retry_base:
            self._recovered()
        else:
            # Ended at once and without a word: not an error, but nothing to repeat in a tight loop either.
            await asyncio.sleep(self._retry_base)

    def _put(self, body: Body) -> Key:
        key = key_of(body)
        try:
            new = self._project(body)
        except Exception as error:
            # One odd object must not blind us to all the others; what was known of it stays.
            # Only the class of the error: its message may quote what the object holds.
            self._unreadable.bug(error, key, "Could not read %s %s/%s: %s", self.resource.kind, *key, type(error).__name__)
            return key
        old = self.items.get(key)
        if old != new:
            self.items[key] = new
            self._notify(key, old, new)
        return key

    def _remove(self, key: Key) -> None:
        old = self.items.pop(key, None)
        if old is not None:
            self._notify(key, old, None)

    def _absent(self) -> None:
        for key in list(self.items):
            self._remove(key)
        self._failures = 0
        self.last_heard = time.monotonic()
        self._set_present(False)
        self.synced.set()

    def _set_present(self, present: bool) -> None:
        if present == self.present:
            return
        self.present = present
        if self._optional:
            log.info("Kind %s: %s is %s", self.resource.api_version, self.resource.kind, "there" if present else "gone")
        if self._on_presence is not None:
            self._on_presence(present)

    def _failed(self, error: ApiError) -> float:
        """Seconds to wait. Says a trouble once, not at every retry."""
        self._failures += 1
        self.last_failed = time.monotonic()
        trouble = f"{error.status} {error.reason}"
        # Version too old and streams that broke off are daily business; told only when they repeat.
        told = self._failures > 1 or not error.transient
        if told and trouble != self._trouble:
            log.warning("Lost sight of %s: %s", self.resource.plural, error)
            self._trouble = trouble
        return max(error.retry_after or 0.0, backoff(self._failures, base=self._retry_base, cap=self._retry_cap))

    def _recovered(self) -> None:
        self._failures = 0
        if self._trouble is not None:
            log.info("Sees %s again", self.resource.plural)
            self._trouble = None
