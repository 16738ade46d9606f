"""Statistics of a deployment: from what the gateway knows to the contract's words. What isn't known is null, never an invented zero."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from roadstead import counts
from roadstead.counts import Figures, Question
from roadstead.rest.records import EndpointRecord
from roadstead.rest.v241.models import Metrics

DEFAULT: Final = timedelta(hours=1)


def question(record: EndpointRecord, start: datetime | None, end: datetime | None, quantile: float, slow: float) -> Question:
    """Of the deployment's own endpoint, and not of an earlier one that had its name."""
    return Question(
        endpoints=[counts.key("deployments", record.id)],
        start=None if start is None else start.timestamp(),
        end=None if end is None else end.timestamp(),
        not_before=_seconds(record.created_at),
        quantile=quantile,
        slow_milliseconds=slow,
    )


def stats(found: Figures | None, start: datetime, end: datetime) -> dict[str, Any]:
    """``period`` is the one that the figures are about; where there are none, the one asked for."""
    if found is not None and found.start is not None and found.end is not None:
        start, end = datetime.fromtimestamp(found.start, UTC), datetime.fromtimestamp(found.end, UTC)
    return {"period": {"start": _said(start), "end": _said(end)}, "metrics": metrics(found)}


def metrics(found: Figures | None) -> dict[str, Any]:
    """Rates are parts of the requests, from 0 to 1; of no requests there are none."""
    if found is None:
        return Metrics().model_dump(by_alias=True)
    requests = found.requests
    minutes = (found.end - found.start) / 60 if found.start is not None and found.end is not None else 0.0
    errors = None if found.server_errors is None or found.user_errors is None else found.server_errors + found.user_errors
    last = found.last_request_at
    return {
        "totalRequests": requests,
        "requestsPerMinute": requests / minutes if requests is not None and minutes > 0 else None,
        "concurrentRequests": found.in_flight,
        "responseTime": found.response_milliseconds,
        "slowRequests": found.slow_requests,
        "serverErrors": found.server_errors,
        "serverErrorRate": _rate(found.server_errors, requests),
        "userErrors": found.user_errors,
        "userErrorRate": _rate(found.user_errors, requests),
        "totalErrorRate": _rate(errors, requests),
        "lastRequestAt": None if last is None else _said(datetime.fromtimestamp(last, UTC)),
    }


def _rate(part: int | None, whole: int | None) -> float | None:
    # A request counts when it begins and an error when it ends, so that at a period's edge there may be more errors than requests.
    return None if part is None or not whole else min(1.0, part / whole)


def _said(moment: datetime) -> str:
    return moment.isoformat(timespec="microseconds")


def _seconds(created: str) -> float:
    try:
        return max(0.0, datetime.fromisoformat(created).timestamp())
    except (ValueError, OverflowError):  # an annotation says it, which anybody with the right to change the object may write
        return 0.0
