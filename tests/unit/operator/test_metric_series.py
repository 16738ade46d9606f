"""What /metrics says before anything has happened, and after."""

from __future__ import annotations

import asyncio
from collections import Counter
from types import SimpleNamespace
from typing import Any, cast

import prometheus_client
import pytest
from prometheus_client.parser import text_string_to_metric_families

from roadstead.controller.controller import Result
from roadstead.controller.kinds import Kind
from roadstead.controller.objects import Objects
from roadstead.figures import METHODS
from roadstead.kube.queue import WorkQueue
from roadstead.kube.resource import DEPLOYMENTS, PODS
from roadstead.kube.transport import Verb
from roadstead.operator.metrics import Metrics
from roadstead.operator.pulse import Pulse
from roadstead.resources import WORKLOADS
from tests.build import raw_workload

Sample = dict[tuple[str, frozenset[tuple[str, str]]], float]


def scraped(metrics: Metrics) -> Sample:
    text = prometheus_client.generate_latest(metrics.registry).decode()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(seen: Sample, series: str, /, **labels: str) -> float:
    return seen[series, frozenset(labels.items())]


@pytest.fixture
def world() -> Any:
    """What the operator keeps about itself, as far as metrics read it."""
    reflectors = [SimpleNamespace(resource=resource, present=True, last_heard=0.0, items={}) for resource in (DEPLOYMENTS, PODS)]
    return SimpleNamespace(
        queue=WorkQueue[str](),
        objects=Objects(lambda _: None, lambda _: None),
        mirrors=SimpleNamespace(reflectors=reflectors, deployments=lambda: iter(())),
        gpus=SimpleNamespace(totals=lambda: (Counter(), Counter())),
        platform=SimpleNamespace(gpu_types=("h100",)),
        client=SimpleNamespace(calls=Counter()),
        elector=SimpleNamespace(leading=False),
    )


@pytest.fixture
def metrics(world: Any) -> Metrics:
    made = Metrics()
    made.watch(cast(Any, world), world.elector, (world.client,), [Pulse(WORKLOADS, present=True)])
    return made


def test_everything_is_there_at_zero_from_the_start(metrics: Metrics) -> None:
    seen = scraped(metrics)

    for kind in ("artifact", "workload", "deployment", "platform"):
        for result in ("success", "requeue_after", "requeue", "error"):
            assert value(seen, "controller_runtime_reconcile_total", controller=kind, result=result) == 0
        assert value(seen, "controller_runtime_reconcile_errors_total", controller=kind) == 0
        assert value(seen, "controller_runtime_reconcile_time_seconds_count", controller=kind) == 0
    for name in (
        "workqueue_depth",
        "workqueue_adds_total",
        "workqueue_retries_total",
        "workqueue_queue_duration_seconds_count",
        "workqueue_unfinished_work_seconds",
        "workqueue_longest_running_processor_seconds",
        "roadstead_workqueue_oldest_seconds",
    ):
        assert value(seen, name, name="roadstead") == 0
    for replicas in ("desired", "ready"):
        assert value(seen, "roadstead_workload_replicas", replicas=replicas) == 0
    for gpu_type in ("any", "h100"):
        for importance in ("none", "low", "moderate", "high", "critical"):
            assert value(seen, "roadstead_gpus_requested", gpu_type=gpu_type, importance=importance) == 0
            assert value(seen, "roadstead_gpus_allocated", gpu_type=gpu_type, importance=importance) == 0
    assert value(seen, "roadstead_event_loop_lag_seconds_count") == 0
    assert value(seen, "leader_election_master_status", name="roadstead-operator") == 0
    for method in ("GET", "PATCH", "POST", "PUT", "DELETE"):
        for code in ("200", "201", "401", "403", "404", "409", "410", "422", "429", "500", "503", "<error>"):
            assert value(seen, "rest_client_requests_total", method=method, code=code) == 0
    for state in ("submitted", "initializing", "running", "stopping", "stopped", "errored", "none"):
        assert value(seen, "roadstead_workload_state", state=state) == 0
    assert value(seen, "roadstead_reflector_objects", resource="deployments.apps") == 0
    for resource in ("pods", "workloads.roadstead.dev"):
        assert value(seen, "roadstead_reflector_silent_seconds", resource=resource) > 0
    assert not [name for name, _ in seen if name.endswith("_created")]


def test_reconciles_are_counted_by_kind_and_result(metrics: Metrics) -> None:
    metrics.reconciled(Kind.WORKLOAD, Result.SUCCESS, 0.02)
    metrics.reconciled(Kind.WORKLOAD, Result.ERROR, 0.2)
    seen = scraped(metrics)

    assert value(seen, "controller_runtime_reconcile_total", controller="workload", result="success") == 1
    assert value(seen, "controller_runtime_reconcile_total", controller="workload", result="error") == 1
    assert value(seen, "controller_runtime_reconcile_errors_total", controller="workload") == 1
    assert value(seen, "controller_runtime_reconcile_time_seconds_sum", controller="workload") == pytest.approx(0.22)
    assert value(seen, "controller_runtime_reconcile_time_seconds_bucket", controller="workload", le="0.025") == 1


def test_calls_are_summed_by_method_and_code(metrics: Metrics, world: Any) -> None:
    world.client.calls.update({("get", "leases", 200): 2, ("list", "pods", 200): 3, ("apply", "services", 409): 1, ("watch", "pods", 0): 1})
    seen = scraped(metrics)

    assert value(seen, "rest_client_requests_total", method="GET", code="200") == 5
    assert value(seen, "rest_client_requests_total", method="PATCH", code="409") == 1
    assert value(seen, "rest_client_requests_total", method="GET", code="<error>") == 1
    assert set(METHODS) == set(Verb.__args__)


async def test_work_that_goes_on_is_seen_before_it_ends(metrics: Metrics, world: Any) -> None:
    """A worker that hangs ends no reconcile, so no histogram would tell of it."""
    queue = world.queue
    queue.open()
    for key in ("a", "b", "c"):
        queue.add(key)
    taken = [await queue.get()]
    await asyncio.sleep(0.05)
    taken += [await queue.get(), await queue.get()]
    queue.done(taken.pop())
    await asyncio.sleep(0.01)
    seen = scraped(metrics)
    longest = value(seen, "workqueue_longest_running_processor_seconds", name="roadstead")
    unfinished = value(seen, "workqueue_unfinished_work_seconds", name="roadstead")
    assert longest >= 0.06 - 0.001
    assert unfinished >= longest + 0.01 - 0.001
    assert unfinished < 2 * longest
    for key in taken:
        queue.done(key)
    seen = scraped(metrics)
    assert value(seen, "workqueue_longest_running_processor_seconds", name="roadstead") == 0
    assert value(seen, "workqueue_unfinished_work_seconds", name="roadstead") == 0


def test_states_follow_the_workloads(metrics: Metrics, world: Any) -> None:
    def state(name: str, said: str | None) -> None:
        world.objects.saw(Kind.WORKLOAD, {**raw_workload(name), **({"status": {"state": said}} if said else {})})

    def counts() -> dict[str, float]:
        return {
            dict(labels)["state"]: amount
            for (name, labels), amount in scraped(metrics).items()
            if name == "roadstead_workload_state" and amount
        }

    state("a", None)
    state("b", "running")
    state("c", "running")
    assert counts() == {"none": 1, "running": 2}
    state("a", "errored")
    state("b", "stopped")
    assert counts() == {"errored": 1, "stopped": 1, "running": 1}
    world.objects.saw(Kind.WORKLOAD, raw_workload("c"), deleted=True)
    assert counts() == {"errored": 1, "stopped": 1}


def test_waits_and_lags_are_observed(metrics: Metrics) -> None:
    metrics.waited(0.3)
    metrics.lagged(0.02)
    seen = scraped(metrics)

    assert value(seen, "workqueue_queue_duration_seconds_bucket", name="roadstead", le="0.5") == 1
    assert value(seen, "workqueue_queue_duration_seconds_bucket", name="roadstead", le="0.25") == 0
    assert value(seen, "roadstead_event_loop_lag_seconds_sum") == pytest.approx(0.02)


def test_gpus_are_counted_by_the_leader_alone(metrics: Metrics, world: Any) -> None:
    """Or the sum over the replicas would count them twice after a change of leadership."""
    used = Counter({("h100", None): 8})
    world.gpus.totals = lambda: (used, used)
    for leading, expected in ((True, 8), (False, 0)):
        world.elector.leading = leading
        seen = scraped(metrics)
        assert value(seen, "roadstead_gpus_requested", gpu_type="h100", importance="none") == expected
        assert value(seen, "roadstead_gpus_allocated", gpu_type="h100", importance="none") == expected
