"""Artifacts: from a body to the custom resource, and from a record to the answer."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Final

import orjson

from roadstead.api.artifact import FREEZE, ArtifactStatus
from roadstead.desired.quantities import in_bytes
from roadstead.kube.resource import Body
from roadstead.rest.problems import Location, Path, invalid
from roadstead.rest.records import ArtifactRecord
from roadstead.rest.v241.models import ArtifactCreate, ArtifactUpdate, InlineArtifact
from roadstead.rest.v241.workloads import creator, sent

ONE_WAY, FROZEN, FROZEN_TOO = (str(rule["message"]) for rule in FREEZE)
"""The CRD's own sentences."""
NAMES: Final = {"displayName": ("name",), "collection": ("artifactCollectionId",), "containerGroups": ("spec", "containerGroups")}
"""Fields of the custom resource that stand elsewhere here."""


def spec(wish: ArtifactCreate | InlineArtifact, title: str | None, collection: str) -> Body:
    """Spec of a new Artifact."""
    found: Body = {
        "displayName": title,
        "description": wish.description,
        "type": wish.type,
        "status": wish.status,
        "collection": collection,
        "containerGroups": _groups(wish),
    }
    return {field: value for field, value in found.items() if value is not None}


def place(path: Path) -> Location:
    """Where in the body a field of the custom resource comes from."""
    match path:
        case ("spec", str(field), *rest):
            return ("body", *NAMES.get(field, (field,)), *rest)
    return ("body",)


def place_inline(path: Path) -> Location:
    """The same in a workload's body."""
    return ("body", "artifact", *place(path)[1:])


def replaced(body: Body, wish: ArtifactCreate) -> dict[str, Any]:
    """What a PUT changes of the Artifact as it is. Raises 422 where it is registered and its frozen part would differ."""
    before = body["spec"]
    wished = {
        "displayName": wish.name,
        "description": wish.description,
        "status": wish.status or before.get("status", "draft"),
        "containerGroups": _groups(wish),
    }
    return _allowed(before, wished)


def updated(body: Body, wish: ArtifactUpdate) -> dict[str, Any]:
    """What a PATCH changes. Raises 422 as ``replaced`` does."""
    given = wish.model_fields_set
    wished: dict[str, Any] = {}
    if wish.name is not None:
        wished["displayName"] = wish.name
    if "description" in given:
        wished["description"] = wish.description
    if wish.status is not None:
        wished["status"] = wish.status
    if wish.spec is not None:
        wished["containerGroups"] = _groups(wish)
    return _allowed(body["spec"], wished)


def formatted(record: ArtifactRecord) -> dict[str, Any]:
    """The answer."""
    return {
        "id": record.id,
        "name": record.title,
        "description": record.description,
        "type": record.type,
        "status": record.status,
        "version": record.number,
        "artifactCollectionId": record.collection,
        "spec": orjson.Fragment(record.spec),
        "createdAt": record.created_at,
        "updatedAt": record.updated_at,
        "creator": creator(record),
    }


def _groups(wish: ArtifactCreate | InlineArtifact | ArtifactUpdate) -> list[Body] | None:
    return None if wish.spec is None else sent(wish.spec).get("containerGroups")


def _allowed(before: Body, wished: dict[str, Any]) -> dict[str, Any]:
    """Containers that mean the same keep the form in which they are stored; a registered artifact keeps them anyway."""
    if "containerGroups" in wished and _meaning(before.get("containerGroups")) == _meaning(wished["containerGroups"]):
        del wished["containerGroups"]
    if before.get("status") == ArtifactStatus.REGISTERED:
        if "containerGroups" in wished:
            raise invalid(("body", "spec", "containerGroups"), FROZEN)
        if wished.get("status", ArtifactStatus.REGISTERED) != ArtifactStatus.REGISTERED:
            raise invalid(("body", "status"), ONE_WAY)
    return wished


def _meaning(groups: Any) -> Any:
    """Equal for what would run alike: memory in bytes, nothing that is null."""
    match groups:
        case {"memory": int() | str() as memory, **rest}:
            with suppress(ValueError):  # no quantity: for the CRD to refuse
                memory = in_bytes(memory)
            return {**_meaning(rest), "memory": memory}
        case dict():
            return {name: _meaning(value) for name, value in groups.items() if value is not None}
        case list():
            return [_meaning(value) for value in groups]
    return groups
