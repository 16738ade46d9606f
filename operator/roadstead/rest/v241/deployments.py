"""Deployments: from a body to the custom resource, and from a record to the answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from roadstead.api.conditions import State
from roadstead.api.identity import object_id
from roadstead.kube.resource import Body
from roadstead.rest.problems import Location, Path
from roadstead.rest.records import EndpointRecord, WorkloadRecord
from roadstead.rest.v241 import workloads
from roadstead.rest.v241.models import DeploymentCreate, DeploymentUpdate

NAMES: Final = {"displayName": "name", "workloadRef": "workloadId"}
"""Fields of the custom resource that have another name here."""


def spec(wish: DeploymentCreate, workload: str) -> Body:
    """Spec of a Deployment in front of the Workload of that name."""
    found: Body = {
        "displayName": wish.name,
        "description": wish.description,
        "importance": wish.importance,
        "workloadRef": {"name": workload},
    }
    return {field: value for field, value in found.items() if value is not None}


def updated(wish: DeploymentUpdate, workload: str | None) -> Mapping[str, Any]:
    """What a PATCH changes; ``workload`` is the name of a new one."""
    wished: dict[str, Any] = {}
    if wish.name is not None:
        wished["displayName"] = wish.name
    if "description" in wish.model_fields_set:
        wished["description"] = wish.description
    if wish.importance is not None:
        wished["importance"] = wish.importance
    if workload is not None:
        wished["workloadRef"] = {"name": workload}
    return wished


def place(path: Path) -> Location:
    """Where in the body a field of the custom resource comes from."""
    match path:
        case ("spec", str(field), *rest):
            return ("body", NAMES.get(field, field), *(rest if field != "workloadRef" else ()))
    return ("body",)


def status(workload: WorkloadRecord | None, operated: bool) -> State:
    """Its Workload's, at this moment; without one nothing can be served."""
    return workloads.status(workload, operated) if workload is not None else State.ERRORED


def formatted(record: EndpointRecord, workload: WorkloadRecord | None, origin: str, operated: bool) -> dict[str, Any]:
    """The answer. ``workload`` is the one it refers to, None where that is gone."""
    return {
        "id": record.id,
        "name": record.title,
        "description": record.description,
        "importance": record.importance,
        "workloadId": object_id("workloads", record.namespace, record.workload),
        "artifactId": object_id("artifacts", workload.namespace, workload.artifact) if workload is not None else None,
        "status": status(workload, operated),
        "endpoint": f"{origin}/api/v2/endpoints/deployments/{record.id}/",
        "creator": workloads.creator(record),
        "createdAt": record.created_at,
        "updatedAt": record.updated_at,
    }
