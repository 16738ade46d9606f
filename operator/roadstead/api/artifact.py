"""Artifact: what runs."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from roadstead.api.base import DisplayName, Lenient, Losable, Model, Resource, Text, cel, ruled
from roadstead.api.conditions import Status
from roadstead.api.container import ContainerGroups, DraftContainerGroups


class ArtifactStatus(StrEnum):
    """Whether an Artifact may still change."""

    DRAFT = "draft"
    REGISTERED = "registered"


FROZEN = "oldSelf.status != 'registered' || "
FREEZE = (
    cel(
        FROZEN + "self.status == 'registered'",
        "a registered artifact cannot become a draft again; keep status: registered, or create a new artifact",
        path=".status",
        reason="FieldValueForbidden",
    ),
    cel(
        FROZEN + "(has(self.containerGroups) == has(oldSelf.containerGroups)"
        " && (!has(self.containerGroups) || self.containerGroups == oldSelf.containerGroups))",
        "a registered artifact is immutable; create a new artifact instead",
        path=".containerGroups",
        reason="FieldValueForbidden",
    ),
    cel(
        FROZEN + "(self.type == oldSelf.type && has(self.collection) == has(oldSelf.collection)"
        " && (!has(self.collection) || self.collection == oldSelf.collection))",
        "type and collection of a registered artifact cannot change; create a new artifact instead",
        reason="FieldValueForbidden",
    ),
)


class ArtifactContent(Model):
    """What an Artifact and an inline artifact of a Workload have in common."""

    display_name: DisplayName | None = Field(None, description="Name shown to people.")
    description: Text | None = Field(None, description="What it is, in a few words.")
    type: Literal["generic"] = Field("generic", description="Kind of service; generic is the only one.")
    status: ArtifactStatus = Field(
        ArtifactStatus.DRAFT, description="draft may change; registered is final: its content never changes again and it gets a version."
    )
    collection: Annotated[str, Field(min_length=1, max_length=253)] | None = Field(
        None, description="Lineage that versions are counted in (absent: the Artifact's own name)."
    )


class InlineArtifact(ArtifactContent):
    """An Artifact written inside a Workload."""

    model_config = ruled(*FREEZE)

    container_groups: ContainerGroups = Field(description="The one group of containers that makes a pod.")


class ArtifactSpec(ArtifactContent):
    """Spec of an Artifact."""

    model_config = ruled(
        *FREEZE,
        cel(
            "self.status != 'registered' || (has(self.containerGroups) && self.containerGroups.size() == 1)",
            "a registered artifact needs containers; add containerGroups, or leave status at draft",
            path=".containerGroups",
            reason="FieldValueRequired",
        ),
    )

    container_groups: DraftContainerGroups | None = Field(
        None, description="The one group of containers that makes a pod. A draft may do without for the time being."
    )
    deleted: bool | None = Field(
        None, description="True deletes it softly: hidden, and purged after the retention time; false restores it."
    )


class UsedBy(Lenient):
    """Who uses an Artifact."""

    count: int = Field(0, description="Number of Workloads that refer to it.")
    names: Annotated[tuple[Annotated[str, Field(max_length=253)], ...], Field(max_length=10)] = Field(
        (), description="The first ten of them, by name."
    )


class ArtifactObserved(Status):
    """Status of an Artifact."""

    id: Annotated[str, Field(max_length=24)] | None = Field(None, description="Id in the REST API.")
    version: int | None = Field(None, description="Number within its collection, given at registration.")
    digest: Annotated[str, Field(max_length=64)] | None = Field(None, description="Digest of what would run.")
    used_by: UsedBy | None = Field(None, description="The Workloads that refer to it.")


class Artifact(Resource):
    """What runs: a set of containers, as a draft or as a registered version."""

    spec: ArtifactSpec
    status: Annotated[ArtifactObserved | None, Losable] = None
