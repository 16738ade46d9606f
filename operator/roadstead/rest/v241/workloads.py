"""Workloads: from a body to the custom resource, and from a record to the answer."""

from __future__ import annotations

from typing import Any

import orjson

from roadstead.api.conditions import State
from roadstead.api.identity import object_id
from roadstead.kube.resource import Body
from roadstead.rest.problems import Location, Path
from roadstead.rest.records import Record, WorkloadRecord, person_id
from roadstead.rest.v241.models import WorkloadCreate

FIELDS = {"displayName": "name", "artifactRef": "artifactId"}
"""Fields of the custom resource that have another name here."""


def spec(wish: WorkloadCreate, artifact: str) -> Body:
    """Spec of the Workload that runs the Artifact of that name."""
    found: Body = {"artifactRef": {"name": artifact}}
    if wish.name is not None:
        found["displayName"] = wish.name
    if wish.runtime is not None:
        found["runtime"] = sent(wish.runtime)
    return found


def sent(model: Any) -> Any:
    """What a body really holds: nothing that wasn't sent, and no nulls."""
    return model.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude_none=True)


def place(path: Path) -> Location:
    """Where in the body a field of the custom resource comes from."""
    match path:
        case ("spec", str(field), *rest):
            return ("body", FIELDS.get(field, field), *(rest if field != "artifactRef" else ()))
    return ("body",)


def status(record: WorkloadRecord, operated: bool) -> State:
    """The state as far as it is known: of the present wish, or of the one before where that still tells something."""
    if not operated:
        return State.UNKNOWN
    state = State(record.state)
    if record.observed:
        return state
    # Nobody has looked at the present spec yet. A client that has just stopped or started must not take the old end for the new one.
    if record.suspended:
        return state if state is State.STOPPED else State.STOPPING
    return State.SUBMITTED if state in (State.STOPPING, State.STOPPED, State.ERRORED) else state


def formatted(record: WorkloadRecord, origin: str, operated: bool) -> dict[str, Any]:
    """The answer. ``origin`` is where the gateway is reached, ``operated`` whether an operator keeps the status true."""
    return {
        "id": record.id,
        "name": record.title,
        "createdAt": record.created_at,
        "updatedAt": record.updated_at,
        "status": status(record, operated),
        "artifactId": object_id("artifacts", record.namespace, record.artifact),
        "endpoint": f"{origin}/api/v2/endpoints/workloads/{record.id}/",
        "internalUrl": record.internal_url,
        "runtime": orjson.Fragment(record.runtime),
        "creator": creator(record),
        "runningSince": record.running_since,
        "statusDetails": {"conditions": orjson.Fragment(record.conditions), "logTail": orjson.Fragment(record.log_tail)},
    }


def creator(record: Record) -> dict[str, Any]:
    """Who made it."""
    return {
        "id": person_id(record.creator),
        "username": record.creator,
        "email": record.creator if "@" in record.creator and not record.creator.startswith("system:") else None,
    }
