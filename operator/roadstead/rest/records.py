"""What is kept of each object: enough for every answer about it, and no more.

Parts that are passed on as they stand (containers, runtime, conditions) are kept as JSON text: a twentieth of the memory of dicts, and
nothing has to be encoded when they are sent.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import orjson

from roadstead.api.identity import object_id
from roadstead.desired.quantities import in_bytes
from roadstead.kube.resource import Body
from roadstead.names import (
    API_MANAGER,
    BOOKKEEPING_MANAGER,
    CREATED_ANNOTATION,
    CREATOR_ANNOTATION,
    FIELD_MANAGER,
    UPDATED_ANNOTATION,
)

OURS: Final = frozenset({FIELD_MANAGER, BOOKKEEPING_MANAGER})
"""Managers whose writes are no change by a person."""
ID: Final = re.compile("[0-9a-f]{24}")
UNKNOWN: Final = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What all kinds have. Times are RFC 3339 in UTC with microseconds, so that they sort as text."""

    id: str
    namespace: str
    name: str
    uid: str
    version: int
    """The resourceVersion: an etcd revision, comparable within a kind since Kubernetes says so (KEP-5504)."""
    generation: int
    title: str
    """The name shown to people."""
    description: str | None
    created_at: str
    updated_at: str
    creator: str
    """User name of who made it; for what didn't come through this API, the program that did."""
    deleted: bool
    """Softly, or about to be gone for good."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactRecord(Record):
    """An Artifact."""

    type: str
    status: str
    number: int | None
    """Its version within the collection."""
    collection: str
    """Id of the collection."""
    lineage: str
    """The collection's name within the cluster."""
    spec: bytes
    """``{"containerGroups": [...]}`` or ``{}``, memory in bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadRecord(Record):
    """A Workload."""

    artifact: str
    """Name of its Artifact."""
    runtime: bytes
    bundle: str | None
    suspended: bool
    observed: bool
    """The status is about the present spec."""
    state: str
    internal_url: str | None
    running_since: str | None
    conditions: bytes
    log_tail: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointRecord(Record):
    """A Deployment of ours."""

    importance: str
    workload: str
    """Name of the Workload it refers to."""


def artifact_record(body: Body) -> ArtifactRecord:
    """Of an Artifact."""
    spec, status = body["spec"], body.get("status") or {}
    common = _common("artifacts", body)
    lineage = spec.get("collection") or common["name"]
    groups = {"containerGroups": [_group(group) for group in spec["containerGroups"]]} if "containerGroups" in spec else {}
    return ArtifactRecord(
        **common,
        type=spec.get("type", "generic"),
        status=spec.get("status", "draft"),
        number=status.get("version"),
        collection=collection_id(common["namespace"], lineage),
        lineage=lineage,
        spec=orjson.dumps(groups),
    )


def collection_id(namespace: str, lineage: str) -> str:
    """The id of a collection: its name where that is one (so this API names them), else derived from it as all ids are."""
    return lineage if ID.fullmatch(lineage) else object_id("collections", namespace, lineage)


def workload_record(body: Body) -> WorkloadRecord:
    """Of a Workload."""
    spec, status = body["spec"], body.get("status") or {}
    runtime = spec.get("runtime") or {}
    metadata = body["metadata"]
    conditions = [_condition(entry) for entry in status.get("conditions") or ()]
    return WorkloadRecord(
        **_common("workloads", body),
        artifact=(spec.get("artifactRef") or metadata)["name"],
        runtime=orjson.dumps(runtime),
        bundle=next((entry["resourceBundleId"] for entry in runtime.get("resources") or ()), None),
        suspended=bool(spec.get("suspend")),
        observed=status.get("observedGeneration") == metadata.get("generation"),
        state=status.get("state") or "submitted",
        internal_url=status.get("internalUrl"),
        running_since=instant(status["runningSince"]) if status.get("runningSince") else None,
        conditions=orjson.dumps(conditions),
        log_tail=orjson.dumps(status.get("logTail") or []),
    )


def endpoint_record(body: Body) -> EndpointRecord:
    """Of a Deployment of ours."""
    spec = body["spec"]
    return EndpointRecord(**_common("deployments", body), importance=spec.get("importance", "low"), workload=spec["workloadRef"]["name"])


def person_id(username: str) -> str:
    """The id of a user: 24 hex digits, like all ids."""
    return hashlib.sha256(f"users/{username}".encode()).hexdigest()[:24]


def instant(text: str) -> str:
    """A time as the contract writes it."""
    return datetime.fromisoformat(text).astimezone(UTC).isoformat(timespec="microseconds")


def _common(plural: str, body: Body) -> dict[str, Any]:
    metadata, spec = body["metadata"], body["spec"]
    annotations = metadata.get("annotations") or {}
    entries = [entry for entry in metadata.get("managedFields") or () if entry.get("subresource") != "status"]
    created: str = annotations.get(CREATED_ANNOTATION) or instant(metadata["creationTimestamp"])
    return {
        "id": object_id(plural, metadata["namespace"], metadata["name"]),
        "namespace": metadata["namespace"],
        "name": metadata["name"],
        "uid": metadata["uid"],
        "version": int(metadata["resourceVersion"]),
        "generation": metadata.get("generation", 0),
        "title": spec.get("displayName") or metadata["name"],
        "description": spec.get("description"),
        "created_at": created,
        "updated_at": _updated(annotations.get(UPDATED_ANNOTATION), entries, created),
        "creator": annotations.get(CREATOR_ANNOTATION) or _first_manager(entries),
        "deleted": bool(spec.get("deleted")) or "deletionTimestamp" in metadata,
    }


def _updated(annotated: str | None, entries: Iterable[Body], created: str) -> str:
    """The last change by anybody but the operator: of this API's to the microsecond, of others' to the second."""
    times: list[str] = [created, *([annotated] if annotated else ())]
    times += [instant(entry["time"]) for entry in entries if entry.get("time") and entry.get("manager") not in (*OURS, API_MANAGER)]
    return max(times)


def _first_manager(entries: Iterable[Body]) -> str:
    people = [entry for entry in entries if entry.get("manager") not in OURS]
    return str(min(people, key=lambda entry: entry.get("time") or "", default={}).get("manager") or UNKNOWN)


def _condition(entry: Body) -> Body:
    verdict, message = entry["status"], entry["message"]
    return {"type": entry["type"], "name": entry["reason"], "value": f"{verdict}: {message}" if message else verdict}


def _group(group: Body) -> Body:
    return {**group, "containers": [_container(container) for container in group["containers"]]}


def _container(container: Body) -> Body:
    request = container["resourceRequest"]
    return {**container, "resourceRequest": {**request, "memory": in_bytes(request["memory"])}}
