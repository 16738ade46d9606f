"""Versions of registered Artifacts: one more than the highest in the collection, given once."""

from __future__ import annotations

import asyncio
import logging
from weakref import WeakValueDictionary

from roadstead.controller.kinds import ARTIFACTS, Key
from roadstead.controller.objects import Lineage, Objects, Stored
from roadstead.kube.client import ApiClient
from roadstead.names import BOOKKEEPING_MANAGER, VERSION_ANNOTATION

log = logging.getLogger(__name__)


class Registrar:
    """Gives versions. Workers register Artifacts of one lineage one after another, and what was just given is remembered until the
    cache shows it, so that no number is given twice. A number returns only once its Artifact is finally gone.
    """

    def __init__(self, client: ApiClient, objects: Objects) -> None:
        self._client = client
        self._objects = objects
        self._locks: WeakValueDictionary[Lineage, asyncio.Lock] = WeakValueDictionary()
        """Each lives as long as somebody holds or awaits it."""
        self._given: dict[Key, tuple[str, Lineage, int]] = {}

    async def version(self, key: Key, stored: Stored) -> int | None:
        """The Artifact's version, given now if it has none yet; None for a draft."""
        lineage = stored.lineage
        if lineage is None:
            return None
        if stored.version:
            self._given.pop(key, None)
            return stored.version
        lock = self._locks.setdefault(lineage, asyncio.Lock())
        async with lock:
            given = self._given.get(key)
            if given is not None and given[0] == stored.uid:
                return given[2]
            pending = (number for _, of, number in self._given.values() if of == lineage)
            number = 1 + max(self._objects.highest_version(lineage), *pending, 0)
            metadata = {"uid": stored.uid, "annotations": {VERSION_ANNOTATION: str(number)}}
            await self._client.merge_patch(ARTIFACTS, key.namespace, key.name, {"metadata": metadata}, field_manager=BOOKKEEPING_MANAGER)
            self._given[key] = (stored.uid, lineage, number)
            log.info("Artifact %s/%s is registered as version %d of %s", key.namespace, key.name, number, lineage[1])
            return number

    def forget(self, key: Key) -> None:
        """The Artifact is gone."""
        self._given.pop(key, None)
