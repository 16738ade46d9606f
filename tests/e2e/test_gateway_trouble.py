"""No warm request fails, whatever goes away: real pods, two gateway replicas, KEDA, and a constant load. Writes the table of the docs."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest

from hack.cluster import images, preflight
from hack.cluster.full import FullCluster, full_cluster
from hack.cluster.keda import Keda, keda
from roadstead.api.identity import object_id
from tests.build import raw_workload
from tests.clusters import (
    ROOT,
    apply,
    declare_platform,
    install_crds,
    install_rbac,
    operator_access,
    running_operator,
    wait_admission,
    wait_for,
)
from tests.support.callers import calling
from tests.support.gateways import Replica, gateway_access, two_gateways
from tests.support.rest import account
from tests.world import condition, here, new_namespace, patch, pod_uids, status

pytestmark = pytest.mark.timeout(600)
Body = dict[str, Any]
BEGIN, END = "<!-- trouble: begin -->", "<!-- trouble: end -->"
DOCUMENT = ROOT / "docs" / "benchmarks.md"
AWAY_SECONDS = 60.0
SETTLE_SECONDS = 4.0


@dataclass
class World:
    """A cluster with real pods, KEDA, the operator and two gateway replicas; what each trouble came to."""

    cluster: FullCluster
    image: str
    keda: Keda
    gateways: tuple[Replica, Replica]
    operator: ExitStack
    rows: dict[str, str] = field(default_factory=dict)

    def start_operator(self) -> Any:
        return self.operator.enter_context(running_operator(self.cluster, operator_access(self.cluster)))


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    if problems := preflight.missing():
        pytest.skip("this machine can't run containers: " + "; ".join(problems))
    with full_cluster() as cluster, ExitStack() as operator:
        image = cluster.push_image(images.whoami_image(), "roadstead/whoami")
        install_crds(cluster)
        install_rbac(cluster)
        with keda(cluster) as running, two_gateways(cluster, gateway_access(cluster), ROADSTEAD_DRAIN_SECONDS="2") as gateways:
            declare_platform(cluster)
            made = World(cluster, image, running, gateways, operator)
            made.start_operator()
            yield made
            write_table(made.rows)


@pytest.fixture
def namespace(world: World) -> Iterator[str]:
    with new_namespace(world.cluster) as name:
        yield name


def write_table(rows: dict[str, str]) -> None:
    """Put the table of this run into the document, if all of it was run."""
    if set(rows) != set(TROUBLES):
        return
    before, _, rest = DOCUMENT.read_text().partition(BEGIN)
    if not rest:
        return
    lines = "\n".join(rows[name] for name in TROUBLES)
    head = "| while … | answered | warm requests failed |\n| --- | ---: | ---: |"
    DOCUMENT.write_text(f"{before}{BEGIN}\n{head}\n{lines}\n{END}{rest.partition(END)[2]}")


def serving(world: World, namespace: str, *names: str) -> None:
    """Workloads of registered Artifacts with two ready pods each."""
    probe = {"path": "/readyz", "initialDelaySeconds": 0, "periodSeconds": 1, "timeoutSeconds": 5}
    container = {"imageUri": world.image, "resourceRequest": {"cpu": 0.05, "memory": "64Mi"}, "readinessProbe": probe}
    for name in names:
        inline = {"status": "registered", "containerGroups": [{"containers": [container]}]}
        apply(world.cluster, here(namespace, raw_workload(name, inline=inline, runtime={"replicaCount": 2})))
    for name in names:
        wait_for(lambda name=name: settled(world, namespace, name), f"two ready pods of {name}", 120)


def settled(world: World, namespace: str, name: str, without: str = "") -> bool:
    seen, pods = status(world.cluster, namespace, name), pod_uids(world.cluster, namespace, name).split()
    rolled_out = condition(seen, "Progressing").get("reason") == "RolledOut"
    return rolled_out and seen.get("readyReplicas") == 2 == len(pods) and set(pods).isdisjoint(without.split())


def rolls(world: World, namespace: str) -> None:
    """Pods roll to a new version."""
    before = pod_uids(world.cluster, namespace, "a")
    patch(world.cluster, "rsw", "a", namespace, restartedAt="2026-11-25T12:00:00Z")
    wait_for(lambda: settled(world, namespace, "a", before), "the new pods", 120)


def switches(world: World, namespace: str) -> None:
    """The Workload behind the Deployment is switched, and back."""
    for name in ("b", "a"):
        patch(world.cluster, "rsd", "front", namespace, workloadRef={"name": name})
        wait_for(lambda name=name: status(world.cluster, namespace, "front", "rsd").get("activeWorkload") == name, f"{name} to serve", 60)
        time.sleep(SETTLE_SECONDS)


def replica_goes(world: World, namespace: str) -> None:
    """A gateway replica is deleted: SIGTERM, drained; another comes in its place."""
    one = world.gateways[0]
    one.stop(60)
    time.sleep(SETTLE_SECONDS)
    one.start_process()
    one.start_envoy()
    one.wait_ready()


def processes_killed(world: World, namespace: str) -> None:
    """Each gateway process, not Envoy, is killed in turn, and the kubelet starts it anew after a while."""
    for one in world.gateways:
        one.kill_process()
        time.sleep(SETTLE_SECONDS)
        one.start_process()
        one.wait_ready()
        time.sleep(SETTLE_SECONDS)


def keda_killed(world: World, namespace: str) -> None:
    """KEDA is away."""
    world.keda.stop()
    time.sleep(2 * SETTLE_SECONDS)
    world.keda.start()


def operator_killed(world: World, namespace: str) -> None:
    """The operator is away."""
    world.operator.close()
    time.sleep(2 * SETTLE_SECONDS)
    world.start_operator()


def server_away(world: World, namespace: str) -> None:
    """The API server is away for a minute."""
    world.cluster.stop_component("kube-apiserver")
    time.sleep(AWAY_SECONDS)
    world.cluster.start_component("kube-apiserver")
    wait_admission(world.cluster)


def envoy_killed(world: World, namespace: str) -> None:
    """An Envoy is killed by SIGKILL: what it was just carrying is lost, and nothing else."""
    one = world.gateways[1]
    one.kill_envoy()
    time.sleep(SETTLE_SECONDS)
    one.start_envoy()
    one.wait_ready()


TROUBLES: dict[str, Callable[[World, str], None]] = {
    "pods roll to a new version": rolls,
    "the Workload behind a Deployment is switched, and back": switches,
    "a gateway replica is deleted (SIGTERM, drained)": replica_goes,
    "each gateway process is killed": processes_killed,
    "KEDA is away": keda_killed,
    "the operator is away": operator_killed,
    "the API server is away for a minute": server_away,
    "an Envoy is killed (SIGKILL)": envoy_killed,
}


SAMPLE = (rolls, switches)
"""What ``make test`` shows with real pods; what happens to the gateway itself it shows in tests/integration/test_gateway_replicas.py."""


@pytest.mark.parametrize(
    "trouble", [name if cause in SAMPLE else pytest.param(name, marks=pytest.mark.long) for name, cause in TROUBLES.items()]
)
def test_no_warm_request_fails(world: World, namespace: str, trouble: str) -> None:
    """Half of the load goes to a Workload, half to a Deployment in front of it."""
    serving(world, namespace, "a", *(("b",) if TROUBLES[trouble] is switches else ()))
    front = {"apiVersion": "roadstead.dev/v1alpha1", "kind": "Deployment", "metadata": {"name": "front"}}
    apply(world.cluster, here(namespace, {**front, "spec": {"workloadRef": {"name": "a"}}}))
    wait_for(lambda: status(world.cluster, namespace, "front", "rsd").get("activeWorkload") == "a", "the Deployment to serve")
    token = account(world.cluster, namespace, "caller", "roadstead-invoke")
    paths = [
        f"/api/v2/endpoints/{kind}/{object_id(kind, namespace, name)}/" for kind, name in (("workloads", "a"), ("deployments", "front"))
    ]
    with ExitStack() as stack:
        calls = [stack.enter_context(calling(world.gateways, path, token, 6)) for path in paths]
        wait_for(lambda: all(called.answered > 50 for called in calls), "warm requests", 60)
        warm_at = {id(called): len(called.failed) for called in calls}
        TROUBLES[trouble](world, namespace)
        time.sleep(SETTLE_SECONDS)
    failed = [each for called in calls for each in called.failed[warm_at[id(called)] :]]
    answered = sum(called.answered for called in calls)
    world.rows[trouble] = f"| {trouble} | {answered:,} | {len(failed)} |"
    print(json.dumps({"trouble": trouble, "answered": answered, "failed": failed[:10]}))
    if TROUBLES[trouble] is envoy_killed:
        killed = [each for each in failed if each[2].startswith("gateway-0")]
        assert not killed, killed
        assert len(failed) <= 24, failed  # no more than a request of each client, in flight or while the balancer hadn't looked
    else:
        assert not failed, failed[:10]
