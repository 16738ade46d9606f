"""Figures of endpoints over a period, for people: what isn't known is None, never an invented zero."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from roadstead.gateway.ledger.history import ISSUED, LATENCY, LATENCY_BOUNDS, SERVER_ERRORS, USER_ERRORS
from roadstead.gateway.ledger.ledger import Ledger

Moment = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Question(BaseModel):
    """Which figures; times are seconds since 1970."""

    model_config = ConfigDict(frozen=True)

    endpoints: list[str] = Field(max_length=1000)
    start: Moment
    end: Moment
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
    in_flight: int | None = None
    """Now, whatever the period."""
    last_request_at: float | None = None


def figures(ledger: Ledger, question: Question) -> Figures:
    """Answer."""
    now, keys = ledger.now, question.endpoints
    requested = [at for key in keys if (at := ledger.last_request(key)) is not None]
    moment = Figures(in_flight=ledger.in_flight(keys), last_request_at=max(requested, default=None))
    start, end = max(question.start, ledger.known_since), min(question.end, now)
    if start >= end:
        return moment
    counts, first, last = ledger.history.total(keys, start, end, now)
    first = max(first, ledger.known_since)
    found = moment.model_copy(
        update={"start": first, "end": last, "requests": counts[ISSUED], "server_errors": counts[SERVER_ERRORS]},
    )
    if ledger.rated_since is None or ledger.rated_since > first + ledger.history.minute_seconds:
        return found
    latencies = counts[LATENCY:]
    return found.model_copy(
        update={
            "user_errors": counts[USER_ERRORS],
            "response_milliseconds": at_quantile(latencies, question.quantile),
            "slow_requests": slower(latencies, question.slow_milliseconds),
        }
    )


def at_quantile(latencies: Sequence[int], quantile: float) -> float | None:
    """Milliseconds at a quantile, taking a bucket's requests for spread evenly over it; None without any."""
    total = sum(latencies)
    if not total:
        return None
    rank, seen, lower = quantile * total, 0, 0.0
    for count, upper in zip(latencies, LATENCY_BOUNDS, strict=False):
        if count and seen + count >= rank:
            return lower + (upper - lower) * max(0.0, rank - seen) / count
        seen, lower = seen + count, float(upper)
    return lower


def slower(latencies: Sequence[int], milliseconds: float) -> int:
    """How many took longer: exact at a bucket's bound, else its requests are taken for spread evenly over it."""
    found, lower = 0.0, 0.0
    for count, upper in zip(latencies, (*LATENCY_BOUNDS, float("inf")), strict=False):
        if milliseconds <= lower:
            found += count
        elif milliseconds < upper and upper != float("inf"):
            found += count * (upper - milliseconds) / (upper - lower)
        lower = float(upper)
    return round(found)
