"""Statistics for longer than the gateway remembers: two real gateways, a real Prometheus that scrapes them, and the API's own process."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from hack.cluster import prometheus
from hack.cluster.console import ClusterError
from hack.cluster.control import ControlCluster, free_ports
from hack.cluster.processes import Command, Running
from tests.build import raw_workload
from tests.clusters import wait_for
from tests.support.gateways import Replica, deployed, endpoints, gateway_access, two_gateways
from tests.support.pods import pod
from tests.support.rest import Served, account, client_of, running_api, statistics_of

Body = dict[str, Any]
Gateways = tuple[Replica, Replica]
FIRST = [200] * 12 + [404] * 5 + [500] * 3
SLOW = 2
"""Of the good ones."""
SLOW_SECONDS = 0.6
NEXT = [200] * 3 + [404] * 2
COUNTED = ("totalRequests", "userErrors", "serverErrors", "slowRequests")


@pytest.fixture(scope="module")
def gateways(cluster: ControlCluster) -> Iterator[Gateways]:
    with two_gateways(cluster, gateway_access(cluster)) as running:
        yield running


@dataclass
class Scraping:
    """A Prometheus that can be started anew with what it knew."""

    folder: Path
    port: int
    command: Command
    running: Running

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def seen(self, id: str) -> tuple[int, ...]:
        """4xx, 5xx and timed requests of a deployment as processes that run have told them, each once."""
        once = 'sum by (class) (max by (counter, class) ({name}{{id="{id}"}}))'
        names = ("roadstead_gateway_endpoint_errors_total", "roadstead_gateway_endpoint_request_seconds_count")
        series = " or ".join(once.format(name=name, id=id) for name in names)
        found = httpx.get(f"{self.url}/api/v1/query", params={"query": series}, timeout=30).json()["data"]["result"]
        value = {str(sample["metric"].get("class", "timed")): int(sample["value"][1]) for sample in found}
        return tuple(value.get(name, 0) for name in ("4xx", "5xx", "timed"))

    def halt(self) -> None:
        """It takes connections, and says nothing."""
        self.running.process.send_signal(signal.SIGSTOP)

    def stop(self) -> None:
        self.running.process.send_signal(signal.SIGCONT)
        self.running.stop()

    def start(self) -> None:
        self.running = prometheus.started(self.command, self.folder, self.port)


@pytest.fixture(scope="module")
def scraping(gateways: Gateways, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scraping]:
    folder, port = tmp_path_factory.mktemp("prometheus"), free_ports(1)[0]
    targets = [f"127.0.0.1:{one.ports['metrics']}" for one in gateways]
    try:
        # Twice, as two that stand in for each other would: nothing may be counted twice.
        command = prometheus.command(folder, port, targets, "/metrics/endpoints", jobs=("one", "other"), labels={"cluster": "here"})
    except ClusterError as error:
        pytest.skip(str(error))
    one = Scraping(folder, port, command, prometheus.started(command, folder, port))
    try:
        yield one
    finally:
        one.stop()


@pytest.fixture(scope="module")
def counting_api(cluster: ControlCluster, api_kubeconfig: Path, gateways: Gateways, scraping: Scraping) -> Iterator[Served]:
    settings = {
        "ROADSTEAD_GATEWAY": "ipv4:" + ",".join(f"127.0.0.1:{one.ports['peer']}" for one in gateways),
        "ROADSTEAD_CERTIFICATES": str(cluster.state / "gateway-certificates"),
        "ROADSTEAD_PROMETHEUS": scraping.url,
        "ROADSTEAD_PROMETHEUS_LABELS": "cluster=here",
    }
    with running_api(cluster, api_kubeconfig, **settings) as served:
        yield served


def call(gateways: Gateways, id: str, token: str, codes: Sequence[int], slow: int = 0) -> None:
    """One request for each code, at the two in turn."""
    for number, code in enumerate(codes):
        url = f"{gateways[number % 2].url}/api/v2/endpoints/deployments/{id}/status"
        query = {"code": code, "seconds": SLOW_SECONDS if number < slow else 0}
        assert httpx.get(url, params=query, headers={"Authorization": f"Bearer {token}"}, timeout=30).status_code == code


def counted(said: Body) -> tuple[int | None, ...]:
    return tuple(said["metrics"][name] for name in COUNTED)


def test_what_the_gateway_does_not_know_any_more_prometheus_tells(
    cluster: ControlCluster, namespace: str, gateways: Gateways, scraping: Scraping, counting_api: Served
) -> None:
    id, other = deployed(cluster, namespace, "front"), deployed(cluster, namespace, "other")
    caller, reader = account(cluster, namespace, "caller", "roadstead-invoke"), account(cluster, namespace, "reader", "roadstead-view")
    with pod() as served, client_of(counting_api, reader) as client:
        endpoints(cluster, namespace, raw_workload()["metadata"]["name"], served.port)

        def stats(of: str = id, **query: str) -> Body:
            return statistics_of(client, of, **query)

        def recently() -> dict[str, str]:
            return {"startTime": (datetime.now(UTC) - timedelta(minutes=10)).isoformat()}

        wait_for(lambda: stats()["metrics"]["totalRequests"] == 0, "the gateways to answer")
        # Envoy counts a cluster from the first load report after it was made; and since when Prometheus looks is known to five seconds.
        time.sleep(8)
        began = datetime.now(UTC)
        call(gateways, id, caller, FIRST, SLOW)
        expected = (20, 5, 3, SLOW)
        wait_for(lambda: counted(stats(**recently())) == expected, "the gateways to have counted all", 60)

        # The gateways go, and what they knew with them: Prometheus alone is left.
        wait_for(lambda: scraping.seen(id) == (5, 3, 20), "Prometheus to have seen all", 60)
        for one in gateways:
            one.stop()
        wait_for(lambda: counted(stats(**recently())) == expected, "Prometheus to tell all")
        alone = stats(**recently())["metrics"]
        assert alone["concurrentRequests"] is None
        assert alone["userErrorRate"] == 0.25
        assert 0 < alone["responseTime"] < 200
        last = datetime.fromisoformat(alone["lastRequestAt"])
        assert timedelta(0) < last - began < timedelta(seconds=20 + 2 * SLOW_SECONDS)
        assert counted(stats(other, **recently())) == (0, 0, 0, 0)
        assert stats(other, **recently())["metrics"]["lastRequestAt"] is None
        assert counted(stats(startTime="2026-01-01T00:00:00Z", endTime="2026-01-02T00:00:00Z")) == (None,) * 4

        # They come back, and know nothing of what was. From now on it is theirs to tell; what was before, Prometheus's.
        for one in gateways:
            one.start_process()
            one.start_envoy()
        for one in gateways:
            one.wait_ready()
        wait_for(lambda: stats()["metrics"]["concurrentRequests"] == 0, "the gateways to answer", 60)
        time.sleep(1.5)
        call(gateways, id, caller, NEXT)
        both = (25, 7, 3, SLOW)
        wait_for(lambda: counted(stats(**recently())) == both, "the two to be added", 60)
        whole = stats(**recently())
        assert whole["metrics"]["concurrentRequests"] == 0
        assert datetime.fromisoformat(whole["metrics"]["lastRequestAt"]) > last
        assert datetime.fromisoformat(whole["period"]["start"]) < began

        wait_for(lambda: scraping.seen(id) == (2, 0, 5), "Prometheus to have seen all", 60)
        # Prometheus is halted, and then away: what the gateways know is told all the same, and nothing is made up.
        scraping.halt()
        halted = stats(**recently())
        scraping.stop()
        away = [stats(**recently()) for _ in range(3)]
        for said in (halted, *away):
            assert counted(said) == (5, 2, 0, 0)
            assert datetime.fromisoformat(said["period"]["start"]) > began
        words = [line for line in counting_api.log.read_text().splitlines() if "Figures of Prometheus" in line]
        assert 1 <= len(words) <= 2, "said once for each thing that is wrong"
        for one in gateways:
            one.stop()
        assert set(stats(**recently())["metrics"].values()) == {None}
        for one in gateways:
            one.start_process()
            one.start_envoy()

        # It is back with all it knew.
        scraping.start()
        wait_for(lambda: (counted(stats(**recently()))[0] or 0) >= 20, "Prometheus to tell again", 60)
        assert counted(stats(**recently())) == both
