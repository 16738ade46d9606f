"""What Schemathesis can't know of this API: which refusals of an allowed request are just, and which ids lead somewhere.

The document says what each field may be. What fields may not be together (``value_error``), and what contradicts the present state of
things (``state``), an answer says; any other kind of refusal means that document and parser differ. With ``ROADSTEAD_WORKLOAD`` in the
environment (the id of a workload whose artifact is registered) all deployments are for that one: invented ids lead nowhere.
"""

from __future__ import annotations

import os
import re
from typing import Any

import schemathesis
from schemathesis import Case, CheckContext, HookContext, Response
from schemathesis.core.failures import Failure

BEYOND_SCHEMAS = {"value_error", "state"}
WORKLOAD = os.environ.get("ROADSTEAD_WORKLOAD")


@schemathesis.check
def the_document_says_what_is_accepted(ctx: CheckContext, response: Response, case: Case) -> bool | None:
    """Raises Failure where a request that fits the document was refused as if it didn't."""
    del ctx
    if case.meta is None or not case.meta.generation.mode.is_positive or response.status_code != 422:
        return None
    detail = response.json()["detail"]
    if isinstance(detail, list) and (others := [entry for entry in detail if entry["type"] not in BEYOND_SCHEMAS]):
        raise Failure(operation=case.operation.label, title="Refused, although the document allows it", message=str(others))
    return None


@schemathesis.hook
def map_body(context: HookContext, body: Any) -> Any:
    """An id of the right form becomes one that leads somewhere; whatever else is wrong with a body stays so."""
    del context
    if WORKLOAD and isinstance(body, dict) and re.fullmatch("[0-9a-fA-F]{24}", str(body.get("workloadId"))):
        return {**body, "workloadId": WORKLOAD}
    return body
