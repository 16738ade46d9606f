"""``/metrics`` of the API: requests by route and code, and what they cost the API server."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import prometheus_client as prometheus
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from roadstead import __version__
from roadstead.figures import BUCKETS, calls, lag, mirrors
from roadstead.kube.client import ApiClient
from roadstead.rest.cache import Cache


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
        self._lag = lag(self.registry)
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
        yield calls(self._clients)
        yield from mirrors(self._cache.reflectors)
