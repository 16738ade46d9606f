"""A cluster for the tests of our CRDs alone: without the chart, whose Platform would be merged with theirs."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from hack.cluster.control import ControlCluster, control_cluster
from roadstead.api.crd import DEFINITIONS
from tests.clusters import install_crds, wait_for
from tests.integration.crd_cases.server import Server


@pytest.fixture(scope="session")
def crd_cluster() -> Iterator[ControlCluster]:
    """A control tier with our CRDs and nothing else of ours."""
    with control_cluster(audit=False) as running:
        install_crds(running)
        # Discovery and OpenAPI, which kubectl reads, follow a moment after the CRDs are established.
        for kind in DEFINITIONS:
            wait_for(lambda plural=kind.plural: running.kubectl("explain", f"{plural}.roadstead.dev.spec", check=False), "kubectl explain")  # type: ignore[misc]
        yield running


@pytest.fixture(scope="module")
def server(crd_cluster: ControlCluster) -> Iterator[Server]:
    """A connection to it, in a namespace of the module's own."""
    namespace = f"crd-{uuid.uuid4().hex[:8]}"
    crd_cluster.kubectl("create", "namespace", namespace)
    connection = Server(crd_cluster.kubeconfig, namespace)
    yield connection
    connection.close()
