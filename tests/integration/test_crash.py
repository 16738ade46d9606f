"""SIGKILL right before and right after each of the operator's API writes; what the next process makes of it.

The oracle is a run without a kill: children, replica count and status must come out the same, apart from times and identities, and once
they have, nobody writes any more: not the process that finished the work, nor any that is started later.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from hack.cluster import keda
from hack.cluster.control import ControlCluster, control_cluster
from tests.build import cpu_autoscaling, http_autoscaling, raw_artifact, raw_container, raw_workload
from tests.clusters import add_fake_nodes, apply, install_crds, install_rbac, operator_access, wait_admission, writes
from tests.conftest import LONG
from tests.support.crashes import Scenario, Victim, carried_out
from tests.support.played_keda import played_keda
from tests.support.proxy import proxied
from tests.world import condition, here, patch

pytestmark = pytest.mark.timeout(3600 if LONG else 300)
Body = dict[str, Any]
SILENT_SECONDS = 5.0
MOST_WRITES = 30
TOLD = ("workloads/status", "artifacts/status", "events")
"""Of these writes there may be more or fewer: one serves as many changes as there were since the last."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[ControlCluster]:
    """A cluster of this module's own, since in all others there are no ScaledObjects."""
    with control_cluster(kwok=True) as running:
        install_crds(running)
        keda.install_crds(running)
        install_rbac(running)
        add_fake_nodes(running, 2)
        wait_admission(running)
        with played_keda(running):
            yield running


@pytest.fixture(scope="module")
def victim(cluster: ControlCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victim]:
    with proxied(cluster, operator_access(cluster), tmp_path_factory.mktemp("proxy")) as proxy:
        victim = Victim(cluster, proxy)
        with victim.stack:
            victim.start()
            yield victim


def other_image() -> Body:
    return raw_artifact("other", [raw_container(imageUri="registry.test/other@sha256:" + "1" * 64)], status="registered")


def ready(count: int) -> Callable[[Body], bool]:
    return lambda seen: seen.get("state") == "running" and seen.get("readyReplicas") == count


def ready_without_metrics(count: int) -> Callable[[Body], bool]:
    """And it is told that the HPA gets no metrics, of which this cluster has none: the HPA says so when it first looks."""
    return lambda seen: ready(count)(seen) and condition(seen, "AutoscalerReady").get("status") == "False"


def state(name: str) -> Callable[[Body], bool]:
    return lambda seen: seen.get("state") == name


def scaled_by(kind: str, count: int) -> Callable[[Body], bool]:
    return lambda seen: ready(count)(seen) and (seen.get("scaler") or {}).get("kind") == kind


def creating(**spec: Any) -> Callable[[ControlCluster, str], None]:
    return lambda cluster, namespace: apply(cluster, here(namespace, raw_workload(**spec)))


def changing(**spec: Any) -> Callable[[ControlCluster, str], None]:
    return lambda cluster, namespace: patch(cluster, "workloads.roadstead.dev", "chat", namespace, **spec)


MODEL = raw_artifact(status="registered")
ON_HTTP = http_autoscaling("httpRequestsInFlight", low=2)
INLINE = {"containerGroups": [{"containers": [raw_container()]}]}
SCENARIOS = [
    Scenario(
        "creation with an HPA", (MODEL,), creating(runtime=cpu_autoscaling(low=2)), ready_without_metrics(2), ((1, "after"), (4, "before"))
    ),
    Scenario("creation with a count", (MODEL,), creating(runtime={"replicaCount": 3}), ready(3), ()),
    Scenario("creation with an inline artifact", (), creating(inline=INLINE), ready(1), ()),
    Scenario("creation at zero", (MODEL,), creating(suspend=True), state("stopped"), ((1, "after"),)),
    Scenario("scaling", (MODEL, raw_workload(runtime={"replicaCount": 1})), changing(runtime={"replicaCount": 3}), ready(3), ()),
    Scenario(
        "count to HPA",
        (MODEL, raw_workload(runtime={"replicaCount": 2})),
        creating(runtime=cpu_autoscaling(low=2)),
        lambda seen: ready_without_metrics(2)(seen) and (seen.get("scaler") or {}).get("kind") == "HorizontalPodAutoscaler",
        (),
    ),
    Scenario(
        "HPA to count",
        (MODEL, raw_workload(runtime=cpu_autoscaling(low=2))),
        creating(runtime={"replicaCount": 3}),
        ready(3),
        (),
    ),
    Scenario(
        "HPA to ScaledObject",
        (MODEL, raw_workload(runtime=cpu_autoscaling(low=2))),
        creating(runtime=ON_HTTP),
        lambda seen: scaled_by("ScaledObject", 2)(seen) and condition(seen, "AutoscalerReady").get("status") == "True",
        (),
    ),
    Scenario(
        "ScaledObject to HPA",
        (MODEL, raw_workload(runtime=ON_HTTP)),
        creating(runtime=cpu_autoscaling(low=2)),
        lambda seen: scaled_by("HorizontalPodAutoscaler", 2)(seen) and ready_without_metrics(2)(seen),
        ((1, "after"),),
    ),
    Scenario(
        "count to ScaledObject",
        (MODEL, raw_workload(runtime={"replicaCount": 2})),
        creating(runtime=ON_HTTP),
        lambda seen: scaled_by("ScaledObject", 2)(seen) and condition(seen, "AutoscalerReady").get("status") == "True",
        (),
    ),
    Scenario("ScaledObject to count", (MODEL, raw_workload(runtime=ON_HTTP)), creating(runtime={"replicaCount": 3}), ready(3), ()),
    Scenario("stop with a ScaledObject", (MODEL, raw_workload(runtime=ON_HTTP)), changing(suspend=True), state("stopped"), ()),
    Scenario(
        "image",
        (MODEL, other_image(), raw_workload(runtime={"replicaCount": 2})),
        changing(artifactRef={"name": "other"}),
        lambda seen: ready(2)(seen) and seen["artifact"]["name"] == "other" and seen.get("updatedReplicas") == 2,
        (),
    ),
    Scenario("stop", (MODEL, raw_workload(runtime={"replicaCount": 2})), changing(suspend=True), state("stopped"), ()),
    Scenario("start", (MODEL, raw_workload(runtime={"replicaCount": 2}, suspend=True)), changing(suspend=False), ready(2), ()),
    Scenario(
        "soft deletion",
        (MODEL, raw_workload(runtime={"replicaCount": 2})),
        changing(deleted=True),
        state("stopped"),
        (),
    ),
]


@pytest.mark.parametrize(
    "scenario", [pytest.param(each, id=each.name, marks=() if each.moments else pytest.mark.long) for each in SCENARIOS]
)
def test_a_kill_around_any_write_changes_nothing(cluster: ControlCluster, victim: Victim, scenario: Scenario) -> None:
    undisturbed = carried_out(victim, scenario, None)
    sure = [entry for entry in undisturbed.writes if entry[1] not in TOLD]
    every = ((count, when) for count in range(1, MOST_WRITES) for when in ("before", "after"))
    last = 0
    with ThreadPoolExecutor() as looking:
        silence = []
        for count, when in every if LONG else scenario.moments:
            run = carried_out(victim, scenario, (count, when))
            silence.append(looking.submit(written_soon, cluster, run.namespace, run.position))
            assert run.world == undisturbed.world, f"killed {when} write {count}"
            if not run.killed:
                assert LONG, f"there was no write {count} to be killed at: {run.writes}"
                break  # fewer writes than that
            last = count
        assert [each.result() for each in silence] == [[] for _ in silence]
    print(f"{scenario.name}: killed at {last} writes at most, {len(undisturbed.writes)} undisturbed, {len(sure)} of them for sure")
    assert last >= (len(sure) if LONG else 1), f"killed at {last} writes only, of {undisturbed.writes}"


def written_soon(cluster: ControlCluster, namespace: str, position: int) -> list[tuple[str, str, str, int]]:
    """What is written within the silence after that place of the audit log."""
    time.sleep(SILENT_SECONDS)
    return writes(cluster, position, namespace)
