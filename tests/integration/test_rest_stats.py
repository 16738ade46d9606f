"""Statistics of a deployment: what went through two real gateways, as the REST API tells it. The pod is a server of ours."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from hack.cluster.control import ControlCluster
from tests.build import raw_workload
from tests.clusters import wait_for
from tests.support.gateways import Replica, deployed, endpoints, gateway_access, two_gateways
from tests.support.pods import pod
from tests.support.rest import Served, account, client_of, running_api, statistics_of

Body = dict[str, Any]
Gateways = tuple[Replica, Replica]
CODES = [200] * 12 + [404] * 5 + [500] * 3
SLOW = 2
"""Of the good ones."""
SLOW_SECONDS = 0.6


@pytest.fixture(scope="module")
def gateways(cluster: ControlCluster) -> Iterator[Gateways]:
    with two_gateways(cluster, gateway_access(cluster)) as running:
        yield running


@pytest.fixture(scope="module")
def counting_api(cluster: ControlCluster, api_kubeconfig: Path, gateways: Gateways) -> Iterator[Served]:
    target = "ipv4:" + ",".join(f"127.0.0.1:{one.ports['peer']}" for one in gateways)
    folder = str(cluster.state / "gateway-certificates")
    with running_api(cluster, api_kubeconfig, ROADSTEAD_GATEWAY=target, ROADSTEAD_CERTIFICATES=folder) as served:
        yield served


def test_what_went_through_the_gateways_is_told_exactly(
    cluster: ControlCluster, namespace: str, gateways: Gateways, counting_api: Served
) -> None:
    id, other = deployed(cluster, namespace, "front"), deployed(cluster, namespace, "other")
    caller, reader, stranger = (
        account(cluster, namespace, "caller", "roadstead-invoke"),
        account(cluster, namespace, "reader", "roadstead-view"),
        account(cluster, namespace, "stranger"),
    )
    with pod() as served, client_of(counting_api, reader) as client:
        endpoints(cluster, namespace, raw_workload()["metadata"]["name"], served.port)

        def stats(of: str = id, **query: str) -> Body:
            return statistics_of(client, of, **query)

        wait_for(lambda: stats()["metrics"]["totalRequests"] == 0, "nothing to be known to have come")
        fresh = stats()["metrics"]
        assert (fresh["lastRequestAt"], fresh["serverErrorRate"], fresh["responseTime"]) == (None, None, None)

        time.sleep(1.5)  # Envoy counts a cluster from the first load report after it was made
        before = datetime.now(UTC)
        for number, code in enumerate(CODES):
            url = f"{gateways[number % 2].url}/api/v2/endpoints/deployments/{id}/status"
            query = {"code": code, "seconds": SLOW_SECONDS if number < SLOW else 0}
            assert httpx.get(url, params=query, headers={"Authorization": f"Bearer {caller}"}, timeout=30).status_code == code
        after = datetime.now(UTC)
        assert httpx.get(url).status_code == 401, "is refused, and not counted"

        def all_there() -> bool:  # refusals and latencies are looked up every ten seconds, and told to the other gateway a moment later
            several = [stats(slowRequestsThreshold="0")["metrics"] for _ in range(4)]
            return all((said["totalRequests"], said["userErrors"], said["slowRequests"]) == (20, 5, 20) for said in several)

        wait_for(all_there, "all to be counted", 60)
        for _ in range(4):  # either gateway answers
            said = stats()
            metrics, period = said["metrics"], said["period"]
            start, end = datetime.fromisoformat(period["start"]), datetime.fromisoformat(period["end"])
            assert metrics["totalRequests"] == 20
            assert (metrics["userErrors"], metrics["serverErrors"], metrics["slowRequests"]) == (5, 3, SLOW)
            assert (metrics["userErrorRate"], metrics["serverErrorRate"], metrics["totalErrorRate"]) == (0.25, 0.15, 0.4)
            assert metrics["requestsPerMinute"] == pytest.approx(20 / ((end - start).total_seconds() / 60))
            assert metrics["concurrentRequests"] == 0
            assert 0 < metrics["responseTime"] < 200
            last = datetime.fromisoformat(metrics["lastRequestAt"])
            assert before < last
            assert (last - after).total_seconds() < 2, "told within the second between two reports, and some more"
        assert 500 <= stats(responseTimeQuantile="1")["metrics"]["responseTime"] <= 1000, "the bucket of the slow ones"
        assert stats(slowRequestsThreshold="1000")["metrics"]["slowRequests"] == 0

        untouched = stats(other)["metrics"]
        assert (untouched["totalRequests"], untouched["lastRequestAt"]) == (0, None)

        long_ago = stats(startTime="2026-01-01T00:00:00Z", endTime="2026-01-02T00:00:00Z")
        assert long_ago["period"]["end"] == "2026-01-02T00:00:00.000000+00:00"
        known = {name for name, value in long_ago["metrics"].items() if value is not None}
        assert known == {"concurrentRequests", "lastRequestAt"}, "nobody counted then"
        assert stats(startTime="2026-01-01T00:00:00Z")["metrics"]["totalRequests"] == 20
    with client_of(counting_api, stranger) as client:
        assert client.get(f"/console/deployments/{id}/stats/").status_code == 404


def test_without_a_gateway_nothing_is_known_and_all_else_works(
    cluster: ControlCluster, namespace: str, gateways: Gateways, counting_api: Served
) -> None:
    id = deployed(cluster, namespace, "front")

    with client_of(counting_api, account(cluster, namespace, "reader", "roadstead-view")) as client:

        def said() -> Body:
            answer = client.get(f"/console/deployments/{id}/stats/")
            assert answer.status_code == 200, answer.text
            return dict(answer.json()["metrics"])

        wait_for(lambda: said()["totalRequests"] == 0, "the gateways to answer")
        gateways[0].stop()
        assert said()["totalRequests"] == 0, "one answers for both"
        gateways[1].stop()
        assert set(said().values()) == {None}
        for one in gateways:
            one.start_process()
            one.start_envoy()
        wait_for(lambda: said()["concurrentRequests"] == 0, "them to be back", 60)
