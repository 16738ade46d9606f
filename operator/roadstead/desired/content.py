"""The content digest of an Artifact: what would run, whatever it is called."""

from __future__ import annotations

from roadstead.api.artifact import ArtifactSpec
from roadstead.desired.digest import digest


def content_digest(spec: ArtifactSpec) -> str:
    """Digest of the container groups; names, descriptions and registration aren't in it."""
    return digest([group.model_dump(by_alias=True, exclude_none=True, mode="json") for group in spec.container_groups or ()])
