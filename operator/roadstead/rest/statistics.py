"""Figures of an endpoint over a period, from all who know some: the gateway, which counts exactly and for a month; and Prometheus.

Where the gateway knows, its word is taken. What of the period it doesn't know, and what it doesn't know of the period, is asked of
Prometheus, if there is one. What neither knows stays None.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any, Final

from roadstead.counts import Figures, Question
from roadstead.latencies import at_quantile, slower
from roadstead.rest.figures import GatewayFigures
from roadstead.rest.prometheus import Prometheus
from roadstead.rest.promql import LONGEST_SECONDS, SHORTEST_SECONDS, Span

HOUR_SECONDS: Final = 3600.0


@dataclass(frozen=True, slots=True)
class Gaps:
    """What is to be asked of Prometheus: the time before the gateway counted, and its time of which it doesn't know everything."""

    before: Span | None
    within: Span | None


class Statistics:
    """Who is asked. Close it at the end."""

    def __init__(self, gateway: GatewayFigures, prometheus: Prometheus | None) -> None:
        self._gateway = gateway
        self._prometheus = prometheus

    async def ask(self, question: Question) -> Figures | None:
        """About one endpoint. Returns None if nobody knows anything; raises nothing for want of an answer."""
        found = await self._gateway.ask(question)
        if self._prometheus is None:
            return found
        now = time.time()
        (key,) = question.endpoints
        missing = gaps(found, wanted(question, now))
        before, within, last = await asyncio.gather(
            _asked(self._prometheus, key, missing.before),
            _asked(self._prometheus, key, missing.within),
            self._last(key, found, question, now),
        )
        whole = joined(question, found, before, within)
        return whole if last is None else (whole or Figures()).model_copy(update={"last_request_at": last})

    async def _last(self, key: str, found: Figures | None, question: Question, now: float) -> float | None:
        """The last request, where the gateway doesn't know of any."""
        if self._prometheus is None or (found is not None and found.last_request_at is not None):
            return None
        last = await self._prometheus.last_request(key, Span(min(now, max(question.not_before, now - LONGEST_SECONDS)), now))
        return min(last, now) if last is not None and last >= question.not_before else None

    async def close(self) -> None:
        """Ask nobody any more."""
        await self._gateway.close()
        if self._prometheus is not None:
            await self._prometheus.close()


def wanted(question: Question, now: float) -> Span:
    """The period that is asked about, as far as it lies behind us and its endpoint was there. Its end may be before its start: nothing."""
    end = now if question.end is None else question.end
    start = end - HOUR_SECONDS if question.start is None else question.start
    end = min(end, now)
    return Span(max(start, question.not_before, end - LONGEST_SECONDS), end)


def gaps(found: Figures | None, period: Span) -> Gaps:
    """What of a period the gateway's figures leave open."""
    if found is None or found.start is None or found.end is None:
        return Gaps(_worth(period), None)
    rated = found.user_errors is not None and found.slow_requests is not None
    return Gaps(
        before=_worth(Span(period.start, min(found.start, period.end))),
        within=None if rated else _worth(Span(found.start, found.end)),
    )


def joined(question: Question, found: Figures | None, before: Figures | None, within: Figures | None) -> Figures | None:
    """The gateway's figures; with Prometheus's for what they leave open, and for the time before. Estimates are made anew, of the sum."""
    if before is None and within is None:
        return found
    whole = found or Figures()
    if within is not None:
        whole = whole.model_copy(
            update={
                "user_errors": within.user_errors if whole.user_errors is None else whole.user_errors,
                "latencies": within.latencies if whole.latencies is None else whole.latencies,
            }
        )
    if before is not None:
        whole = whole.model_copy(update=_after(before, whole) if whole.start is not None else _counts(before))
    some = whole.latencies
    return whole.model_copy(
        update={
            "response_milliseconds": None if some is None else at_quantile(some, question.quantile),
            "slow_requests": None if some is None else slower(some, question.slow_milliseconds),
        }
    )


def _after(before: Figures, then: Figures) -> dict[str, Any]:
    """Counts of two periods as those of one. There may be time between them, of which nobody knows anything."""
    latencies = None
    # A gateway of another version may keep other steps.
    if before.latencies is not None and then.latencies is not None and len(before.latencies) == len(then.latencies):
        latencies = [one + other for one, other in zip(before.latencies, then.latencies, strict=True)]
    return {
        "start": before.start,
        "requests": _plus(before.requests, then.requests),
        "server_errors": _plus(before.server_errors, then.server_errors),
        "user_errors": _plus(before.user_errors, then.user_errors),
        "latencies": latencies,
    }


def _counts(of: Figures) -> dict[str, Any]:
    return of.model_dump(include={"start", "end", "requests", "server_errors", "user_errors", "latencies"})


def _plus(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one + other


def _worth(span: Span) -> Span | None:
    """The span, unless it is too short for Prometheus to know of it."""
    return span if span.end - span.start >= SHORTEST_SECONDS else None


async def _asked(prometheus: Prometheus, key: str, span: Span | None) -> Figures | None:
    return None if span is None else await prometheus.figures(key, span)
