"""The metrics that every process has, in the same words, and how families of them are made."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import prometheus_client as prometheus
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from roadstead.kube.client import ApiClient
from roadstead.kube.reflector import Reflector
from roadstead.kube.resource import Resource
from roadstead.probes import Watched

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
NO_ANSWER: Final = "<error>"
"""client-go's code of a call that got no answer."""
CODES: Final = ("200", "201", "401", "403", "404", "409", "410", "422", "429", "500", "503", NO_ANSWER)
"""What the API server usually answers: there from the start, at 0, or an alert on a rate would miss the first refusal."""
BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)

prometheus.disable_created_metrics()  # type: ignore[no-untyped-call]  # they double the series, and nothing here needs them


def lag(registry: prometheus.CollectorRegistry) -> prometheus.Histogram:
    """How late the event loop is."""
    return prometheus.Histogram(
        "roadstead_event_loop_lag_seconds", "Seconds that the event loop was late, every second", buckets=BUCKETS, registry=registry
    )


def calls(clients: Iterable[ApiClient]) -> Metric:
    """Calls to the API server; every method with each usual code is there from the start, at 0."""
    counts = Counter(dict.fromkeys(itertools.product(METHODS.values(), CODES), 0))
    for client in clients:
        for (verb, _, status), count in client.calls.items():
            counts[METHODS[verb], str(status) if status else NO_ANSWER] += count
    family = CounterMetricFamily(
        "rest_client_requests", "Calls to the API server that have ended, kopf's watches left out", labels=["method", "code"]
    )
    for labels, count in counts.items():
        family.add_metric(labels, count)
    return family


def mirrors(reflectors: Sequence[Reflector[Any]], others: Sequence[Watched] = ()) -> Iterator[Metric]:
    """How long each watch has been silent, and how much the mirrors among them hold."""
    now = time.monotonic()
    yield gauge(
        "roadstead_reflector_silent_seconds",
        "Seconds since a watch was last heard of; bookmarks come once a minute",
        "resource",
        [(_name(each.resource), now - each.last_heard if each.present else 0.0) for each in (*reflectors, *others)],
    )
    yield gauge(
        "roadstead_reflector_objects", "Objects mirrored", "resource", [(_name(each.resource), len(each.items)) for each in reflectors]
    )


def _name(resource: Resource) -> str:
    return f"{resource.plural}.{resource.group}".rstrip(".")


def gauge(name: str, documentation: str, label: str, values: Iterable[tuple[str, float]]) -> Metric:
    """A family with one label."""
    family = GaugeMetricFamily(name, documentation, labels=[label])
    for value, amount in values:
        family.add_metric([value], amount)
    return family
