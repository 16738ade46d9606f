"""The operator, the REST API and the gateway as processes, with exactly the rights they need, for the tests of one module."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml

from hack.cluster.control import ControlCluster
from tests.clusters import running_operator
from tests.support.gateways import Replica, gateway_access, running_gateway
from tests.support.place import Place
from tests.support.pods import Pod, pod
from tests.support.rest import Served, account, api_access, client_of, running_api
from tests.world import new_namespace


@pytest.fixture(scope="module")
def operator(cluster: ControlCluster, operator_kubeconfig: Path) -> Iterator[subprocess.Popen[bytes]]:
    with running_operator(cluster, operator_kubeconfig) as process:
        yield process


@pytest.fixture
def settings(cluster: ControlCluster) -> Iterator[None]:
    """Put the chart's Platform back after a test that changes it."""
    before = json.loads(cluster.kubectl("get", "rsp", "default", "-o", "json"))
    yield
    cluster.kubectl("delete", "rsp", "default", "--ignore-not-found")
    body = {key: before[key] for key in ("apiVersion", "kind", "spec")} | {"metadata": {"name": "default"}}
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", input=yaml.safe_dump(body))


@pytest.fixture(scope="module")
def api_kubeconfig(cluster: ControlCluster) -> Path:
    return api_access(cluster)


@pytest.fixture(scope="module")
def api(cluster: ControlCluster, api_kubeconfig: Path) -> Iterator[Served]:
    with running_api(cluster, api_kubeconfig) as served:
        yield served


@pytest.fixture
def client(cluster: ControlCluster, api: Served, namespace: str) -> Iterator[httpx.Client]:
    token = account(cluster, namespace, "editor", "roadstead-edit")
    with client_of(api, token) as http:
        yield http


@pytest.fixture(scope="module")
def gateway(cluster: ControlCluster) -> Iterator[Replica]:
    with running_gateway(cluster, gateway_access(cluster)) as running:
        yield running


@pytest.fixture(scope="module")
def place(cluster: ControlCluster, gateway: Replica) -> Iterator[Place]:
    with new_namespace(cluster) as namespace:
        yield Place(cluster, namespace, gateway)


@pytest.fixture(scope="module")
def served() -> Iterator[Pod]:
    """A pod for all tests of a module."""
    with pod() as made:
        yield made


@pytest.fixture(scope="module")
def name(place: Place, served: Pod) -> str:
    """A Workload that answers: that pod does."""
    return place.serving(served)


@pytest.fixture(scope="module")
def asleep(place: Place) -> str:
    """A Workload without pods."""
    return place.workload()
