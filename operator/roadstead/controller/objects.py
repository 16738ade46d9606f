"""What users declared: the present custom resources, as kopf's watches deliver them, and who refers to whom.

Objects are kept as compact JSON and parsed when they are reconciled: a Workload takes 1–2 KB instead of tens.
Indexes are kept by reference, so that no event costs more for there being more objects.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from roadstead.api.artifact import Artifact
from roadstead.api.deployment import Deployment
from roadstead.api.platform import Platform
from roadstead.api.workload import Workload
from roadstead.controller.kinds import PLATFORM_NAME, Key, Kind

Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Stored:
    """One object: ``raw`` is its JSON without managedFields, ``refers`` the name of the artifact or workload that it refers to."""

    uid: str
    raw: bytes
    refers: str | None

    def body(self) -> Body:
        body: Body = orjson.loads(self.raw)
        return body


class Objects:
    """The mirror of our own kinds. ``notify`` is called with every key that a change concerns."""

    def __init__(self, notify: Callable[[Key], None]) -> None:
        self._notify = notify
        self._stored: dict[Key, Stored] = {}
        self._referring: defaultdict[Key, set[Key]] = defaultdict(set)

    def saw(self, kind: Kind, body: Body, *, deleted: bool = False) -> None:
        """Take in one watch event."""
        metadata = body["metadata"]
        key = Key(kind, metadata.get("namespace") or "", metadata["name"])
        if deleted:
            self.forget(key)
            return
        metadata = {name: value for name, value in metadata.items() if name not in ("managedFields", "resourceVersion")}
        raw = orjson.dumps({**body, "metadata": metadata})
        old = self._stored.get(key)
        if old is not None and old.raw == raw:
            return
        stored = Stored(metadata["uid"], raw, _refers(kind, body))
        self._stored[key] = stored
        self._reindex(key, old, stored)
        self._tell(key, old, stored)

    def forget(self, key: Key) -> None:
        """The object is gone."""
        old = self._stored.pop(key, None)
        if old is not None:
            self._reindex(key, old, None)
            self._tell(key, old, None)

    def get(self, key: Key) -> Stored | None:
        """The stored form of one object."""
        return self._stored.get(key)

    def keys(self, kind: Kind) -> Iterator[Key]:
        """All objects of a kind."""
        return (key for key in self._stored if key.kind is kind)

    def workload(self, key: Key) -> Workload | None:
        """A Workload, parsed."""
        stored = self._stored.get(key)
        return None if stored is None else Workload.model_validate_json(stored.raw)

    def artifact(self, key: Key) -> Artifact | None:
        """An Artifact, parsed."""
        stored = self._stored.get(key)
        return None if stored is None else Artifact.model_validate_json(stored.raw)

    def platform(self) -> Platform | None:
        """The administrator's settings, parsed."""
        stored = self._stored.get(Key(Kind.PLATFORM, "", PLATFORM_NAME))
        return None if stored is None else Platform.model_validate_json(stored.raw)

    def referring_to(self, key: Key) -> tuple[Key, ...]:
        """The Workloads of an Artifact, or the Deployments of a Workload, in the order of their names."""
        return tuple(sorted(self._referring.get(key, ())))

    def deployments_of(self, workload: Key) -> tuple[Deployment, ...]:
        """The Deployments in front of a Workload."""
        found = (self._stored[key] for key in self.referring_to(workload))
        return tuple(Deployment.model_validate_json(stored.raw) for stored in found)

    def _reindex(self, key: Key, old: Stored | None, new: Stored | None) -> None:
        before = target(key, old.refers) if old is not None else None
        after = target(key, new.refers) if new is not None else None
        if before == after:
            return
        if before is not None:
            self._referring[before].discard(key)
            if not self._referring[before]:
                del self._referring[before]
        if after is not None:
            self._referring[after].add(key)

    def _tell(self, key: Key, old: Stored | None, new: Stored | None) -> None:
        """The object itself; what it refers to, or referred to; and what refers to it."""
        concerned: set[Key] = {key}
        for stored in (old, new):
            if stored is not None and (referred := target(key, stored.refers)) is not None:
                concerned.add(referred)
        concerned.update(self._dependents(key))
        for each in concerned:
            self._notify(each)

    def _dependents(self, key: Key) -> Iterable[Key]:
        if key.kind is Kind.PLATFORM:
            return self.keys(Kind.WORKLOAD)
        return self._referring.get(key, ())


def target(key: Key, refers: str | None) -> Key | None:
    """What an object refers to: a Workload its Artifact, a Deployment its Workload."""
    if refers is None:
        return None
    return Key(Kind.ARTIFACT if key.kind is Kind.WORKLOAD else Kind.WORKLOAD, key.namespace, refers)


def _refers(kind: Kind, body: Body) -> str | None:
    spec = body.get("spec") or {}
    match kind:
        case Kind.WORKLOAD:
            if "artifact" in spec:
                return str(body["metadata"]["name"])
            return (spec.get("artifactRef") or {}).get("name")
        case Kind.DEPLOYMENT:
            return (spec.get("workloadRef") or {}).get("name")
        case _:
            return None
