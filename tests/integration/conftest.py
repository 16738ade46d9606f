"""The operator as a process, with exactly the chart's rights, for the tests of one module."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from hack.cluster.control import ControlCluster
from tests.clusters import running_operator


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
