"""Versions of registered Artifacts: one more than the highest in the collection, given once."""

from __future__ import annotations

import asyncio
import logging
from weakref import WeakValueDictionary

from roadstead.controller.index import Index
from roadstead.controller.kinds import Key, Kind
from roadstead.controller.objects import Lineage, Objects, Stored, lineage_of, version_of
from roadstead.kube.client import ApiClient
from roadstead.names import BOOKKEEPING_MANAGER, VERSION_ANNOTATION
from roadstead.resources import ARTIFACTS

log = logging.getLogger(__name__)


class Registrar:
    """Gives versions. Workers register Artifacts of one lineage one after another, and what was just given is remembered until the
    cache shows it, so that no number is given twice. A number returns only once its Artifact is finally gone.

    What another leader gave last may not be in the cache yet: before the first registration of a term the API server is asked.
    """

    def __init__(self, client: ApiClient, objects: Objects) -> None:
        self._client = client
        self._objects = objects
        self._locks: WeakValueDictionary[Lineage, asyncio.Lock] = WeakValueDictionary()
        """Each lives as long as somebody holds or awaits it."""
        self._term, self._known_term = 1, 0
        self._catching_up = asyncio.Lock()
        self._given: dict[Key, tuple[str, Lineage, int]] = {}
        self._numbers: Index[Lineage, tuple[int, Key]] = Index()
        """Of those in ``_given``."""

    async def version(self, key: Key, stored: Stored) -> int | None:
        """The Artifact's version, given now if it has none yet; None for a draft."""
        lineage = stored.lineage
        if lineage is None:
            return None
        if stored.version:
            self.forget(key)
            return stored.version
        await self._catch_up()
        lock = self._locks.setdefault(lineage, asyncio.Lock())
        async with lock:
            given = self._given.get(key)
            if given is not None and given[0] == stored.uid:
                return given[2]
            numbers = self._numbers.of(lineage)
            number = 1 + max(self._objects.highest_version(lineage), numbers[-1][0] if numbers else 0)
            metadata = {"uid": stored.uid, "annotations": {VERSION_ANNOTATION: str(number)}}
            await self._client.merge_patch(ARTIFACTS, key.namespace, key.name, {"metadata": metadata}, field_manager=BOOKKEEPING_MANAGER)
            self._note(key, stored.uid, lineage, number)
            log.info("Artifact %s/%s is registered as version %d of %s", key.namespace, key.name, number, lineage[1])
            return number

    def new_term(self) -> None:
        """Leadership was gained."""
        self._term += 1

    async def _catch_up(self) -> None:
        """Once a term: take in, by a consistent list, the versions that the cache doesn't show yet."""
        async with self._catching_up:
            term = self._term
            if self._known_term == term:
                return
            async for page in self._client.pages(ARTIFACTS):
                for body in page.items:
                    metadata = body["metadata"]
                    key, uid = Key(Kind.ARTIFACT, metadata["namespace"], metadata["name"]), metadata["uid"]
                    lineage, version, cached = lineage_of(Kind.ARTIFACT, body), version_of(metadata), self._objects.get(key)
                    if lineage is not None and version and (cached is None or (cached.uid, cached.version) != (uid, version)):
                        self._note(key, uid, lineage, version)
            self._known_term = term

    def forget(self, key: Key) -> None:
        """The Artifact is gone, or the cache shows what was given to it."""
        given = self._given.pop(key, None)
        if given is not None:
            self._numbers.remove(given[1], (given[2], key))

    def _note(self, key: Key, uid: str, lineage: Lineage, number: int) -> None:
        self.forget(key)
        self._given[key] = (uid, lineage, number)
        self._numbers.add(lineage, (number, key))
