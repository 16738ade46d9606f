"""No request is cut while pods are replaced or taken away: real pods behind a ClusterIP, under a steady load from this machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from hack.cluster import images, preflight
from hack.cluster.full import FullCluster, full_cluster
from hack.cluster.processes import answers
from tests.build import raw_workload
from tests.clusters import apply, get, install_crds, install_rbac, operator_access, running_operator, wait_for
from tests.support.load import KEPT, NEW, SLOW, SLOW_KEPT, load
from tests.world import condition, here, new_namespace, patch, pod_uids, status

pytestmark = pytest.mark.timeout(300)
DIES_AT_ONCE = """
import os, runpy, signal
kernel = signal.signal
signal.signal = lambda number, _: kernel(number, lambda *_: os._exit(0))
runpy.run_path("/app/whoami.py", run_name="__main__")
"""
Body = dict[str, Any]


@dataclass(frozen=True)
class World:
    """A cluster with real pods and the operator."""

    cluster: FullCluster
    image: str


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    if problems := preflight.missing():
        pytest.skip("this machine can't run containers: " + "; ".join(problems))
    with full_cluster() as cluster:
        image = cluster.push_image(images.whoami_image(), "roadstead/whoami")
        install_crds(cluster)
        install_rbac(cluster)
        with running_operator(cluster, operator_access(cluster)):
            yield World(cluster, image)


@pytest.fixture
def namespace(world: World) -> Iterator[str]:
    with new_namespace(world.cluster) as name:
        yield name


def test_no_request_is_cut(world: World, namespace: str) -> None:
    """Two replicas roll over to new pods, then three become one. One Workload's server ends well; the other's dies of the first signal.

    A server that dies cuts the connections that clients keep, and the drain can't help it: of those only the first one's are counted.
    """
    clients = {"ends-well": (NEW, NEW, KEPT, KEPT, SLOW, SLOW, SLOW_KEPT, SLOW_KEPT), "dies": (NEW, NEW, SLOW, SLOW)}
    containers = {"ends-well": container(world.image), "dies": container(world.image, entrypoint=["/usr/bin/python3", "-c", DIES_AT_ONCE])}
    for name, one in containers.items():
        inline = {"containerGroups": [{"containers": [one]}]}
        apply(world.cluster, here(namespace, raw_workload(name, inline=inline, runtime={"replicaCount": 2})))

    def every(what: str, *, replicas: int, without: str = "") -> None:
        for name in clients:
            wait_for(lambda name=name: settled(world, namespace, name, replicas, without), f"{name}: {what}", 120)

    every("two ready pods", replicas=2)
    for name in clients:  # the node's kube-proxy hears of ready pods when the operator does, and needs a moment
        wait_for(lambda name=name: answers(f"http://{address(world, namespace, name)}/"), f"{name} to answer")
    before = pod_uids(world.cluster, namespace, "ends-well") + " " + pod_uids(world.cluster, namespace, "dies")
    with ExitStack() as running:
        counts = {name: running.enter_context(load(address(world, namespace, name), *clients[name])) for name in clients}
        for name, some in clients.items():
            kinds = {client.kind for client in some}
            wait_for(lambda name=name, kinds=kinds: set(counts[name].by) == kinds, "an answer for each kind of client", 60)
            patch(world.cluster, "rsw", name, namespace, restartedAt="2026-11-25T12:00:00Z")
        every("the new pods", replicas=2, without=before)
        for replicas in (3, 1):
            for name in clients:
                patch(world.cluster, "rsw", name, namespace, runtime={"replicaCount": replicas})
            every(f"{replicas} pods", replicas=replicas)
    for name, seen in counts.items():
        assert seen.failed == [], f"{name}: {seen}"
        for kind, hosts in seen.by.items():
            assert len(hosts) >= 2, f"{name}: {kind} was only answered by {hosts}"


def container(image: str, **more: Any) -> Body:
    """A whoami that is ready as soon as it answers."""
    probe = {"path": "/readyz", "initialDelaySeconds": 0, "periodSeconds": 1, "timeoutSeconds": 5}
    return {"imageUri": image, "resourceRequest": {"cpu": 0.1, "memory": "64Mi"}, "readinessProbe": probe, **more}


def address(world: World, namespace: str, name: str) -> str:
    """Where the Workload's Service is reached from this machine."""
    spec = (get(world.cluster, "service", name, namespace) or {})["spec"]
    return f"{spec['clusterIP']}:{spec['ports'][0]['port']}"


def settled(world: World, namespace: str, name: str, replicas: int, without: str = "") -> bool:
    """Whether just so many pods are left, all ready and of the present version, and none of the former ones."""
    seen, pods = status(world.cluster, namespace, name), pod_uids(world.cluster, namespace, name).split()
    rolled_out = condition(seen, "Progressing").get("reason") == "RolledOut"
    return rolled_out and seen.get("readyReplicas") == replicas == len(pods) and set(pods).isdisjoint(without.split())
