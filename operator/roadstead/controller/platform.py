"""The settings in force: the present Platform if it is good, else the last good one."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from roadstead.api.platform import PlatformSpec
from roadstead.controller.kinds import PLATFORM_NAME, PLATFORMS, Key, Kind
from roadstead.controller.objects import Objects, Stored
from roadstead.desired.settings import problems
from roadstead.errors import Reason, Refusal
from roadstead.kube.client import ApiClient
from roadstead.kube.errors import NotFound
from roadstead.observed.conditions import Condition, Verdict, not_ready, render

log = logging.getLogger(__name__)
KEY = Key(Kind.PLATFORM, "", PLATFORM_NAME)


class PlatformKeeper:
    """Holds the settings in force and says in the Platform's status whether they are the declared ones."""

    def __init__(self, client: ApiClient, objects: Objects) -> None:
        self._client = client
        self._objects = objects
        self._seen: Stored | None = None
        self._problems: list[str] = []
        self._good: PlatformSpec | None = None

    def settings(self) -> PlatformSpec:
        """The settings in force; without any Platform ever seen, the defaults.

        Raises Refusal when there is only a bad one: then nothing is created or changed, and running pods are left alone.
        """
        self._look()
        if self._good is not None:
            return self._good
        if self._problems:
            raise Refusal(Reason.PLATFORM_INVALID, f'Platform "default" can\'t be put in force: {self._problems[0]}')
        return PlatformSpec()

    async def reconcile(self, key: Key) -> float | None:
        """Write the status if it changed."""
        stored, platform = self._objects.get(key), self._objects.platform()
        if key != KEY or stored is None or platform is None:
            return None
        self._look()
        previous: Mapping[str, Any] = stored.body().get("status") or {}
        generation = platform.metadata.generation or 0
        if self._problems:
            kept = "the last good settings stay in force" if self._good is not None else "nothing is created until it is corrected"
            conditions = not_ready("Invalid", f"{'; '.join(self._problems)}; {kept}")
        else:
            conditions = [Condition("Ready", Verdict.TRUE, "InForce", "These settings are in force")]
        status = {
            "observedGeneration": generation,
            "conditions": render(conditions, previous.get("conditions") or (), generation, datetime.now(UTC)),
        }
        if status != previous:
            try:
                await self._client.set_status(PLATFORMS, None, key.name, stored.uid, status)
            except NotFound:
                self._objects.forget(key)
        return None

    def _look(self) -> None:
        """Take in the present object. A deleted Platform leaves the last good settings in force."""
        stored = self._objects.get(KEY)
        if stored is None or stored is self._seen:
            return
        self._seen = stored
        platform = self._objects.platform()
        if platform is None:
            return
        self._problems = problems(platform.spec)
        if self._problems:
            log.warning("Platform default is not put in force: %s", "; ".join(self._problems))
        else:
            self._good = platform.spec
