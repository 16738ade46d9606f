"""The errors of the product's own logic: what a user must change against what heals by itself.

Errors of the cluster's API live in ``roadstead.kube.errors``; the work queue retries those. What is here ends in a condition.
"""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """Condition reasons for wishes that can't be carried out until somebody changes something."""

    ARTIFACT_MISSING = "ArtifactMissing"
    ARTIFACT_DELETED = "ArtifactDeleted"
    ARTIFACT_INVALID = "ArtifactInvalid"
    DRAFT_IN_USE = "DraftInUse"
    NAME_TAKEN = "NameTaken"
    UNKNOWN_GPU_TYPE = "UnknownGpuType"
    UNKNOWN_RESOURCE_BUNDLE = "UnknownResourceBundle"
    UNKNOWN_VOLUME = "UnknownVolume"
    FORBIDDEN_BY_PLATFORM = "ForbiddenByPlatform"
    PLATFORM_INVALID = "PlatformInvalid"
    REFUSED_BY_API = "RefusedByApi"


class Refusal(Exception):
    """A wish that won't come true by waiting: ``reason`` for machines, ``message`` for the person, saying what to change.

    Nothing that already runs is changed or deleted because of it.
    """

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
