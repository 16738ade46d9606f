"""Whose an object is that the API server has under a child's name, where no mirror shows it or shows it as another's."""

from __future__ import annotations

from enum import Enum, auto
from typing import Any

from roadstead.controller.kinds import CHILDREN
from roadstead.desired import Child
from roadstead.errors import Reason, Refusal
from roadstead.kube.client import ApiClient
from roadstead.kube.errors import NotFound

Body = dict[str, Any]


class Whose(Enum):
    """To whom the object belongs."""

    OURS = auto()
    """To this very Workload, or nobody has it."""
    FORMER = auto()
    """It is going: it is deleted, or was left by a former Workload of this name and waits for the garbage collector."""
    STRANGERS = auto()


async def whose(client: ApiClient, child: Child) -> Whose:
    """Ask the API server about a name that isn't free."""
    try:
        body = await client.get(CHILDREN[child.kind], child.namespace, child.name)
    except NotFound:
        return Whose.OURS
    if "deletionTimestamp" in body["metadata"]:
        return Whose.FORMER
    owner = child.body["metadata"]["ownerReferences"][0]
    present = body["metadata"].get("ownerReferences") or ()
    if any(ref["uid"] == owner["uid"] for ref in present):
        return Whose.OURS
    former = _identity(owner)
    return Whose.FORMER if any(ref.get("controller") and _identity(ref) == former for ref in present) else Whose.STRANGERS


def taken(child: Child) -> Refusal:
    """The refusal of a child whose name a stranger's object has."""
    kind = CHILDREN[child.kind].kind
    return Refusal(
        Reason.NAME_TAKEN,
        f"{kind} {child.name} exists already and belongs to somebody else; delete or rename it, or give the Workload another name",
    )


def _identity(reference: Body) -> tuple[str, str, str]:
    """API group, kind and name of an owner, whatever its version and uid."""
    return str(reference["apiVersion"]).partition("/")[0], reference["kind"], reference["name"]
