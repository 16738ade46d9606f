"""The real KEDA and the gateway's own scaler and ledger; only what Envoy reports is said by the tests.

The cluster is this module's own, since in most others there is no KEDA.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

import pytest

from hack.cluster import beside
from hack.cluster.control import ControlCluster, control_cluster
from hack.cluster.keda import keda
from tests.build import http_autoscaling, raw_artifact, raw_workload
from tests.clusters import (
    add_fake_nodes,
    apply,
    declare_platform,
    get,
    install_crds,
    install_rbac,
    operator_access,
    running_operator,
    wait_for,
)
from tests.support.gateways import gateway_access
from tests.support.sampler import sampling
from tests.support.scaling import ScalingGateway, scaling_gateway
from tests.world import condition, here, new_namespace, status

pytestmark = pytest.mark.timeout(240)
COOLDOWN_SECONDS = 3
HOUR = 3600


@dataclass(frozen=True)
class World:
    """A cluster with the operator, KEDA and the scaler."""

    cluster: ControlCluster
    gateway: ScalingGateway

    def replicas(self, namespace: str) -> int | None:
        found = get(self.cluster, "deployments.apps", "chat", namespace)
        return None if found is None else int(found["spec"]["replicas"])

    def wait_replicas(self, namespace: str, count: int, seconds: float = 60) -> None:
        wait_for(lambda: self.replicas(namespace) == count, f"{count} replicas", seconds)

    def scaler_said(self, namespace: str) -> str | None:
        return condition(status(self.cluster, namespace), "AutoscalerReady").get("status")


def platform(cluster: ControlCluster, gateway: ScalingGateway, **more: int) -> None:
    scaling = {"cooldownSeconds": COOLDOWN_SECONDS, "pollingIntervalSeconds": 1, "scaleDownStabilizationSeconds": 0, **more}
    declare_platform(cluster, scaling=scaling, gateway={"scalerAddress": gateway.address})


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with control_cluster(kwok=True, extra_apiserver_flags=beside.AGGREGATION_FLAGS) as cluster:
        install_crds(cluster)
        install_rbac(cluster)
        add_fake_nodes(cluster, 2)
        with scaling_gateway(gateway_access(cluster)) as gateway:
            platform(cluster, gateway)
            with keda(cluster), running_operator(cluster, operator_access(cluster)):
                yield World(cluster, gateway)


@pytest.fixture
def namespace(world: World) -> Iterator[str]:
    with new_namespace(world.cluster) as name:
        yield name


def test_from_zero_to_three_and_back_and_never_down_for_want_of_knowledge(world: World, namespace: str) -> None:
    apply(world.cluster, here(namespace, raw_artifact()), here(namespace, raw_workload(runtime=http_autoscaling())))
    wait_for(lambda: status(world.cluster, namespace).get("proven"), "the proof")
    world.wait_replicas(namespace, 0)
    with sampling(world.cluster, namespace) as sampler:
        wait_for(lambda: sampler.samples, "the first look")
        used = time.monotonic()
        world.gateway.use(namespace, "chat", in_flight=5, issued=5)
        woken = wait_for(lambda: next((s.at for s in sampler.samples if s.wanted), 0.0), "the wake", pause=0.01)
        print(f"woken {(woken - used) * 1000:.0f} ms after Envoy's report")
        world.gateway.use(namespace, "chat", in_flight=25, issued=20)
        world.wait_replicas(namespace, 3)
        sampler.phase = "unknown"
        world.gateway.known = False
        world.gateway.use(namespace, "chat", in_flight=0)
        wait_for(lambda: world.scaler_said(namespace) == "False", "the word on it")
        time.sleep(COOLDOWN_SECONDS + 5)
        sampler.phase = "known"
        world.gateway.known = True
        world.wait_replicas(namespace, 0, 90)
    assert sampler.least("unknown")[0] == 3, sampler.story()
    wait_for(lambda: world.scaler_said(namespace) == "True", "KEDA's word")


def test_keda_hears_of_activity_between_its_looks(world: World, namespace: str, request: pytest.FixtureRequest) -> None:
    """It counts the cooldown from there, so it matters where looks are far apart."""
    platform(world.cluster, world.gateway, pollingIntervalSeconds=20)
    request.addfinalizer(lambda: platform(world.cluster, world.gateway))
    apply(world.cluster, here(namespace, raw_artifact()), here(namespace, raw_workload(runtime=http_autoscaling())))
    wait_for(lambda: status(world.cluster, namespace).get("proven"), "the proof")
    world.gateway.use(namespace, "chat", in_flight=5, issued=5)
    world.wait_replicas(namespace, 1)
    heard: list[str] = []

    def more() -> bool:
        found = get(world.cluster, "scaledobjects.keda.sh", "chat", namespace) or {}
        last = found.get("status", {}).get("lastActiveTime", "")
        if last and last not in heard:
            heard.append(last)
        return len(heard) == 4

    wait_for(more, "KEDA to hear of it four times", 60)
    first, *_, last = map(datetime.fromisoformat, heard)
    assert (last - first).total_seconds() < 20, "those were KEDA's own looks"


def test_the_hour_raises_while_it_is_known_in_part_and_lowers_when_it_is_known(world: World, namespace: str) -> None:
    runtime = http_autoscaling("httpRequestsPerHour", target=100, low=1)
    apply(world.cluster, here(namespace, raw_artifact()), here(namespace, raw_workload(runtime=runtime)))
    world.wait_replicas(namespace, 1)
    with sampling(world.cluster, namespace) as sampler:
        wait_for(lambda: status(world.cluster, namespace).get("readyReplicas") == 1, "a ready pod")
        world.gateway.use(namespace, "chat", in_flight=0, issued=250)
        world.wait_replicas(namespace, 3, 90)
        sampler.phase = "three"
        time.sleep(20)  # a look of the HPA at least, at an hour that isn't known whole
    assert sampler.least("three")[0] == 3, sampler.story()
    world.gateway.shift_seconds += HOUR + 61
    world.wait_replicas(namespace, 1, 90)
