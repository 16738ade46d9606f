"""Two gateway replicas under a constant load, of which parts go away: no warm request fails. Pods are servers of this machine."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from hack.cluster.control import ControlCluster, free_ports
from hack.cluster.processes import answers
from roadstead.api.identity import object_id
from tests.build import raw_artifact, raw_workload
from tests.clusters import ROOT, apply, wait_admission, wait_for
from tests.support.callers import calling
from tests.support.gateways import Replica, endpoints, gateway_access, own_address, two_gateways
from tests.support.rest import account
from tests.world import here

SETTLE_SECONDS = 4.0
Gateways = tuple[Replica, Replica]


@pytest.fixture(scope="module")
def gateways(cluster: ControlCluster) -> Iterator[Gateways]:
    with two_gateways(cluster, gateway_access(cluster), ROADSTEAD_DRAIN_SECONDS="2") as running:
        yield running


@pytest.fixture(scope="module")
def pods() -> Iterator[list[int]]:
    """Two of examples/whoami, by port."""
    ports = free_ports(2)
    with ExitStack() as stack:
        for port in ports:
            command = [sys.executable, str(ROOT / "examples" / "whoami" / "whoami.py")]
            process = subprocess.Popen(command, env={"PORT": str(port)}, stderr=subprocess.DEVNULL)
            stack.callback(process.wait)
            stack.callback(process.terminate)
            wait_for(lambda port=port: answers(f"http://{own_address()}:{port}/"), "whoami to answer")
        yield ports


def process_killed(_: ControlCluster, gateways: Gateways) -> None:
    for one in gateways:
        one.kill_process()
        time.sleep(SETTLE_SECONDS)
        one.start_process()
        one.wait_ready()
        time.sleep(1)


def replica_goes(_: ControlCluster, gateways: Gateways) -> None:
    one = gateways[0]
    one.stop(60)
    time.sleep(1)
    one.start_process()
    one.start_envoy()
    one.wait_ready()


def server_away(cluster: ControlCluster, _: Gateways) -> None:
    cluster.stop_component("kube-apiserver")
    time.sleep(20)
    cluster.start_component("kube-apiserver")
    wait_admission(cluster)
    cluster.restart_controllers()  # the modules after this one use the same cluster


@pytest.mark.parametrize("trouble", [process_killed, replica_goes, server_away])
def test_no_warm_request_fails(
    cluster: ControlCluster, namespace: str, gateways: Gateways, pods: list[int], trouble: Callable[[ControlCluster, Gateways], None]
) -> None:
    apply(cluster, here(namespace, raw_artifact()), here(namespace, raw_workload()))
    name = raw_workload()["metadata"]["name"]
    token = account(cluster, namespace, "caller", "roadstead-invoke")
    endpoints(cluster, namespace, name, *pods)
    path = f"/api/v2/endpoints/workloads/{object_id('workloads', namespace, name)}/"
    with calling(gateways, path, token) as called:
        wait_for(lambda: called.answered > 100, "warm requests", 60)
        before = len(called.failed)
        trouble(cluster, gateways)
        time.sleep(SETTLE_SECONDS)
    assert called.failed[before:] == [], called
    assert called.answered > 500
