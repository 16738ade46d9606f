"""Soft deletion: the stamp that retention counts from, and the purge when it is over."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from roadstead.api.base import Metadata
from roadstead.controller.kinds import Key
from roadstead.kube.client import ApiClient
from roadstead.kube.errors import NotFound
from roadstead.kube.resource import Resource
from roadstead.names import BOOKKEEPING_MANAGER, DELETED_ANNOTATION
from roadstead.observed.conditions import timestamp

log = logging.getLogger(__name__)
LONGEST_LOOK_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class Kept:
    """Until when a deleted object can be restored, and in how many seconds to look again.

    ``until`` is None for an object that isn't deleted, and while nobody can say for how long deleted ones are kept.
    """

    until: datetime | None = None
    look_again_seconds: float | None = None
    purged: bool = False


class Retention:
    """Stamps and purges. The stamp is an annotation, so that it survives a restore from a backup."""

    def __init__(self, client: ApiClient) -> None:
        self._client = client

    async def keep(self, resource: Resource, key: Key, metadata: Metadata, *, deleted: bool, days: int | None) -> Kept:
        """Stamp an object when its deletion is first seen, take the stamp off a restored one, purge it after ``days``.

        Without ``days`` (no settings are in force) it is stamped all the same, so that the time counts, and never purged.
        """
        stamp = metadata.annotations.get(DELETED_ANNOTATION)
        if not deleted:
            if stamp is not None:
                await self._stamp(resource, key, metadata, None)
                log.info("%s is restored: the time of its deletion is taken off", key)
            return Kept()
        now = datetime.now(UTC)
        since = _parsed(stamp)
        if since is None:
            await self._stamp(resource, key, metadata, timestamp(now))
            log.info("%s is marked as deleted at %s", key, timestamp(now))
            since = now
        if days is None:
            return Kept(look_again_seconds=LONGEST_LOOK_SECONDS)
        until = since + timedelta(days=days)
        left = (until - now).total_seconds()
        if left > 0:
            return Kept(until, min(left, LONGEST_LOOK_SECONDS))
        try:
            present = await self._client.get(resource, key.namespace, key.name)
        except NotFound:  # its going was missed; the sweep will notice
            return Kept(until, purged=True)
        if not (present.get("spec") or {}).get("deleted"):
            return Kept()
        log.info("%s is purged: it was deleted %d days ago", key, days)
        version = present["metadata"]["resourceVersion"]
        await self._client.delete(resource, key.namespace, key.name, uid=metadata.uid, resource_version=version)
        return Kept(until, purged=True)

    async def _stamp(self, resource: Resource, key: Key, metadata: Metadata, stamp: str | None) -> None:
        body = {"metadata": {"uid": metadata.uid, "annotations": {DELETED_ANNOTATION: stamp}}}
        await self._client.merge_patch(resource, key.namespace, key.name, body, field_manager=BOOKKEEPING_MANAGER)


def _parsed(stamp: str | None) -> datetime | None:
    if stamp is None:
        return None
    try:
        found = datetime.fromisoformat(stamp)
    except ValueError:
        return None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
