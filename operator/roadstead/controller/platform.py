"""The settings in force: the present Platform if it is good, else the last good one."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from pydantic import ValidationError

from roadstead.api.identity import object_id
from roadstead.api.platform import PlatformSpec
from roadstead.controller.kinds import Key, Kind
from roadstead.controller.objects import Objects
from roadstead.desired.settings import problems
from roadstead.errors import Reason, Refusal
from roadstead.kube.client import ApiClient
from roadstead.kube.errors import NotFound
from roadstead.observed.conditions import Condition, Verdict, not_ready, render
from roadstead.observed.urls import public_url
from roadstead.resources import PLATFORM_NAME, PLATFORMS

log = logging.getLogger(__name__)
KEY: Final = Key(Kind.PLATFORM, "", PLATFORM_NAME)
PROBLEMS_SHOWN: Final = 5


class PlatformKeeper:
    """Holds the settings in force and says in the Platform's status whether they are the declared ones.

    ``look`` wants to be called at every change of the Platform, whoever leads: a new leader must know the last good settings.
    ``in_force`` is told whenever good settings were declared.
    """

    def __init__(self, client: ApiClient, objects: Objects, in_force: Callable[[PlatformSpec], None]) -> None:
        self._client = client
        self._objects = objects
        self._in_force = in_force
        self._problems: list[str] = []
        self._good: PlatformSpec | None = None

    def settings(self) -> PlatformSpec:
        """The settings in force; without any Platform ever seen, the defaults.

        Raises Refusal when there is only a bad one: then nothing is created or changed, and running pods are left alone.
        """
        if self._good is not None:
            return self._good
        if self._problems:
            raise Refusal(Reason.PLATFORM_INVALID, f'Platform "default" can\'t be put in force: {self._problems[0]}')
        return PlatformSpec()

    @property
    def gpu_types(self) -> tuple[str, ...]:
        """The names in the catalogue of the settings in force."""
        return tuple(entry.gpu_type for entry in self._good.gpu_types or ()) if self._good is not None else ()

    @property
    def deleted_days(self) -> int | None:
        """For how many days what was softly deleted is kept; None while there are no settings in force."""
        try:
            return self.settings().retention.deleted_days
        except Refusal:
            return None

    def endpoint(self, plural: str, name: tuple[str, str], previous: Mapping[str, Any]) -> str | None:
        """Where the gateway answers for an object, None where no public address is named; without settings in force, as said before."""
        try:
            gateway = self.settings().gateway.url
        except Refusal:
            before: str | None = previous.get("endpoint")
            return before
        return public_url(gateway, plural, object_id(plural, *name)) if gateway else None

    def look(self) -> None:
        """Take in the present object. A deleted Platform leaves the last good settings in force; what was wrong with it is over."""
        stored = self._objects.get(KEY)
        if stored is None:
            self._problems = []
            return
        try:
            spec = PlatformSpec.model_validate(stored.body().get("spec") or {})
        except ValidationError as error:
            self._problems = _unreadable(error)
        else:
            self._problems = problems(spec)
            if not self._problems:
                self._good = spec
                self._in_force(spec)
                return
        log.warning("Platform default is not put in force: %s", "; ".join(self._problems))

    async def reconcile(self, key: Key) -> float | None:
        """Write the status if it changed."""
        stored = self._objects.get(key)
        if key != KEY or stored is None:
            return None
        previous: Mapping[str, Any] = stored.status()
        generation = int(stored.body()["metadata"].get("generation") or 0)
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


def _unreadable(error: ValidationError) -> list[str]:
    """Sentences on what our types refuse though the API server took it: it was written under the CRDs of another version."""
    found = error.errors(include_url=False, include_input=False, include_context=False)[:PROBLEMS_SHOWN]
    paths = (".".join(("spec", *map(str, each["loc"]))) for each in found)
    return [
        f"{path} can't be read by this version of the operator ({each['msg']}); correct it or upgrade the operator"
        for path, each in zip(paths, found, strict=True)
    ]
