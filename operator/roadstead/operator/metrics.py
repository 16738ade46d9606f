"""``/metrics``, under the names and labels of controller-runtime and client-go where they have one: existing dashboards work.

Figures that are kept anyway (queue, calls, mirrors, states) are read when somebody asks; only reconciles are counted as they end. All
series are there from the start, at 0: an alert on a rate would miss the first failure otherwise. No label holds the name of an object.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Final

import prometheus_client as prometheus
from aiohttp import web
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from roadstead import __version__
from roadstead.api.conditions import State
from roadstead.api.deployment import Importance
from roadstead.controller.controller import Controller, Result
from roadstead.controller.kinds import Kind
from roadstead.figures import BUCKETS, calls, gauge, lag, mirrors
from roadstead.kube.client import ApiClient
from roadstead.kube.lease import Elector
from roadstead.listener import metrics_route
from roadstead.names import OPERATOR_LEASE
from roadstead.operator.pulse import Pulse

QUEUE: Final = "roadstead"
NONE: Final = "none"
ANY: Final = "any"
"""The GPU type of those who don't ask for one."""


class Metrics:
    """The operator's metrics, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = prometheus.CollectorRegistry()
        controller = ["controller"]
        self._total = prometheus.Counter(
            "controller_runtime_reconcile_total", "Reconciles by kind and result", [*controller, "result"], registry=self.registry
        )
        self._errors = prometheus.Counter(
            "controller_runtime_reconcile_errors_total", "Reconciles that failed, by kind", controller, registry=self.registry
        )
        self._seconds = prometheus.Histogram(
            "controller_runtime_reconcile_time_seconds",
            "Seconds a reconcile took",
            controller,
            buckets=BUCKETS,
            registry=self.registry,
        )
        self._waited = prometheus.Histogram(
            "workqueue_queue_duration_seconds",
            "Seconds a key waited for a worker",
            ["name"],
            buckets=BUCKETS,
            registry=self.registry,
        ).labels(QUEUE)
        self._lag = lag(self.registry)
        for kind in Kind:
            self._errors.labels(kind.lower())
            self._seconds.labels(kind.lower())
            for result in Result:
                self._total.labels(kind.lower(), result)
        prometheus.Info("roadstead_build", "The operator's version", registry=self.registry).info({"version": __version__})
        prometheus.ProcessCollector(registry=self.registry)

    def reconciled(self, kind: Kind, result: Result, seconds: float) -> None:
        """Count one reconcile."""
        controller = kind.lower()
        self._total.labels(controller, result).inc()
        self._seconds.labels(controller).observe(seconds)
        if result is Result.ERROR:
            self._errors.labels(controller).inc()

    def waited(self, seconds: float) -> None:
        """A key was handed out after it had waited so long."""
        self._waited.observe(seconds)

    def lagged(self, seconds: float) -> None:
        """The event loop was late by so much."""
        self._lag.observe(seconds)

    def watch(self, controller: Controller, elector: Elector, clients: Sequence[ApiClient], pulses: Sequence[Pulse]) -> None:
        """Report from now on what these know about themselves."""
        self.registry.register(_Kept(controller, elector, clients, pulses))

    def routes(self) -> list[web.RouteDef]:
        """The one path."""
        return [metrics_route(self.registry)]


class _Kept(Collector):
    """What is kept anyway, read at each scrape."""

    def __init__(self, controller: Controller, elector: Elector, clients: Sequence[ApiClient], pulses: Sequence[Pulse]) -> None:
        self._controller = controller
        self._elector = elector
        self._clients = clients
        self._pulses = pulses

    def collect(self) -> Iterator[Metric]:
        queue = self._controller.queue
        yield gauge("workqueue_depth", "Keys that wait for a worker", "name", [(QUEUE, queue.depth)])
        yield gauge(
            "roadstead_workqueue_oldest_seconds",
            "How long the key that waits longest has waited; 0 on a standby",
            "name",
            [(QUEUE, queue.oldest_age_seconds)],
        )
        yield gauge(
            "workqueue_unfinished_work_seconds",
            "For how long the keys that workers hold now have been held, added up",
            "name",
            [(QUEUE, queue.unfinished_seconds)],
        )
        yield gauge(
            "workqueue_longest_running_processor_seconds",
            "For how long the worker that is busy longest has held its key",
            "name",
            [(QUEUE, queue.longest_held_seconds)],
        )
        yield _counter("workqueue_adds", "Keys queued", queue.adds)
        yield _counter("workqueue_retries", "Retries asked for", queue.retries)
        yield calls(self._clients)
        yield gauge("leader_election_master_status", "1 on the replica that leads", "name", [(OPERATOR_LEASE, self._elector.leading)])
        yield self._states()
        yield self._replicas()
        yield from self._gpus()
        yield from mirrors(self._controller.mirrors.reflectors, self._pulses)

    def _states(self) -> Metric:
        states = self._controller.objects.states
        counts = [(str(state), states[state]) for state in State if state is not State.UNKNOWN]
        return gauge("roadstead_workload_state", "Workloads by the state in their status", "state", [*counts, (NONE, states[""])])

    def _replicas(self) -> Metric:
        seen = [view for _, view in self._controller.mirrors.deployments()]
        wanted, ready = sum(view.spec_replicas for view in seen), sum(view.ready for view in seen)
        return gauge("roadstead_workload_replicas", "Replicas of all Workloads", "replicas", [("desired", wanted), ("ready", ready)])

    def _gpus(self) -> Iterator[Metric]:
        """By type and importance; types of Platform's catalogue, so there are not many. A replica that led before knows old ones still."""
        known = itertools.product((None, *self._controller.platform.gpu_types), (None, *Importance))
        zeros = dict.fromkeys(known, 0)
        requested, allocated = self._controller.gpus.totals() if self._elector.leading else ({}, {})
        for name, documentation, counts in (
            ("roadstead_gpus_requested", "GPUs of the replicas that are wanted", requested),
            ("roadstead_gpus_allocated", "GPUs of the pods that have a node", allocated),
        ):
            family = GaugeMetricFamily(name, documentation, labels=["gpu_type", "importance"])
            for (gpu_type, importance), count in (zeros | counts).items():
                family.add_metric([gpu_type or ANY, importance or NONE], count)
            yield family


def _counter(name: str, documentation: str, amount: float) -> Metric:
    """A counter of the work queue."""
    family = CounterMetricFamily(name, documentation, labels=["name"])
    family.add_metric([QUEUE], amount)
    return family
