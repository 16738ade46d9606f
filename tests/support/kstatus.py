"""kstatus's rule for custom resources, as of sigs.k8s.io/cli-utils v0.37.2 (pkg/kstatus/status, Compute); Flux's fork has the same.

The first that says something decides: a deletion, a generation not yet observed, Reconciling or Stalled (in the order in which they are
listed), Ready. What says nothing at all is taken for current.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any


class Kstatus(StrEnum):
    """What kstatus says of an object that is there."""

    IN_PROGRESS = "InProgress"
    FAILED = "Failed"
    CURRENT = "Current"
    TERMINATING = "Terminating"


ABNORMAL = {"Reconciling": Kstatus.IN_PROGRESS, "Stalled": Kstatus.FAILED}


def kstatus(body: Mapping[str, Any]) -> Kstatus:
    """The status of an object as the API server sends it."""
    metadata, status = body["metadata"], body.get("status") or {}
    if metadata.get("deletionTimestamp"):
        return Kstatus.TERMINATING
    if "generation" in metadata and status.get("observedGeneration", metadata["generation"]) != metadata["generation"]:
        return Kstatus.IN_PROGRESS
    conditions = status.get("conditions") or []
    for condition in conditions:
        if condition["status"] == "True" and condition["type"] in ABNORMAL:
            return ABNORMAL[condition["type"]]
    for condition in conditions:
        if condition["type"] == "Ready":
            return Kstatus.CURRENT if condition["status"] == "True" else Kstatus.IN_PROGRESS
    return Kstatus.CURRENT
