"""``/metrics/endpoints``: requests of each endpoint as Prometheus reads them, apart from ``/metrics``, where no label names an object.

Whoever wants statistics for longer than the ledger keeps them scrapes this too (docs/install.md). It is written by hand and piece by piece:
26 lines for each endpoint in use are 4.3 MB for a thousand of them, and between two pieces questions for permission are answered.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate, islice
from typing import Final, TypeVar

from aiohttp import web

from roadstead import series
from roadstead.gateway.ledger.history import ISSUED, LATENCY, SERVER_ERRORS, USER_ERRORS
from roadstead.gateway.ledger.ledger import Ledger
from roadstead.gateway.ledger.totals import Total
from roadstead.latencies import BOUNDS

T = TypeVar("T")
CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
AT_ONCE: Final = 20
"""Endpoints of a piece: less than a millisecond's work."""
_LES: Final = (*(f"{bound / 1000:g}" for bound in BOUNDS), "+Inf")


class Exposition:
    """What one process tells of endpoints."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def pieces(self) -> Iterator[str]:
        """The text, in pieces between which something else may be done. All of a name stands together, as the format wants it."""
        process = f'process="{_escaped(self._ledger.process)}"'
        yield _head(series.PROCESSES, "gauge", "Endpoints of which this process has counted requests")
        yield f"{series.PROCESSES}{{{process}}} {len(self._ledger.totals)}\n"
        yield _head(series.REQUESTS, "counter", "Requests that reached the service")
        yield from self._counted(_requests)
        yield _head(series.ERRORS, "counter", "Answers that are errors, by class")
        yield from self._counted(_errors)
        yield _head(series.SECONDS, "histogram", "Seconds until the end of the answer")
        yield from self._counted(_seconds)
        yield _head(series.SINCE, "gauge", "When this process began to count an endpoint's requests")
        yield from self._counted(_since)
        yield _head(series.LAST, "gauge", "When the last request came, as all processes know it")
        for some in _batched(self._ledger.requested()):
            told = ((labels, at) for key, at in some if (labels := series.labels(key)) is not None)
            yield "".join(f"{series.LAST}{{{labels},{process}}} {at:.3f}\n" for labels, at in told)

    def _counted(self, written: Callable[[str, Total], str]) -> Iterator[str]:
        for some in _batched(self._ledger.totals):
            told = ((labels, total) for key, total in some if (labels := series.labels(key)) is not None)
            yield "".join(written(f'{labels},counter="{_escaped(total.counter)}"', total) for labels, total in told)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Type": CONTENT_TYPE})
        await answer.prepare(request)
        for piece in filter(None, self.pieces()):
            await answer.write(piece.encode())
            await asyncio.sleep(0)
        await answer.write_eof()
        return answer

    def route(self) -> web.RouteDef:
        """For the listener of metrics."""
        return web.get("/metrics/endpoints", self._answer)


def _head(name: str, kind: str, help: str) -> str:
    return f"# HELP {name} {help}\n# TYPE {name} {kind}\n"


def _requests(labels: str, total: Total) -> str:
    return f"{series.REQUESTS}{{{labels}}} {total.counts[ISSUED]}\n"


def _errors(labels: str, total: Total) -> str:
    by_class = ((series.USER, USER_ERRORS), (series.SERVER, SERVER_ERRORS))
    return "".join(f'{series.ERRORS}{{{labels},class="{name}"}} {total.counts[slot]}\n' for name, slot in by_class)


def _seconds(labels: str, total: Total) -> str:
    cumulative = list(accumulate(total.counts[LATENCY:]))
    lines = [f'{series.SECONDS}_bucket{{{labels},le="{le}"}} {count}\n' for le, count in zip(_LES, cumulative, strict=True)]
    return "".join((*lines, f"{series.SECONDS}_count{{{labels}}} {cumulative[-1]}\n"))


def _since(labels: str, total: Total) -> str:
    return f"{series.SINCE}{{{labels}}} {total.since:.3f}\n"


def _batched(items: Iterable[T]) -> Iterator[list[T]]:
    left = iter(items)
    while some := list(islice(left, AT_ONCE)):
        yield some


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
