"""Envoy's load reports: every second, how many requests of each cluster are under way, have begun, and have failed.

They cost nothing per request, correct themselves, and miss nothing while this process is away: Envoy reports the sum when it is back.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any, Final, Protocol

import grpc
from envoy.service.load_stats.v3 import lrs_pb2, lrs_pb2_grpc
from google.protobuf import duration_pb2

log = logging.getLogger(__name__)
INTERVAL_SECONDS: Final = 1.0


class Counts(Protocol):
    """Who keeps them."""

    def report(self, node: str, cluster: str, in_progress: int, issued: int, errors: int) -> None:
        """Of one cluster of one Envoy: requests under way now; begun, and answered by 5xx, since the last report."""

    def reported(self, node: str) -> None:
        """All of a report of that Envoy has been told."""


class LoadReports(lrs_pb2_grpc.LoadReportingServiceServicer):  # type: ignore[misc]
    """Takes the reports of Envoys. ``visit_seconds`` as in ``discovery.Discovery``.

    ``leaving`` is set when this process is about to end: whoever visits goes with its next report. What an Envoy says to somebody who
    can't pass it on any more is lost.
    """

    def __init__(self, counts: Counts, visit_seconds: float | None = None) -> None:
        self._counts = counts
        self._visit_seconds = visit_seconds
        self.leaving = False

    async def StreamLoadStats(self, requests: AsyncIterator[Any], context: grpc.aio.ServicerContext) -> AsyncGenerator[Any, None]:  # noqa: N802 - gRPC's name
        """One stream of one Envoy."""
        node = ""
        began = False
        busy: set[str] = set()
        loop = asyncio.get_running_loop()
        came = loop.time()
        async for request in requests:
            node = request.node.id or node
            if not began:
                began = True
                whole, rest = divmod(INTERVAL_SECONDS, 1)
                interval = duration_pb2.Duration(seconds=int(whole), nanos=int(rest * 1e9))
                yield lrs_pb2.LoadStatsResponse(send_all_clusters=True, load_reporting_interval=interval)
            # The first message says who speaks; of an Envoy that comes from elsewhere it tells too what was counted on the way.
            busy = self._take(node, request, busy)
            # Just after a report: until the next one it hears that it has to go.
            if self._visit_seconds is not None and (self.leaving or loop.time() - came >= self._visit_seconds):
                return
            await asyncio.sleep(0)

    def _take(self, node: str, request: Any, before: set[str]) -> set[str]:
        """Tell of a report. ``before`` are the clusters for which the last one named requests under way, the result those of this one: what
        is left out has none any more.
        """
        busy: set[str] = set()
        for cluster in request.cluster_stats:
            in_progress = issued = errors = 0
            for part in cluster.upstream_locality_stats:
                in_progress += part.total_requests_in_progress
                issued += part.total_issued_requests
                errors += part.total_error_requests
            if in_progress:
                busy.add(cluster.cluster_name)
            if in_progress or issued or errors or cluster.cluster_name in before:
                self._counts.report(node, cluster.cluster_name, in_progress, issued, errors)
        for cluster_name in before - busy - {each.cluster_name for each in request.cluster_stats}:
            self._counts.report(node, cluster_name, 0, 0, 0)
        self._counts.reported(node)
        return busy
