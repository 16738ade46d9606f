"""What is asked of a gateway process about requests, and its answer: the REST face asks, the gateway answers, neither imports the other.

JSON over gRPC on the gateway's peer port (``CALL``). Both ends may be of neighbouring versions: a new field has a default.
"""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

from roadstead.series import LETTERS

SERVICE: Final = "roadstead.gateway.Peers"
CALL: Final = f"/{SERVICE}/Figures"

Moment = Annotated[float, Field(ge=0, allow_inf_nan=False)]


def key(kind: str, id: str) -> str:
    """The name by which an endpoint is counted: ``w-…`` of a Workload, ``d-…`` of a Deployment."""
    return f"{LETTERS[kind]}-{id}"


class Question(BaseModel):
    """Which figures; times are seconds since 1970."""

    model_config = ConfigDict(frozen=True)

    endpoints: list[str] = Field(max_length=1000)
    start: Moment | None = None
    """None: an hour before the end, by the clock of who answers, so that the last hour is always one of whole minutes."""
    end: Moment | None = None
    """None: now, by the same clock."""
    not_before: Moment = 0.0
    """When the endpoints were made: what was counted before is about others that had their names."""
    quantile: float = Field(0.5, ge=0, le=1)
    slow_milliseconds: float = Field(2000.0, ge=0, allow_inf_nan=False)


class Figures(BaseModel):
    """Over all gateway processes. ``start`` and ``end`` are the period that the figures are really about: in whole minutes, or in whole
    hours if it began more than an hour ago, and not from before anybody counted; None if nothing of it is known.
    """

    model_config = ConfigDict(frozen=True)

    start: float | None = None
    end: float | None = None
    requests: int | None = None
    server_errors: int | None = None
    user_errors: int | None = None
    response_milliseconds: float | None = None
    """At the quantile. A WebSocket or a stream of events is a response as long as it lasts."""
    slow_requests: int | None = None
    latencies: list[int] | None = None
    """How many took how long, by ``latencies.BOUNDS``: what the two before are estimated from, and what can be added."""
    in_flight: int | None = None
    """Now, whatever the period."""
    last_request_at: float | None = None
    """The last there was, whatever the period."""
