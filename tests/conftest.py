"""Clusters for tests. A control tier (a real API server, no kubelet) is shared by a session; a full tier has real pods."""

from __future__ import annotations

import os
import signal
import uuid
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from hack.cluster.api import Cluster
from hack.cluster.control import ControlCluster, control_cluster
from tests.clusters import add_fake_nodes, install_crds, install_rbac, operator_access, wait_admission

settings.register_profile("roadstead", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.load_profile("roadstead")
# A shell has what it starts in the background ignore Ctrl-C, and so would the commands that tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)
os.environ.setdefault("PYTHONFAULTHANDLER", "1")  # should a process that tests start die in an extension, it says where
LOG_LINES = 40
LOGS = ("*.log", "gateway-*/*.log")
LONG = os.environ.get("ROADSTEAD_LONG") == "1"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """`make test` samples the matrices marked long; `make test-long` runs them whole. Says so instead of passing silently."""
    if not LONG:
        for item in items:
            if item.get_closest_marker("long"):
                item.add_marker(pytest.mark.skip(reason="part of a matrix that make test-long runs whole"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that fails tells the last words of the programs under test; their logs go with the cluster."""
    report = yield
    if report.failed:
        for log in _newest_logs(getattr(item, "funcargs", {}).values()):
            report.sections.append((f"the end of {log.name}", "\n".join(log.read_text(errors="replace").splitlines()[-LOG_LINES:])))
    return report


def _newest_logs(fixtures: Iterable[object]) -> list[Path]:
    """Of our programs in a test's clusters, the three written last."""
    clusters = [cluster for fixture in fixtures for cluster in (fixture, getattr(fixture, "cluster", None))]
    folders = {cluster.state for cluster in clusters if isinstance(cluster, Cluster)}
    logs = {log: log.stat().st_mtime for folder in folders for pattern in LOGS for log in folder.glob(pattern)}
    return sorted(logs, key=logs.__getitem__)[-3:]


@pytest.fixture(scope="session")
def cluster() -> Iterator[ControlCluster]:
    """A control tier with our CRDs, the chart's RBAC, and kwok in the kubelet's place on two fake nodes."""
    with control_cluster(kwok=True) as running:
        install_crds(running)
        install_rbac(running)
        add_fake_nodes(running, 2)
        wait_admission(running)
        yield running


@pytest.fixture(scope="session")
def operator_kubeconfig(cluster: ControlCluster) -> Path:
    return operator_access(cluster)


@pytest.fixture
def namespace(cluster: ControlCluster) -> Iterator[str]:
    """A namespace of the test's own."""
    name = f"t{uuid.uuid4().hex[:8]}"
    cluster.kubectl("create", "namespace", name)
    yield name
    cluster.kubectl("delete", "namespace", name, "--wait=false")
