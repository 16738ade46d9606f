"""The operator as a process, with exactly the chart's rights, for the tests of one module."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from hack.cluster.control import ControlCluster
from tests.clusters import running_operator


@pytest.fixture(scope="module")
def operator(cluster: ControlCluster, operator_kubeconfig: Path) -> Iterator[subprocess.Popen[bytes]]:
    with running_operator(cluster, operator_kubeconfig) as process:
        yield process
