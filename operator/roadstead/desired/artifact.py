"""The Artifact of a Workload that declares its artifact inline: an object of the Workload's name, owned by it."""

from __future__ import annotations

from roadstead.api.workload import Workload
from roadstead.desired.child import Body, Child, ChildKind, child, metadata
from roadstead.names import API_VERSION


def inline_spec(workload: Workload) -> Body:
    """The Artifact spec that a Workload declares inline, with nothing filled in; empty without one."""
    inline = workload.spec.artifact
    return {} if inline is None else inline.model_dump(by_alias=True, exclude_none=True, mode="json")


def build_inline_artifact(workload: Workload) -> Child | None:
    """The Artifact as the Workload declares it; None without an inline artifact."""
    if workload.spec.artifact is None:
        return None
    return child(
        ChildKind.ARTIFACT,
        {"apiVersion": API_VERSION, "kind": "Artifact", "metadata": metadata(workload), "spec": inline_spec(workload)},
    )
