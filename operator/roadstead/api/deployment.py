"""Deployment: the stable, governed endpoint in front of a Workload. Not apps/v1's kind of that name."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from roadstead.api.base import DisplayName, Losable, Model, NamedRef, Resource, Text
from roadstead.api.conditions import State, Status


class Importance(StrEnum):
    """How much an endpoint matters when room is short."""

    CRITICAL = "critical"
    HIGH = "high"
    MODERATE = "moderate"
    LOW = "low"


class DeploymentSpec(Model):
    """Spec of a Deployment."""

    display_name: DisplayName | None = Field(None, description="Name shown to people.")
    description: Text | None = Field(None, description="What it serves.")
    importance: Importance = Field(
        Importance.LOW, description="critical, high, moderate or low: priority of the pods, and from moderate on a disruption budget."
    )
    workload_ref: NamedRef = Field(description="The Workload that serves; its Artifact must be registered.")


class DeploymentStatus(Status):
    """Status of a Deployment."""

    id: Annotated[str, Field(max_length=24)] | None = Field(None, description="Id in the REST API.")
    state: State | None = Field(None, description="State of the Workload that serves.")
    endpoint: Annotated[str, Field(max_length=2048)] | None = Field(None, description="Public URL, through the gateway.")
    active_workload: Annotated[str, Field(max_length=253)] | None = Field(None, description="The Workload that serves now.")


class Deployment(Resource):
    """The stable endpoint in front of a Workload. deployments.roadstead.dev, not apps/v1's kind of that name."""

    spec: DeploymentSpec
    status: Annotated[DeploymentStatus | None, Losable] = None
