"""The status of an Artifact: its id, its content digest, and who uses it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from roadstead.api.artifact import Artifact
from roadstead.api.identity import object_id
from roadstead.controller.drafts import Drafts
from roadstead.controller.kinds import Key
from roadstead.controller.objects import Objects
from roadstead.controller.platform import PlatformKeeper
from roadstead.controller.registration import Registrar
from roadstead.controller.retention import Retention
from roadstead.desired.content import content_digest
from roadstead.kube.client import ApiClient
from roadstead.kube.errors import NotFound
from roadstead.observed.conditions import Condition, Verdict, not_ready, render
from roadstead.resources import ARTIFACTS

USERS_SHOWN = 10
PAUSE_SECONDS = 1.0


class ArtifactReconciler:
    """Reconciles Artifacts. At most one look at its Workloads, and one status write, a second for each: every change of a Workload is
    told here, and an Artifact may have thousands."""

    def __init__(
        self, client: ApiClient, objects: Objects, registrar: Registrar, drafts: Drafts, platform: PlatformKeeper, retention: Retention
    ) -> None:
        self._client = client
        self._objects = objects
        self._registrar = registrar
        self._drafts = drafts
        self._platform = platform
        self._retention = retention
        self._looked: dict[Key, tuple[str, float]] = {}

    async def reconcile(self, key: Key) -> float | None:
        """Write the status if it changed. Returns the seconds after which to look again when that has to wait."""
        stored, artifact = self._objects.get(key), self._objects.artifact(key)
        self._drafts.look(key)
        if stored is None or artifact is None:
            self._looked.pop(key, None)
            self._registrar.forget(key)
            return None
        version = await self._registrar.version(key, stored)
        previous: Mapping[str, Any] = stored.status()
        uid, at = self._looked.get(key, ("", 0.0))
        elapsed = time.monotonic() - at
        if uid == stored.uid and elapsed < PAUSE_SECONDS:
            return PAUSE_SECONDS - elapsed
        self._looked[key] = (stored.uid, time.monotonic())
        users = self._objects.referring_to(key)
        generation = artifact.metadata.generation or 0
        if artifact.spec.deleted:
            conditions = not_ready("Deleted", "The Artifact is deleted; set spec.deleted to false to restore it")
        else:
            conditions = [Condition("Ready", Verdict.TRUE, "Accepted", "Workloads may use this Artifact")]
        status: dict[str, Any] = {
            "observedGeneration": generation,
            "id": object_id("artifacts", key.namespace, key.name),
            "digest": content_digest(artifact.spec),
            **({"version": version} if version is not None else {}),
            "usedBy": {"count": len(users), "names": [user.name for user in users[:USERS_SHOWN]]},
            "conditions": render(conditions, previous.get("conditions") or (), generation, datetime.now(UTC)),
        }
        if status == previous:
            return await self._keep(key, artifact)
        try:
            await self._client.set_status(ARTIFACTS, key.namespace, key.name, stored.uid, status)
        except NotFound:
            self._objects.forget(key)
            return None
        return await self._keep(key, artifact)

    async def _keep(self, key: Key, artifact: Artifact) -> float | None:
        """Retention of a deleted Artifact; one that is still used stays."""
        deleted = bool(artifact.spec.deleted)
        if deleted and self._objects.referring_to(key):
            return None
        days = self._platform.deleted_days
        return (await self._retention.keep(ARTIFACTS, key, artifact.metadata, deleted=deleted, days=days)).look_again_seconds
