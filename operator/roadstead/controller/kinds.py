"""Our children as resources of the API, and the keys of the work queue."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from roadstead.desired import ChildKind
from roadstead.kube.resource import (
    DEPLOYMENTS,
    HPAS,
    NETWORK_POLICIES,
    PDBS,
    SCALED_OBJECTS,
    SERVICES,
)
from roadstead.resources import ARTIFACTS

CHILDREN = {
    ChildKind.ARTIFACT: ARTIFACTS,
    ChildKind.DEPLOYMENT: DEPLOYMENTS,
    ChildKind.SERVICE: SERVICES,
    ChildKind.HORIZONTAL_POD_AUTOSCALER: HPAS,
    ChildKind.SCALED_OBJECT: SCALED_OBJECTS,
    ChildKind.POD_DISRUPTION_BUDGET: PDBS,
    ChildKind.NETWORK_POLICY: NETWORK_POLICIES,
}


class Kind(StrEnum):
    """The kinds that are reconciled."""

    ARTIFACT = "Artifact"
    WORKLOAD = "Workload"
    DEPLOYMENT = "Deployment"
    PLATFORM = "Platform"


class Key(NamedTuple):
    """One object to reconcile."""

    kind: Kind
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"
