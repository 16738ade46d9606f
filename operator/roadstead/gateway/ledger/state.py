"""What gateway processes tell each other and write to disk: one shape for the whole and for changes, as JSON.

Taking it over twice, in any order or by any way leads to the same. Fields that a newer version adds are passed over.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

Number = Annotated[int, Field(ge=0, le=2**53)]
Bucket = Annotated[list[Number], Field(min_length=1, max_length=64)]
Moment = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Flying(BaseModel):
    """Requests in flight at an Envoy, by cluster."""

    version: Number
    values: dict[str, Number]


class Wanted(BaseModel):
    """Requests that a process holds, and whether it wakes, by Workload (``namespace/name``)."""

    version: Number
    values: dict[str, tuple[Number, bool]]


class State(BaseModel):
    """All of it or a part."""

    model_config = ConfigDict(frozen=True)

    process: str = ""
    at: Moment = 0.0
    """When it was written."""
    counts: dict[str, dict[str, tuple[list[Bucket], list[Bucket]]]] = {}
    """By origin and endpoint: minutes and hours."""
    requested: dict[str, Moment] = {}
    """Last request, by endpoint."""
    demanded: dict[str, Moment] = {}
    """Last time that requests were held, by Workload."""
    flying: dict[str, Flying] = {}
    """By Envoy's node."""
    wanted: dict[str, Wanted] = {}
    """By process."""
    whole: bool = False
    """This is the last part of all that the writer knows."""
    known_since: Moment | None = None
    """With the last part: the writer knows of every request since."""
    rated_since: Moment | None = None
    """With the last part: it knows latencies and refusals since."""
    attended_since: Moment | None = None
    """With the last part: since when there has always been a process to let callers in."""


def read(data: bytes) -> State:
    """What was said. Raises ValueError if it is malformed."""
    try:
        return State.model_validate_json(data)
    except ValidationError as error:
        raise ValueError(f"not a state of a ledger: {error.error_count()} errors, the first {error.errors()[0]['msg']}") from error
