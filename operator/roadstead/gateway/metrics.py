"""``/metrics`` of the gateway's process. Requests and latencies of each endpoint are apart from it: ``exposition``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import prometheus_client as prometheus
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from roadstead import __version__
from roadstead.figures import BUCKETS, calls, lag, mirrors
from roadstead.gateway.coldstart import PHASES, ColdStart
from roadstead.gateway.mirrors import Mirrors
from roadstead.gateway.waking import Waking
from roadstead.kube.client import ApiClient

CODES = (200, 401, 403, 404, 429, 503, 504)
COLD_START_BUCKETS = (*BUCKETS, 120.0, 300.0, 600.0, 1800.0)


class Metrics:
    """In a registry of their own; each series is there from the start, at 0."""

    def __init__(self) -> None:
        self.registry = prometheus.CollectorRegistry()
        self._phases = prometheus.Histogram(
            "roadstead_gateway_cold_start_seconds",
            "Seconds from the first request to a ready pod, by phase (docs/gateway.md)",
            ["phase"],
            buckets=COLD_START_BUCKETS,
            registry=self.registry,
        )
        for phase in (*PHASES, "total"):
            self._phases.labels(phase)
        self._rejected = prometheus.Counter(
            "roadstead_gateway_rejected_configurations", "Configurations that an Envoy refused: defects", registry=self.registry
        )
        self._lag = lag(self.registry)
        prometheus.Info("roadstead_build", "The gateway's version", registry=self.registry).info({"version": __version__})
        prometheus.ProcessCollector(registry=self.registry)

    def woken(self, phases: ColdStart) -> None:
        """A cold start has come to its end."""
        if phases.ended is None:
            return
        for phase, seconds in phases.seconds(phases.began, phases.ended):
            self._phases.labels(phase).observe(seconds)
        self._phases.labels("total").observe(phases.ended - phases.began)

    def rejected(self) -> None:
        """An Envoy has refused what it was told."""
        self._rejected.inc()

    def lagged(self, seconds: float) -> None:
        """The event loop was late by so much."""
        self._lag.observe(seconds)

    def watch(self, mirrors_: Mirrors, waking: Waking, answers: Mapping[int, int], clients: Sequence[ApiClient]) -> None:
        """Report from now on what these know about themselves."""
        self.registry.register(_Kept(mirrors_, waking, answers, clients))


class _Kept(Collector):
    """What is kept anyway, read at each scrape."""

    def __init__(self, mirrors_: Mirrors, waking: Waking, answers: Mapping[int, int], clients: Sequence[ApiClient]) -> None:
        self._answers = answers
        self._mirrors = mirrors_
        self._waking = waking
        self._clients = clients

    def collect(self) -> Iterable[Metric]:
        yield calls(self._clients)
        yield from mirrors(self._mirrors.reflectors)
        held = GaugeMetricFamily("roadstead_gateway_held_requests", "Requests that wait for a pod")
        held.add_metric([], self._waking.total)
        yield held
        decisions = CounterMetricFamily(
            "roadstead_gateway_decisions",
            "Questions for permission by what the caller gets to see; what Envoy remembers isn't asked",
            labels=["code"],
        )
        for code in sorted({*CODES, *self._answers}):
            decisions.add_metric([str(code)], self._answers.get(code, 0))
        yield decisions
        counts = self._waking.counts
        wakes = CounterMetricFamily("roadstead_gateway_wakes", "Wakes that began, by how they stand", labels=["outcome"])
        wakes.add_metric(["begun"], counts.wakes)
        wakes.add_metric(["failed"], counts.failed_wakes)
        yield wakes
        gone = CounterMetricFamily(
            "roadstead_gateway_held_requests_lost",
            "Requests that waited in vain, or for which there was no room to wait, by why",
            labels=["reason"],
        )
        gone.add_metric(["queue_full"], counts.refused)
        gone.add_metric(["cold_start_limit"], counts.expired)
        gone.add_metric(["client_left"], counts.left)
        gone.add_metric(["wake_failed"], counts.disappointed)
        yield gone
