"""``/metrics`` of the API: requests by route and code, and what they cost the API server."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Final

import prometheus_client as prometheus
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from roadstead import __version__
from roadstead.kube.client import ApiClient
from roadstead.rest.cache import Cache

BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
NO_ANSWER: Final = "<error>"
METHODS: Final = {
    "get": "GET",
    "list": "GET",
    "watch": "GET",
    "apply": "PATCH",
    "patch": "PATCH",
    "create": "POST",
    "update": "PUT",
    "delete": "DELETE",
}

prometheus.disable_created_metrics()  # type: ignore[no-untyped-call]  # they double the series, and nothing here needs them


class Metrics:
    """In a registry of their own."""

    def __init__(self) -> None:
        self.registry = prometheus.CollectorRegistry()
        self._requests = prometheus.Counter(
            "roadstead_api_requests_total", "Requests by route, method and code", ["route", "method", "code"], registry=self.registry
        )
        self._seconds = prometheus.Histogram(
            "roadstead_api_request_seconds", "Seconds a request took", ["route", "method"], buckets=BUCKETS, registry=self.registry
        )
        self.in_flight = prometheus.Gauge("roadstead_api_requests_in_flight", "Requests being answered", registry=self.registry)
        self._misses = prometheus.Counter(
            "roadstead_api_cache_misses_total", "Ids that had to be looked up in the cluster", ["resource"], registry=self.registry
        )
        self._lag = prometheus.Histogram(
            "roadstead_event_loop_lag_seconds",
            "Seconds that the event loop was late, twice a second",
            buckets=BUCKETS,
            registry=self.registry,
        )
        prometheus.Info("roadstead_build", "The API's version", registry=self.registry).info({"version": __version__})
        prometheus.ProcessCollector(registry=self.registry)

    def answered(self, route: str, method: str, code: int, seconds: float) -> None:
        """Count one request."""
        method = method if method in ("GET", "POST", "PUT", "PATCH", "DELETE") else "other"
        self._requests.labels(route, method, str(code)).inc()
        self._seconds.labels(route, method).observe(seconds)

    def missed(self, resource: str) -> None:
        """An id wasn't in the mirror."""
        self._misses.labels(resource).inc()

    def lagged(self, seconds: float) -> None:
        """The event loop was late by so much."""
        self._lag.observe(seconds)

    def watch(self, cache: Cache, clients: Sequence[ApiClient]) -> None:
        """Report from now on what these know about themselves."""
        self.registry.register(_Kept(cache, clients))


class _Kept(Collector):
    """What is kept anyway, read at each scrape."""

    def __init__(self, cache: Cache, clients: Sequence[ApiClient]) -> None:
        self._cache = cache
        self._clients = clients

    def collect(self) -> Iterable[Metric]:
        calls = CounterMetricFamily("rest_client_requests", "Calls to the API server that have ended", labels=["method", "code"])
        totals: dict[tuple[str, str], int] = {}
        for (verb, _, code), count in itertools.chain.from_iterable(client.calls.items() for client in self._clients):
            key = (METHODS[verb], str(code) if code else NO_ANSWER)
            totals[key] = totals.get(key, 0) + count
        for labels, count in totals.items():
            calls.add_metric(labels, count)
        yield calls
        mirrored = GaugeMetricFamily("roadstead_api_mirrored_objects", "Objects known", labels=["resource"])
        for reflector in self._cache.reflectors:
            mirrored.add_metric([reflector.resource.plural], len(reflector.items))
        yield mirrored
