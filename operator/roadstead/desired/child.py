"""A child object as it must be: its body, and the digests by which a reconcile knows whether to write."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from roadstead.api.workload import Workload
from roadstead.desired.digest import digest
from roadstead.names import (
    API_VERSION,
    DESIRED_ANNOTATION,
    MANAGED_BY,
    MANAGED_BY_LABEL,
    NAME_LABEL,
    TEMPLATE_ANNOTATION,
    USER_ANNOTATION,
    WORKLOAD_LABEL,
)

Body = dict[str, Any]


class ChildKind(StrEnum):
    """The kinds of objects a Workload owns, in the order in which they are applied."""

    ARTIFACT = "artifact"
    DEPLOYMENT = "deployment"
    SERVICE = "service"
    HORIZONTAL_POD_AUTOSCALER = "horizontalPodAutoscaler"
    SCALED_OBJECT = "scaledObject"
    POD_DISRUPTION_BUDGET = "podDisruptionBudget"
    NETWORK_POLICY = "networkPolicy"


@dataclass(frozen=True, slots=True)
class Child:
    """One object to apply. ``template`` and ``user_template`` are set where there is a pod template."""

    kind: ChildKind
    body: Body
    digest: str
    template: str | None = None
    user_template: str | None = None

    @property
    def name(self) -> str:
        return str(self.body["metadata"]["name"])

    @property
    def namespace(self) -> str:
        return str(self.body["metadata"]["namespace"])


def child(kind: ChildKind, body: Body, *, template: str | None = None, user_template: str | None = None) -> Child:
    """Seal a body: compute its digest and write the digests into its annotations."""
    sealed = digest(body)
    marks = {DESIRED_ANNOTATION: sealed, TEMPLATE_ANNOTATION: template, USER_ANNOTATION: user_template}
    annotations = {**body["metadata"].get("annotations", {}), **{name: value for name, value in marks.items() if value is not None}}
    metadata = {**body["metadata"], "annotations": annotations}
    return Child(kind, {**body, "metadata": metadata}, sealed, template, user_template)


def labels(workload: Workload) -> dict[str, str]:
    """Labels of every child and pod of a Workload."""
    name = workload.metadata.name
    return {NAME_LABEL: name, MANAGED_BY_LABEL: MANAGED_BY, WORKLOAD_LABEL: name}


def selector(workload: Workload) -> dict[str, str]:
    """The labels that select a Workload's pods; immutable for the life of its Deployment, so they hold nothing but the name."""
    return {WORKLOAD_LABEL: workload.metadata.name}


def metadata(workload: Workload) -> Body:
    """Metadata of a child: it bears the Workload's name and is owned by it, so the garbage collector takes it along."""
    owner = workload.metadata
    return {
        "name": owner.name,
        "namespace": owner.namespace,
        "labels": labels(workload),
        "ownerReferences": [
            {
                "apiVersion": API_VERSION,
                "kind": "Workload",
                "name": owner.name,
                "uid": owner.uid,
                "controller": True,
                "blockOwnerDeletion": True,
            }
        ],
    }
