"""What users declared: the present custom resources, as kopf's watches deliver them, and who refers to whom.

Objects are kept as compact JSON and parsed when they are reconciled: a Workload takes 1–2 KB instead of tens.
Indexes are kept by reference, so that no event costs more for there being more objects.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from roadstead.api.artifact import Artifact
from roadstead.api.deployment import Deployment
from roadstead.api.workload import Workload
from roadstead.controller.index import Index
from roadstead.controller.kinds import Key, Kind
from roadstead.names import VERSION_ANNOTATION

Body = dict[str, Any]
Lineage = tuple[str, str]
"""Namespace and collection: what versions are counted in."""


class Claim(NamedTuple):
    """A Workload that is neither stopped nor deleted, on the Artifact it refers to; the oldest sorts first."""

    created: str
    """In the API's form, which is always UTC and so sorts by time."""
    uid: str
    workload: Key


@dataclass(frozen=True, slots=True)
class Stored:
    """One object: ``raw`` is its JSON without managedFields and status, which is ours and isn't parsed to be checked: ``said`` is its JSON.

    ``refers`` are the artifact or workloads that it refers to, by name. ``declared`` differs when anything but the status does.
    ``state`` is a Workload's, empty while it has none, and ``active`` when it was created, None if it is stopped or deleted.
    """

    uid: str
    raw: bytes
    said: bytes
    refers: tuple[str, ...]
    declared: tuple[Any, ...]
    lineage: Lineage | None = None
    version: int = 0
    state: str = ""
    active: str | None = None

    def body(self) -> Body:
        """The object without managedFields and status."""
        body: Body = orjson.loads(self.raw)
        return body

    def status(self) -> Body:
        """Its status; empty if it has none."""
        status: Body = orjson.loads(self.said)
        return status


class Objects:
    """The mirror of our own kinds. ``notify`` is called with every key that a change concerns, ``settle`` if only a status changed."""

    def __init__(self, notify: Callable[[Key], None], settle: Callable[[Key], None]) -> None:
        self.states: Counter[str] = Counter()
        """Workloads by state, as their status says; those without one yet under the empty name."""
        self._notify = notify
        self._settle = settle
        self._stored: dict[Key, Stored] = {}
        self._referring: Index[Key, Key] = Index()
        self._claims: Index[Key, Claim] = Index()
        self._versions: Index[Lineage, tuple[int, Key]] = Index()

    def saw(self, kind: Kind, body: Body, *, deleted: bool = False) -> None:
        """Take in one watch event."""
        metadata = body["metadata"]
        key = Key(kind, metadata.get("namespace") or "", metadata["name"])
        if deleted:
            known = self._stored.get(key)
            if known is not None and known.uid == metadata["uid"]:  # not its successor of the same name
                self.forget(key)
            return
        metadata = {name: value for name, value in metadata.items() if name not in ("managedFields", "resourceVersion")}
        raw = orjson.dumps({**{name: value for name, value in body.items() if name != "status"}, "metadata": metadata})
        said = orjson.dumps(body.get("status") or {})
        old = self._stored.get(key)
        if old is not None and (old.raw, old.said) == (raw, said):
            return
        stored = Stored(
            uid=metadata["uid"],
            raw=raw,
            said=said,
            refers=_refers(kind, body),
            declared=_declared(metadata),
            lineage=lineage_of(kind, body),
            version=version_of(metadata),
            state=_state(kind, body),
            active=_active(kind, body),
        )
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
        """A Workload, parsed; without its status."""
        stored = self._stored.get(key)
        return None if stored is None else Workload.model_validate_json(stored.raw)

    def artifact(self, key: Key) -> Artifact | None:
        """An Artifact, parsed; without its status."""
        stored = self._stored.get(key)
        return None if stored is None else Artifact.model_validate_json(stored.raw)

    def referring_to(self, key: Key) -> Sequence[Key]:
        """The Workloads of an Artifact, or the Deployments of a Workload, in the order of their names; see Index.of."""
        return self._referring.of(key)

    def claims(self, artifact: Key) -> Sequence[Claim]:
        """The Workloads of an Artifact that are neither stopped nor deleted, the oldest first; see Index.of."""
        return self._claims.of(artifact)

    def deployment(self, key: Key) -> Deployment | None:
        """A Deployment of ours, parsed; without its status."""
        stored = self._stored.get(key)
        return None if stored is None else Deployment.model_validate_json(stored.raw)

    def deployments_of(self, workload: Key) -> tuple[Deployment, ...]:
        """The Deployments in front of a Workload, those that are leaving it included."""
        found = (self._stored[key] for key in self.referring_to(workload))
        return tuple(Deployment.model_validate_json(stored.raw) for stored in found)

    def highest_version(self, lineage: Lineage) -> int:
        """The highest version given so far in a lineage, soft-deleted Artifacts included; 0 if none."""
        versions = self._versions.of(lineage)
        return versions[-1][0] if versions else 0

    def _reindex(self, key: Key, old: Stored | None, new: Stored | None) -> None:
        if key.kind is Kind.WORKLOAD:
            if old is not None:
                self.states[old.state] -= 1
            if new is not None:
                self.states[new.state] += 1
        self._referring.replace(_references(key, old), _references(key, new))
        self._claims.replace(_claimed(key, old), _claimed(key, new))
        self._versions.replace(_numbered(key, old), _numbered(key, new))

    def _tell(self, key: Key, old: Stored | None, new: Stored | None) -> None:
        """The object itself, and what it refers or referred to, and what refers to it.

        A change of the status alone is mostly the echo of our own write: it can wait for what else is happening, and concerns only a
        Workload's Deployments besides. They are few; an Artifact's Workloads may be thousands.
        """
        if old is not None and new is not None and (old.uid, old.declared, old.refers) == (new.uid, new.declared, new.refers):
            for each in (key, *self._dependents(key)) if key.kind is Kind.WORKLOAD else (key,):
                self._settle(each)
            return
        concerned: set[Key] = {key, *self._dependents(key)}
        for stored in (old, new):
            if stored is not None:
                concerned.update(targets(key, stored))
        for each in concerned:
            self._notify(each)

    def _dependents(self, key: Key) -> Iterable[Key]:
        if key.kind is Kind.PLATFORM:
            kinds = (Kind.WORKLOAD, Kind.DEPLOYMENT, Kind.ARTIFACT)  # Deployments by their URL, Artifacts by their retention
            return itertools.chain.from_iterable(self.keys(kind) for kind in kinds)
        return self._referring.of(key)


def targets(key: Key, stored: Stored) -> tuple[Key, ...]:
    """What an object refers to: a Workload its Artifact, a Deployment its Workload and the one that still serves."""
    kind = Kind.ARTIFACT if key.kind is Kind.WORKLOAD else Kind.WORKLOAD
    return tuple(Key(kind, key.namespace, name) for name in stored.refers)


def _references(key: Key, stored: Stored | None) -> list[tuple[Key, Key]]:
    return [] if stored is None else [(target, key) for target in targets(key, stored)]


def _claimed(key: Key, stored: Stored | None) -> list[tuple[Key, Claim]]:
    if stored is None or stored.active is None:
        return []
    return [(target, Claim(stored.active, stored.uid, key)) for target in targets(key, stored)]


def _numbered(key: Key, stored: Stored | None) -> list[tuple[Lineage, tuple[int, Key]]]:
    return [] if stored is None or stored.lineage is None else [(stored.lineage, (stored.version, key))]


def _refers(kind: Kind, body: Body) -> tuple[str, ...]:
    spec = body.get("spec") or {}
    names: tuple[str | None, ...]
    match kind:
        case Kind.WORKLOAD if "artifact" in spec:
            return (str(body["metadata"]["name"]),)
        case Kind.WORKLOAD:
            names = ((spec.get("artifactRef") or {}).get("name"),)
        case Kind.DEPLOYMENT:
            names = ((spec.get("workloadRef") or {}).get("name"), (body.get("status") or {}).get("activeWorkload"))
        case _:
            return ()
    return tuple(dict.fromkeys(name for name in names if name))


def lineage_of(kind: Kind, body: Body) -> Lineage | None:
    """Only registered Artifacts are of a lineage; without a collection an Artifact is a lineage of its own."""
    spec, metadata = body.get("spec") or {}, body["metadata"]
    if kind is not Kind.ARTIFACT or spec.get("status") != "registered":
        return None
    return metadata.get("namespace") or "", spec.get("collection") or metadata["name"]


def version_of(metadata: Body) -> int:
    """The version in an Artifact's annotations; 0 if it has none."""
    text = (metadata.get("annotations") or {}).get(VERSION_ANNOTATION, "")
    return int(text) if text.isdecimal() else 0


def _state(kind: Kind, body: Body) -> str:
    return str((body.get("status") or {}).get("state") or "") if kind is Kind.WORKLOAD else ""


def _active(kind: Kind, body: Body) -> str | None:
    spec = body.get("spec") or {}
    if kind is not Kind.WORKLOAD or spec.get("suspend") or spec.get("deleted"):
        return None
    return str(body["metadata"].get("creationTimestamp") or "")


def _declared(metadata: Body) -> tuple[Any, ...]:
    marks = tuple(sorted((metadata.get("annotations") or {}).items()))
    return (metadata.get("generation"), metadata.get("deletionTimestamp"), marks)
