"""An operator that is started before anything that it needs is there: it waits, says for what, and goes on by itself."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hack.cluster.control import ControlCluster, control_cluster
from tests.build import raw_artifact, raw_workload
from tests.clusters import NAMESPACE, apply, get, install_crds, install_rbac, wait_admission, wait_for
from tests.support.replicas import QUICK_LEASE, replica
from tests.world import here, status

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def bare() -> Iterator[ControlCluster]:
    """A control plane that knows nothing of us."""
    with control_cluster() as running:
        yield running


def test_it_waits_for_the_api_server_its_rights_and_its_kinds(bare: ControlCluster) -> None:
    kubeconfig = bare.client_kubeconfig(f"system:serviceaccount:{NAMESPACE}:roadstead-operator")
    bare.stop_component("kube-apiserver")
    with replica(bare, kubeconfig, "given up", ready=False, **QUICK_LEASE) as process:
        said(bare, "Waiting for the API server: Unreachable")
    assert process.returncode == 0
    with replica(bare, kubeconfig, "early", ready=False, **QUICK_LEASE) as process:
        said(bare, "Waiting for the API server: Unreachable")
        bare.start_component("kube-apiserver")
        said(bare, "Waiting for the API server: 403 Forbidden")
        install_rbac(bare, kinds=False)
        said(bare, "Waiting for the custom resource definitions of roadstead.dev")
        install_crds(bare)
        said(bare, "Caches are filled")
        apply(bare, here("default", raw_artifact()), here("default", raw_workload()))
        wait_for(lambda: get(bare, "deployment.apps", "chat", "default"), "the Deployment", 60)
        wait_for(lambda: status(bare, "default").get("state"), "the verdict")
        assert process.poll() is None
    assert process.returncode == 0


@pytest.mark.long
def test_its_patience_is_longer_than_kopfs(bare: ControlCluster) -> None:
    """kopf gives an API server that it can't reach 54 s, and ends."""
    kubeconfig = bare.client_kubeconfig(f"system:serviceaccount:{NAMESPACE}:roadstead-operator")
    bare.stop_component("kube-apiserver")
    with replica(bare, kubeconfig, "patient", ready=False, **QUICK_LEASE) as process:
        time.sleep(75)
        assert process.poll() is None


def test_it_waits_for_its_kinds_also_when_they_go_and_come_back(bare: ControlCluster) -> None:
    install_crds(bare)
    install_rbac(bare)
    kubeconfig = bare.client_kubeconfig(f"system:serviceaccount:{NAMESPACE}:roadstead-operator")
    with replica(bare, kubeconfig, "patient", **QUICK_LEASE) as process:
        apply(bare, here("default", raw_artifact()), here("default", raw_workload()))
        wait_for(lambda: get(bare, "deployment.apps", "chat", "default"), "the Deployment")
        bare.kubectl("delete", "crd", *(f"{plural}.roadstead.dev" for plural in ("artifacts", "workloads", "deployments", "platforms")))
        wait_for(lambda: get(bare, "deployment.apps", "chat", "default") is None, "the children's end", 90)
        install_crds(bare)
        apply(bare, here("default", raw_artifact()), here("default", raw_workload("new")))
        wait_for(lambda: get(bare, "deployment.apps", "new", "default"), "the Deployment", 90)
        assert process.poll() is None


@pytest.mark.long
def test_watches_that_broke_off_are_started_again(bare: ControlCluster) -> None:
    """kopf's end, here by rights that were away for longer than it bears, isn't the operator's."""
    install_crds(bare)
    install_rbac(bare)
    kubeconfig = bare.client_kubeconfig(f"system:serviceaccount:{NAMESPACE}:roadstead-operator")
    with replica(bare, kubeconfig, "patient", **QUICK_LEASE) as process:
        bare.kubectl("delete", "clusterrole", "roadstead-operator")
        bare.restart_apiserver()
        said(bare, "The watches of our own kinds broke off and are started again", 180)
        install_rbac(bare)
        wait_admission(bare)
        apply(bare, here("default", raw_artifact()), here("default", raw_workload()))
        wait_for(lambda: get(bare, "deployment.apps", "chat", "default"), "the Deployment", 90)
        assert process.poll() is None
    assert process.returncode == 0


def said(cluster: ControlCluster, words: str, seconds: float = 60) -> None:
    """Wait until the operator that was started last has said it."""
    log = max(Path(cluster.state).glob("operator-*.log"), key=lambda path: path.stat().st_ctime_ns)
    wait_for(lambda: words in log.read_text(), f"{words!r} in its log", seconds)
