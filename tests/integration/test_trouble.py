"""What an API server, a network and their credentials do on a bad day, between the operator and a real API server.

Whatever it was, afterwards nothing has been lost, and the log has said it in a few lines. The operator runs behind a proxy of the tests'
own; its watches of children (ours) and of the custom resources (kopf's) meet the same troubles.
"""

from __future__ import annotations

import itertools
import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiohttp import web

from hack.cluster.certificates import Authority
from hack.cluster.console import ClusterError
from hack.cluster.control import ControlCluster
from tests.build import raw_artifact, raw_workload
from tests.clusters import NAMESPACE, apply, get, running_operator, wait_for
from tests.support.etcd import compact
from tests.support.proxy import Harm, Proxy, late, proxied, refusing
from tests.world import condition, here, patch, quiet, status

pytestmark = pytest.mark.timeout(300)
FEW_LINES = 60
"""Some twenty watches and lists may each say that they lost sight and see again, and the Lease too."""
ACCOUNT = "roadstead-operator"
SWEEP = "3"


@dataclass
class Troubled:
    """The operator behind the proxy, and what it logs."""

    cluster: ControlCluster
    proxy: Proxy
    process: subprocess.Popen[bytes]

    def lines(self) -> list[str]:
        """Everything logged so far, by all operators of this cluster."""
        return [line for log in sorted(self.cluster.state.glob("operator-*.log")) for line in log.read_text().splitlines()]

    def still_there(self) -> bool:
        return self.process.poll() is None


@pytest.fixture(scope="class")
def troubled(cluster: ControlCluster, operator_kubeconfig: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Troubled]:
    """Gone after each class, so that the operators of the tests that start their own lead."""
    with (
        proxied(cluster, operator_kubeconfig, tmp_path_factory.mktemp("proxy")) as proxy,
        running_operator(cluster, proxy.kubeconfig(), ROADSTEAD_SWEEP_SECONDS=SWEEP) as process,
    ):
        yield Troubled(cluster, proxy, process)


@pytest.fixture
def few_lines(troubled: Troubled) -> Iterator[None]:
    """Fails when the operator has ended or has logged too much."""
    before = len(troubled.lines())
    yield
    assert troubled.still_there()
    said = troubled.lines()[before:]
    assert len(said) < FEW_LINES, "\n".join(said)


def anything(request: web.Request) -> bool:
    return "/leases" not in request.path


def writing(request: web.Request) -> bool:
    return request.method != "GET" and anything(request)


def declare(cluster: ControlCluster, namespace: str, name: str = "chat") -> None:
    apply(cluster, here(namespace, raw_artifact(status="registered")), here(namespace, raw_workload(name)))


def running(cluster: ControlCluster, namespace: str, name: str = "chat", seconds: float = 90) -> None:
    wait_for(lambda: status(cluster, namespace, name).get("state") == "running", f"{name} to run", seconds)


def settle(cluster: ControlCluster, namespace: str) -> None:
    wait_for(lambda: not condition(status(cluster, namespace), "Reconciling"), "the rollout's end", 60)
    quiet(cluster)


@pytest.mark.usefixtures("few_lines")
class TestRefusals:
    def test_retry_after_is_waited_for(self, cluster: ControlCluster, troubled: Troubled, namespace: str) -> None:
        mine = f"/namespaces/{namespace}/deployments/chat"
        with troubled.proxy.fault(
            lambda request: request.method == "PATCH" and request.path.endswith(mine), refusing(429, retry_after=2), times=2
        ):
            declare(cluster, namespace)
            running(cluster, namespace)
        tries = [seen for seen in troubled.proxy.seen if seen.method == "PATCH" and seen.path.endswith(mine)][:3]
        assert [seen.status for seen in tries[:2]] == [429, 429]
        assert all(later.at - sooner.at >= 2 for sooner, later in itertools.pairwise(tries))

    @pytest.mark.parametrize(
        "code",
        [
            pytest.param(500, marks=pytest.mark.long),
            pytest.param(502, marks=pytest.mark.long),
            503,
            pytest.param(429, marks=pytest.mark.long),
        ],
    )
    def test_writes_that_fail_are_repeated(self, cluster: ControlCluster, troubled: Troubled, namespace: str, code: int) -> None:
        with troubled.proxy.fault(writing, refusing(code)) as fault:
            declare(cluster, namespace)
            wait_for(lambda: fault.met >= 3, "three tries", 60)
            time.sleep(4)
            assert fault.met < 60  # backs off
        running(cluster, namespace)

    def test_slow_answers_are_waited_for(self, cluster: ControlCluster, troubled: Troubled, namespace: str) -> None:
        with troubled.proxy.fault(writing, late(2)):
            declare(cluster, namespace)
            running(cluster, namespace)


@pytest.mark.usefixtures("few_lines")
class TestWatches:
    @pytest.mark.parametrize("harm", ["gone", *(pytest.param(harm, marks=pytest.mark.long) for harm in ("drop", "truncate", "hush"))])
    def test_what_happens_meanwhile_is_noticed(self, cluster: ControlCluster, troubled: Troubled, namespace: str, harm: Harm) -> None:
        """While no watch can come back, a child and a Workload are deleted, one is edited and one is created."""
        for name in ("chat", "going"):
            declare(cluster, namespace, name)
        running(cluster, namespace)
        running(cluster, namespace, "going")
        settle(cluster, namespace)

        def reading(request: web.Request) -> bool:
            return harm != "hush" and request.method == "GET" and request.path.count("/") < 5

        with troubled.proxy.fault(reading, refusing(503)):
            assert troubled.proxy.harm(harm) >= 10
            cluster.kubectl("delete", "service/chat", "-n", namespace)
            cluster.kubectl("delete", "rsw", "going", "-n", namespace)
            cluster.kubectl("set", "env", "deployment.apps/chat", "-n", namespace, "ADDED=1")
            declare(cluster, namespace, "coming")
            time.sleep(2)
        running(cluster, namespace, "coming", 150)
        wait_for(lambda: get(cluster, "service", "chat", namespace), "the service", 150)
        wait_for(lambda: "ADDED" not in json.dumps(get(cluster, "deployment.apps", "chat", namespace)), "the repair", 150)
        wait_for(lambda: get(cluster, "deployment.apps", "going", namespace) is None, "the collector", 60)
        quiet(cluster)
        assert get(cluster, "deployment.apps", "going", namespace) is None

    def test_nobody_listens_for_a_while(self, cluster: ControlCluster, troubled: Troubled, namespace: str) -> None:
        declare(cluster, namespace)
        running(cluster, namespace)
        troubled.proxy.close()
        try:
            patch(cluster, "workloads.roadstead.dev", "chat", namespace, runtime={"replicaCount": 2})
            cluster.kubectl("delete", "deployment.apps/chat", "-n", namespace)
            time.sleep(8)
        finally:
            troubled.proxy.open()
        wait_for(lambda: status(cluster, namespace).get("readyReplicas") == 2, "two replicas", 120)


def test_a_list_that_expires_between_two_pages(cluster: ControlCluster, operator_kubeconfig: Path, namespace: str, tmp_path: Path) -> None:
    """etcd is compacted while the second page is on its way. The API server has a snapshot in its cache and may get by; the proxy makes
    sure that it doesn't, five times."""
    declare(cluster, namespace)
    for number in range(3):
        apply(cluster, here(namespace, raw_workload(f"w{number}", suspend=True)))
    expired = refusing(410, reason="Expired")

    async def compacting() -> web.StreamResponse | None:
        compact(cluster)
        return await expired()

    with ExitStack() as stack:
        proxy = stack.enter_context(proxied(cluster, operator_kubeconfig, tmp_path))
        proxy.page_limit = 1
        fault = stack.enter_context(proxy.fault(lambda request: "continue=" in request.query_string, compacting, times=5))
        process = stack.enter_context(running_operator(cluster, proxy.kubeconfig()))
        running(cluster, namespace)
        wait_for(lambda: status(cluster, namespace, "w2").get("state") == "stopped", "the others", 60)
        assert fault.met == 5
        assert process.poll() is None
        assert any(seen.write for seen in proxy.seen)


class TestCredentials:
    def test_an_expired_token_is_read_again(
        self, cluster: ControlCluster, operator_kubeconfig: Path, namespace: str, tmp_path: Path
    ) -> None:
        """Tokens bound to a Secret: once that is gone, the API server itself refuses them."""

        def token(number: int) -> str:
            cluster.kubectl("create", "secret", "generic", f"bound-{number}", "-n", NAMESPACE, check=False)
            bound = ("--bound-object-kind=Secret", f"--bound-object-name=bound-{number}")
            return cluster.kubectl("create", "token", ACCOUNT, "-n", NAMESPACE, *bound)

        file = tmp_path / "token"
        file.write_text(token(1))
        with (
            proxied(cluster, operator_kubeconfig, tmp_path) as proxy,
            running_operator(cluster, proxy.kubeconfig(token_file=file)) as process,
        ):
            declare(cluster, namespace)
            running(cluster, namespace)
            settle(cluster, namespace)
            former = file.read_text()
            file.write_text(token(2))
            cluster.kubectl("delete", "secret", "bound-1", "-n", NAMESPACE)
            wait_for(lambda: refused(cluster, former), "the former token's end", 60, pause=0.5)
            proxy.harm("drop")
            patch(cluster, "workloads.roadstead.dev", "chat", namespace, runtime={"replicaCount": 2})
            wait_for(lambda: process.poll() is not None or status(cluster, namespace).get("readyReplicas") == 2, "two replicas", 50)
            assert process.poll() is None
            assert any(seen.status == 401 for seen in proxy.seen)
            assert any(seen.write for seen in proxy.seen)

    def test_another_authority(self, cluster: ControlCluster, operator_kubeconfig: Path, namespace: str, tmp_path: Path) -> None:
        """The bundle's file is exchanged first, then the server's certificate, as the kubelet and an administrator would."""
        bundle = tmp_path / "ca.crt"
        with ExitStack() as stack:
            proxy = stack.enter_context(proxied(cluster, operator_kubeconfig, tmp_path))
            bundle.write_bytes(proxy.authority.certificate.read_bytes())
            process = stack.enter_context(running_operator(cluster, proxy.kubeconfig(ca_file=bundle)))
            declare(cluster, namespace)
            running(cluster, namespace)
            other = Authority.create(tmp_path / "other", "another-ca")
            bundle.write_bytes(other.certificate.read_bytes())
            proxy.rotate(other)
            patch(cluster, "workloads.roadstead.dev", "chat", namespace, runtime={"replicaCount": 2})
            wait_for(lambda: process.poll() is not None or status(cluster, namespace).get("readyReplicas") == 2, "two replicas", 50)
            assert process.poll() is None
            assert any(seen.write for seen in proxy.seen)


def refused(cluster: ControlCluster, token: str) -> bool:
    try:
        cluster.kubectl(
            "--kubeconfig=/dev/null",
            f"--server={cluster.url}",
            f"--certificate-authority={cluster.ca_file}",
            f"--token={token}",
            "get",
            "--raw",
            "/api",
        )
    except ClusterError:
        return True
    return False
