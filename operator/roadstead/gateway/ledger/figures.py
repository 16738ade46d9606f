"""Figures of endpoints over a period, for people: what isn't known is None, never an invented zero."""

from __future__ import annotations

from roadstead.counts import Figures, Question
from roadstead.gateway.ledger.history import ISSUED, LATENCY, SERVER_ERRORS, USER_ERRORS
from roadstead.gateway.ledger.ledger import Ledger
from roadstead.latencies import at_quantile, slower


def figures(ledger: Ledger, question: Question) -> Figures:
    """Answer."""
    now, keys = ledger.now, question.endpoints
    requested = [at for key in keys if (at := ledger.last_request(key)) is not None and at >= question.not_before]
    moment = Figures(in_flight=ledger.in_flight(keys), last_request_at=max(requested, default=None))
    end = now if question.end is None else min(question.end, now)
    # An hour before the end that was asked for, not before now: a period that is yet to come stays one.
    start = (now if question.end is None else question.end) - ledger.history.hour_seconds if question.start is None else question.start
    start = max(start, question.not_before, ledger.known_since)
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
            "latencies": latencies,
            "response_milliseconds": at_quantile(latencies, question.quantile),
            "slow_requests": slower(latencies, question.slow_milliseconds),
        }
    )
