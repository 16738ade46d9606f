"""Reads: from the mirrors, after asking what the caller may see. What he may not see isn't there."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from roadstead.access.callers import Caller
from roadstead.access.limits import Buckets
from roadstead.access.rights import Rights
from roadstead.kube.errors import ApiError
from roadstead.names import ID_LABEL
from roadstead.rest.cache import Mirror, Order
from roadstead.rest.problems import not_found, too_many, unavailable
from roadstead.rest.records import Record

R = TypeVar("R", bound=Record)
MISSES_PER_SECOND = 5.0
MISSES_AT_ONCE = 50.0
"""Ids that one caller may have looked up in the cluster: who guesses ids is slowed down, not the API server."""


class Reads:
    """One object by its id, or a list."""

    def __init__(self, rights: Rights, missed: Callable[[str], None]) -> None:
        self._rights = rights
        self._missed = missed
        self._misses = Buckets(MISSES_PER_SECOND, MISSES_AT_ONCE)

    async def one(self, caller: Caller, mirror: Mirror[R], id: str) -> R:
        """The object. Raises 404 where there is none, it is deleted, or the caller may not get it."""
        record = await self.find(caller, mirror, id)
        if record is None:
            raise not_found(mirror.what, id)
        return record

    async def find(self, caller: Caller, mirror: Mirror[R], id: str) -> R | None:
        """As ``one``, for an id that stands in a body."""
        id = id.lower()
        record = mirror.get(id)
        if record is None:
            record = next((found for found in await self._ask(caller, mirror, ID_LABEL, id) if found.id == id), None)
        if record is None or record.deleted:
            return None
        return record if await self._rights.may(caller, "get", mirror.resource, record.namespace, record.name) else None

    async def labelled(self, caller: Caller, mirror: Mirror[R], label: str, value: str, namespace: str) -> R | None:
        """Any object of the namespace that bears the label, as the cluster has it now."""
        return next((found for found in await self._ask(caller, mirror, label, value) if found.namespace == namespace), None)

    async def fresh(self, mirror: Mirror[R], namespace: str, name: str) -> R | None:
        """As the cluster has it now; whether the caller may see it is for others to ask."""
        try:
            return await mirror.fresh(namespace, name)
        except ApiError as error:
            raise unasked(mirror, error) from error

    async def _ask(self, caller: Caller, mirror: Mirror[R], label: str, value: str) -> tuple[R, ...]:
        wait = self._misses.wait(caller.username)
        if wait:
            raise too_many(f"too many ids that lead nowhere; check where they come from (last: {mirror.what} {value})", wait)
        self._missed(mirror.resource.plural)
        try:
            found = await mirror.ask(label, value)
        except ApiError as error:
            raise unasked(mirror, error) from error
        if not found:
            self._misses.take(caller.username)  # what another replica has just made is no guess
        return found

    async def all(self, caller: Caller, mirror: Mirror[R], order: Order) -> list[R]:
        """All that the caller may list and that isn't deleted, ascending."""
        namespaces = await self._rights.namespaces(caller, "list", mirror.resource, mirror.namespaces)
        return [record for record in mirror.ordered(order) if record.namespace in namespaces and not record.deleted]


def unasked(mirror: Mirror[R], error: ApiError) -> Exception:
    """503 where the API server can't be asked; anything else is a right that this process lacks."""
    if error.transient:
        return unavailable(retry_after=error.retry_after)
    return RuntimeError(f"A read was refused; may this process get and list {mirror.resource.plural}? {error}")
