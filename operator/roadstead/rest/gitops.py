"""Fields that a GitOps tool keeps: it would undo any change within minutes, so none is made, and the answer says where to make it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from roadstead.kube.resource import Body
from roadstead.names import FIELD_MANAGER

MANAGERS: Final = re.compile(
    r"argocd-.*|argo-cd.*|kustomize-controller|helm-controller|helm|flux.*|gitops-.*|fleet.*|kapp.*|config-?sync.*",
    re.IGNORECASE,
)
"""Argo CD, Flux, Helm, Rancher Fleet, kapp, Config Sync: what they call themselves in managedFields."""


def keeper(body: Body, fields: Iterable[str]) -> tuple[str, str] | None:
    """The first of these fields of ``spec`` that somebody keeps, and who: a GitOps tool, or the operator, whose own objects are whole."""
    wanted = {f"f:{field}": field for field in fields}
    if wanted and owner(body) is not None:
        return next(iter(wanted.values())), FIELD_MANAGER
    for entry in body["metadata"].get("managedFields") or ():
        manager = entry.get("manager") or ""
        if entry.get("subresource") or not MANAGERS.fullmatch(manager):
            continue
        owned = (entry.get("fieldsV1") or {}).get("f:spec") or {}
        for key, field in wanted.items():
            if key in owned:
                return field, manager
    return None


def refusal(body: Body, manager: str) -> str:
    """Why, and what to do instead."""
    if manager == FIELD_MANAGER:
        return f"this is written inside Workload {owner(body)} (spec.artifact) and follows it; change it there"
    return f"this field is kept by {manager}, which would put it back; change it in the repository that {manager} reads"


def owner(body: Body) -> str | None:
    """The Workload whose child it is."""
    references = body["metadata"].get("ownerReferences") or ()
    return next((entry["name"] for entry in references if entry.get("controller") and entry["kind"] == "Workload"), None)
