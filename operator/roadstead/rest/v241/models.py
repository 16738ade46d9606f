"""Bodies and answers. Containers, probes, resources and scaling are the custom resources' own types, so the rules are the same."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator
from pydantic.alias_generators import to_camel

from roadstead.api.artifact import ArtifactStatus
from roadstead.api.base import PATTERN_MESSAGES, DisplayName, Text
from roadstead.api.conditions import State
from roadstead.api.container import ContainerGroups, DraftContainerGroups
from roadstead.api.deployment import Importance
from roadstead.api.workload import Runtime
from roadstead.rest.v241 import examples

ID_PATTERN = "^[0-9a-fA-F]{24}$"
PATTERN_MESSAGES[ID_PATTERN] = "must be 24 hexadecimal digits"
Id = Annotated[str, Field(pattern=ID_PATTERN, description="24 hexadecimal digits.", examples=["5f0c8a1b2d3e4f5061728394"])]
Name = Annotated[DisplayName, Field(min_length=1, examples=["whoami"])]
DATE_TIME = {"format": "date-time"}
Instant = Annotated[
    str,
    Field(description="RFC 3339 with an offset.", examples=["2026-09-30T15:26:54.349000+00:00"], json_schema_extra=DATE_TIME),
]
Url = Annotated[str, Field(json_schema_extra={"format": "uri"})]


class Wire(BaseModel):
    """What goes over the wire: camelCase, and nothing that isn't named here."""

    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=to_camel)


# Bodies


class Nothing(Wire):
    """No fields."""


class DraftSpec(Wire):
    """What a draft runs; it may be empty for the time being."""

    container_groups: DraftContainerGroups | None = Field(None, description="One group: the containers of one pod.")


class Spec(Wire):
    """What runs."""

    container_groups: ContainerGroups = Field(description="One group: the containers of one pod.")


class ArtifactCreate(Wire):
    """An artifact to be made, or the whole of one to be replaced."""

    name: Name
    spec: DraftSpec
    description: Text | None = Field(None, description="What it is, in a few words.")
    type: Literal["generic"] | None = Field(None, description="Kind of service; generic is the only one, and the default.")
    status: ArtifactStatus | None = Field(None, description="draft (the default) may change; registered is final.")
    artifact_collection_id: Id | None = Field(None, description="Collection that versions are counted in (absent: a new one).")


class InlineArtifact(Wire):
    """An artifact to be made together with a workload."""

    name: Name | None = Field(None, description="Absent: the workload's.")
    spec: Spec
    description: Text | None = Field(None, description="What it is, in a few words.")
    type: Literal["generic"] | None = Field(None, description="Kind of service; generic is the only one, and the default.")
    status: ArtifactStatus | None = Field(None, description="draft (the default) may change; registered is final.")
    artifact_collection_id: Id | None = Field(None, description="Collection that versions are counted in (absent: a new one).")


class ArtifactUpdate(Wire):
    """What to change of an artifact; what is absent stays."""

    name: Name | None = None
    description: Text | None = None
    status: ArtifactStatus | None = Field(None, description="registered registers it, for good.")
    spec: DraftSpec | None = Field(None, description="Replaces the containers of a draft.")


ONE_ARTIFACT: Final[dict[str, JsonValue]] = {
    "oneOf": [
        {"required": ["artifact"], "properties": {"artifact": {"type": "object"}, "artifactId": {"type": "null"}}},
        {"required": ["artifactId"], "properties": {"artifactId": {"type": "string"}, "artifact": {"type": "null"}}},
    ]
}
"""In words of JSON Schema: one of the two, and the other absent or null."""


class WorkloadCreate(Wire):
    """A workload to be made."""

    model_config = ConfigDict(json_schema_extra=ONE_ARTIFACT)

    name: Name | None = Field(None, description="Absent: one is given.")
    artifact: InlineArtifact | None = Field(None, description="What to run, made as an artifact of its own; either this or artifactId.")
    artifact_id: Id | None = Field(None, description="The artifact to run; either this or artifact.")
    runtime: Runtime | None = Field(None, description="How many replicas, how they scale, and with what resources.")

    @model_validator(mode="after")
    def _one_artifact(self) -> Self:
        if (self.artifact is None) == (self.artifact_id is None):
            raise ValueError("exactly one of artifact and artifactId is needed")
        return self


class DeploymentCreate(Wire):
    """A deployment to be made."""

    name: Name
    workload_id: Id = Field(description="The workload that serves; its artifact must be registered.")
    description: Text | None = Field(None, description="What it serves.")
    importance: Importance | None = Field(None, description="critical, high, moderate or low (absent: low).")


class DeploymentUpdate(Wire):
    """What to change of a deployment; what is absent stays."""

    name: Name | None = None
    description: Text | None = None
    importance: Importance | None = None
    workload_id: Id | None = Field(None, description="Traffic moves to it as soon as it answers.")


# Answers


class Creator(Wire):
    """Who made it."""

    id: Id
    username: str
    email: str | None


class ConditionView(Wire):
    """A verdict on one aspect."""

    type: str = Field(description="What is judged.", examples=["Ready"])
    name: str = Field(description="The cause in one word.", examples=["ImagePullBackOff"])
    value: str = Field(description="True, False or Unknown, and a sentence.", examples=["False: image app:9 is not there"])


class StatusDetails(Wire):
    """How it goes, and why."""

    conditions: list[ConditionView]
    log_tail: list[str] = Field(description="Last lines of the container that failed.")


class WorkloadFormatted(Wire):
    """A workload."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.WORKLOAD]})

    id: Id
    name: str
    created_at: Instant
    updated_at: Instant
    status: State
    artifact_id: Id
    endpoint: Url = Field(description="Where it is invoked; the same from its creation on.")
    internal_url: str | None = Field(description="Its address inside the cluster; null until it is known.")
    runtime: Runtime = Field(description="As it was sent.")
    creator: Creator
    running_since: Instant | None
    status_details: StatusDetails


class ArtifactFormatted(Wire):
    """An artifact."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.ARTIFACT]})

    id: Id
    name: str
    description: str | None
    type: str
    status: ArtifactStatus
    version: int | None = Field(description="Number within its collection; null until it is registered.")
    artifact_collection_id: Id
    spec: DraftSpec = Field(description="As it was sent; memory in bytes.")
    created_at: Instant
    updated_at: Instant
    creator: Creator


class DeploymentFormatted(Wire):
    """A deployment."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.DEPLOYMENT]})

    id: Id
    name: str
    description: str | None
    importance: Importance
    workload_id: Id
    artifact_id: Id | None
    status: State = Field(description="Its workload's.")
    endpoint: Url
    creator: Creator
    created_at: Instant
    updated_at: Instant
    workload: WorkloadFormatted | None = Field(None, description="Only in lists asked for with workloadDetails=true.")


class WorkloadPage(Wire):
    """Some of the workloads."""

    total_count: int
    count: int
    next: Url | None
    previous: Url | None
    data: list[WorkloadFormatted]


class ArtifactPage(Wire):
    """Some of the artifacts."""

    total_count: int
    count: int
    next: Url | None
    previous: Url | None
    data: list[ArtifactFormatted]


class DeploymentPage(Wire):
    """Some of the deployments."""

    total_count: int
    count: int
    next: Url | None
    previous: Url | None
    data: list[DeploymentFormatted]


class Started(Wire):
    """A wish that has been noted."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.STARTED]})

    status: str = Field(description="What happens now, in a sentence.")
    workload_id: Id
    track_via: Url = Field(description="Where to see how it goes.")


class Period(Wire):
    """From when to when."""

    start: Instant
    end: Instant


class Metrics(Wire):
    """What is known of the requests of the period; what isn't is null."""

    total_requests: int | None = None
    requests_per_minute: float | None = None
    concurrent_requests: float | None = Field(None, description="Now, whatever the period.")
    response_time: float | None = Field(None, description="Milliseconds, at the quantile asked for.")
    slow_requests: int | None = Field(None, description="That took longer than the threshold asked for.")
    server_errors: int | None = None
    server_error_rate: float | None = Field(None, description="From 0 to 1, as are the other rates.")
    user_errors: int | None = None
    user_error_rate: float | None = None
    total_error_rate: float | None = None
    last_request_at: Instant | None = Field(None, description="The last that there was, whatever the period.")


class Stats(Wire):
    """Requests of a deployment in a period."""

    period: Period
    metrics: Metrics


class Bundle(Wire):
    """A named set of resources."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.BUNDLE]})

    id: str
    name: str
    description: str | None
    cpu_count: float
    memory_bytes: int
    gpu_count: int
    gpu_maker: str | None
    gpu_type_label: str | None


class Bundles(Wire):
    """The platform's catalogue."""

    data: list[Bundle]


class Version(Wire):
    """The version of the API."""

    major: int
    minor: int
    version_string: str
    release: str = Field(description="Version of Roadstead.")


class Sort(StrEnum):
    """What lists can be sorted by; ``-`` for descending."""

    NAME = "name"
    NAME_DOWN = "-name"
    CREATED = "createdAt"
    CREATED_DOWN = "-createdAt"
    UPDATED = "updatedAt"
    UPDATED_DOWN = "-updatedAt"
    STATUS = "status"
    STATUS_DOWN = "-status"


# What goes wrong


class Trouble(Wire):
    """What went wrong, in a sentence."""

    detail: str


class Place(Wire):
    """One thing that is wrong with a request."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.PLACE]})

    loc: list[str | int] = Field(description="Where: body, query, path or header, and the way to the field.")
    msg: str = Field(description="What is wrong there.")
    type: str = Field(
        description="state: it contradicts what is there now; value_error: fields can't be so together; else: this document forbids it.",
        examples=["state"],
    )


class Invalid(Wire):
    """What is wrong with a request, or with its wish."""

    detail: str | list[Place]


BODIES = (WorkloadCreate, ArtifactCreate, ArtifactUpdate, DeploymentCreate, DeploymentUpdate, Nothing)
