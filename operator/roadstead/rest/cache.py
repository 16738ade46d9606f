"""The process's own copy of our kinds: reads cost the API server nothing.

A mirror lags a little behind. Two things hide that from those who would notice: what this replica has written is put in at once, and
stays until the watch has come as far; and an id that isn't known is asked for once, by its label, before it counts as not there.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from enum import StrEnum
from typing import Any, Final, Generic, TypeVar

from roadstead.api.platform import Platform, PlatformSpec
from roadstead.kube.client import ApiClient
from roadstead.kube.errors import NotFound
from roadstead.kube.reflector import Reflector
from roadstead.kube.resource import Body, Key, Resource
from roadstead.resources import ARTIFACTS, ENDPOINTS, PLATFORM_NAME, PLATFORMS, WORKLOADS
from roadstead.rest.records import (
    Record,
    artifact_record,
    endpoint_record,
    workload_record,
)

R = TypeVar("R", bound=Record)
AHEAD_SECONDS: Final = 120.0
"""A watch that has been heard of for so long after a write has passed it: bookmarks come once a minute."""


class Order(StrEnum):
    """By what a mirror is kept sorted, once somebody has asked for it so; equal ones by id."""

    TITLE = "title"
    CREATED = "created"
    UPDATED = "updated"

    def key(self, record: Record) -> tuple[str, str]:
        """What decides."""
        match self:
            case Order.TITLE:
                return record.title.casefold(), record.id
            case Order.CREATED:
                return record.created_at, record.id
            case Order.UPDATED:
                return record.updated_at, record.id


class Mirror(Generic[R]):
    """One kind."""

    def __init__(self, client: ApiClient, resource: Resource, what: str, project: Callable[[Body], R]) -> None:
        self.resource = resource
        self.what = what
        """What a person calls it."""
        self._changed = asyncio.Event()
        self._ordered: dict[Order, list[R]] = {}
        self.reflector: Reflector[R] = Reflector(client, resource, project=project, notify=self._heard)
        self._client = client
        self.project = project
        self._by_id: dict[str, R] = {}
        self._by_namespace: defaultdict[str, dict[str, R]] = defaultdict(dict)
        self._ahead: dict[Key, float] = {}
        """When something was put in before the watch brought it."""
        self._asking: dict[tuple[str, str], asyncio.Task[tuple[R, ...]]] = {}

    def get(self, id: str) -> R | None:
        """What is known under the id, softly deleted or not."""
        self._catch_up()
        return self._by_id.get(id)

    def named(self, namespace: str, name: str) -> R | None:
        """What is known under the name."""
        return self._by_namespace.get(namespace, {}).get(name)

    @property
    def namespaces(self) -> Collection[str]:
        """Where there are any."""
        return self._by_namespace.keys()

    def within(self, namespaces: Iterable[str]) -> Iterator[R]:
        """All of these namespaces."""
        self._catch_up()
        return (record for namespace in namespaces for record in self._by_namespace.get(namespace, {}).values())

    def ordered(self, order: Order) -> Sequence[R]:
        """All of them, ascending; sorted once until something changes."""
        self._catch_up()
        found = self._ordered.get(order)
        if found is None:
            found = self._ordered[order] = sorted(self._by_id.values(), key=order.key)
        return found

    def put(self, body: Body) -> R:
        """Take in what the API server has just answered to a write or a question."""
        record = self.project(body)
        known = self.named(record.namespace, record.name)
        if known is None or known.uid != record.uid or known.version < record.version:
            self._ahead[record.namespace, record.name] = time.monotonic()
            self._store(record)
        return record

    async def until(self, record: R, there: Callable[[R], bool], seconds: float) -> R:
        """The object as soon as it is so, or as it is after so many seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not there(record):
                    await self._changed.wait()
                    record = self._by_id.get(record.id, record)
        return record

    def drop(self, record: Record) -> None:
        """It has just been deleted for good."""
        known = self.named(record.namespace, record.name)
        if known is not None and known.uid == record.uid:
            self._remove(known)

    async def fresh(self, namespace: str, name: str) -> R | None:
        """As the cluster has it now. Raises ApiError."""
        try:
            return self.put(await self._client.get(self.resource, namespace, name))
        except NotFound:
            return None

    async def ask(self, label: str, value: str) -> tuple[R, ...]:
        """Look up in the cluster what bears that label; asked once, however many want to know."""
        task = self._asking.get((label, value))
        if task is None:
            task = asyncio.create_task(self._ask(label, value))
            self._asking[label, value] = task
            task.add_done_callback(lambda done: self._asked(label, value, done))
        return await asyncio.shield(task)

    async def _ask(self, label: str, value: str) -> tuple[R, ...]:
        pages = self._client.pages(self.resource, label_selector=f"{label}={value}")
        return tuple([self.put(body) async for page in pages for body in page.items])

    def _asked(self, label: str, value: str, task: asyncio.Task[tuple[R, ...]]) -> None:
        del self._asking[label, value]
        if not task.cancelled():
            task.exception()

    def _heard(self, key: Key, old: R | None, new: R | None) -> None:
        """The watch brought a change: it counts unless what we wrote is newer."""
        self._catch_up()
        known = self.named(*key)
        if new is None:
            if old is not None and known is not None and known.uid == old.uid:
                self._remove(known)
        elif known is None or known.uid != new.uid or known.version <= new.version:
            self._ahead.pop(key, None)
            self._store(new)

    def _catch_up(self) -> None:
        """What was put in and has never come by the watch, though it must have passed: gone while nobody listened."""
        heard = self.reflector.last_heard
        for key in [key for key, put_at in self._ahead.items() if heard - put_at > AHEAD_SECONDS]:
            del self._ahead[key]
            record = self.named(*key)
            if record is not None and key not in self.reflector.items:
                self._remove(record)

    def _store(self, record: R) -> None:
        self._touch()
        self._by_id[record.id] = record
        self._by_namespace[record.namespace][record.name] = record

    def _touch(self) -> None:
        self._ordered.clear()
        self._changed.set()
        self._changed = asyncio.Event()

    def _remove(self, record: R) -> None:
        self._touch()
        self._ahead.pop((record.namespace, record.name), None)
        self._by_id.pop(record.id, None)
        names = self._by_namespace[record.namespace]
        names.pop(record.name, None)
        if not names:
            del self._by_namespace[record.namespace]


class Cache:
    """All mirrors, and how old what they say is."""

    def __init__(self, client: ApiClient) -> None:
        self.artifacts = Mirror(client, ARTIFACTS, "artifact", artifact_record)
        self.workloads = Mirror(client, WORKLOADS, "workload", workload_record)
        self.endpoints = Mirror(client, ENDPOINTS, "deployment", endpoint_record)
        self._platforms: Reflector[PlatformSpec] = Reflector(
            client, PLATFORMS, project=lambda body: Platform.model_validate(body).spec, notify=lambda *_: None
        )
        self._without = PlatformSpec()

    @property
    def platform(self) -> PlatformSpec:
        """The administrator's settings; the defaults where there is none."""
        return self._platforms.items.get(("", PLATFORM_NAME), self._without)

    @property
    def reflectors(self) -> tuple[Reflector[Any], ...]:
        return (self.artifacts.reflector, self.workloads.reflector, self.endpoints.reflector, self._platforms)

    def loops(self) -> Mapping[str, Coroutine[Any, Any, None]]:
        """The coroutines to run for the life of the process."""
        return {f"mirror of {reflector.resource.plural}": reflector.run() for reflector in self.reflectors}

    async def wait_filled(self) -> None:
        """Return when every mirror has been filled once."""
        await asyncio.gather(*(reflector.synced.wait() for reflector in self.reflectors))

    @property
    def filled(self) -> bool:
        """Whether every mirror has been filled once."""
        return all(reflector.synced.is_set() for reflector in self.reflectors)

    def age_seconds(self, *mirrors: Mirror[Any]) -> int:
        """Seconds since the mirrors last heard of the API server, if that is longer than it should be; else 0."""
        lost = [mirror.reflector for mirror in mirrors if mirror.reflector.last_failed > mirror.reflector.last_heard]
        return round(max((time.monotonic() - reflector.last_heard for reflector in lost), default=0.0))
