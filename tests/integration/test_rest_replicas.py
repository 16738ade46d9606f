"""Replicas: what one has made every other finds, an end loses no request, and nobody gets more than his share."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from hack.cluster.control import ControlCluster
from hack.cluster.processes import answers
from tests.clusters import wait_for
from tests.support.rest import Served, account, client_of, groups, running_api, wanted

Body = dict[str, Any]
WORKLOADS, ARTIFACTS = "/console/workloads/", "/registry/artifacts/"
CLIENTS = 50
SECONDS = 60.0 if os.environ.get("ROADSTEAD_LONG") == "1" else 5.0


@pytest.fixture(scope="module")
def second(cluster: ControlCluster, api_kubeconfig: Path) -> Iterator[Served]:
    with running_api(cluster, api_kubeconfig) as served:
        yield served


def test_what_one_made_the_other_finds(cluster: ControlCluster, api: Served, second: Served, namespace: str) -> None:
    """50 clients create through one replica and read through the other at once, as fast as they can."""
    bearer = account(cluster, namespace, "editor", "roadstead-edit")
    made = 0
    wrong: list[str] = []

    async def hammer(http: httpx.AsyncClient, deadline: float) -> None:
        nonlocal made
        while time.monotonic() < deadline:
            writer, reader = (api, second) if made % 2 else (second, api)
            created = await http.post(f"{writer.url}/api/v2{ARTIFACTS}", json={"name": "a", "spec": {}})
            assert created.status_code == 201, created.text
            made += 1
            found = await http.get(f"{reader.url}/api/v2{ARTIFACTS}{created.json()['id']}/")
            if found.status_code != 200:
                wrong.append(f"{found.status_code} {found.text}")

    async def all_at_once() -> None:
        limits = httpx.Limits(max_connections=2 * CLIENTS)
        async with httpx.AsyncClient(headers={"Authorization": f"Bearer {bearer}"}, timeout=60, limits=limits) as http:
            deadline = time.monotonic() + SECONDS
            await asyncio.gather(*(hammer(http, deadline) for _ in range(CLIENTS)))

    asyncio.run(all_at_once())
    assert wrong == []
    assert made > CLIENTS


def test_a_write_is_read_at_once_from_the_same_replica(client: httpx.Client) -> None:
    for number in range(20):
        id = client.post(ARTIFACTS, json={"name": "x", "spec": {}}).json()["id"]
        assert client.get(ARTIFACTS, params={"ids": id}).json()["totalCount"] == 1
        assert client.patch(f"{ARTIFACTS}{id}", json={"name": f"n{number}"}).status_code == 200
        assert client.get(f"{ARTIFACTS}{id}").json()["name"] == f"n{number}"
        assert client.delete(f"{ARTIFACTS}{id}").status_code == 204
        assert client.get(f"{ARTIFACTS}{id}").status_code == 404


def test_an_end_loses_no_request(cluster: ControlCluster, api_kubeconfig: Path, namespace: str) -> None:
    """Load balancers go on sending for a while after readiness has gone, and one request is slow enough to outlast all that."""
    bearer = account(cluster, namespace, "editor", "roadstead-edit")
    trouble: list[str] = []
    done = [0] * 8
    elsewhere = threading.Event()
    with running_api(cluster, api_kubeconfig, ROADSTEAD_DRAIN_SECONDS="4") as served:

        def ask(number: int) -> None:
            with client_of(served, bearer) as http:
                while not elsewhere.is_set():
                    try:
                        answer = http.get(WORKLOADS) if number % 2 else http.post(ARTIFACTS, json={"name": "x", "spec": {}})
                    except httpx.HTTPError as error:
                        trouble.append(repr(error))
                        return
                    if answer.status_code >= 300:
                        trouble.append(answer.text)
                    done[number] += 1

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(len(done))]
        for thread in threads:
            thread.start()
        wait_for(lambda: min(done) > 5, "requests under way")
        body = b'{"name": "slow", "spec": {}}'
        head = f"POST /api/v2{ARTIFACTS} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {bearer}\r\nContent-Length: {len(body)}\r\n\r\n"
        with connected(served) as slow:
            slow.sendall(head.encode() + body[:5])
            served.process.send_signal(signal.SIGTERM)
            wait_for(lambda: not answers(f"{served.health}/readyz"), "readiness to go")
            told = httpx.get(f"{served.url}/api/v2/version")
            assert (told.status_code, told.headers["Connection"]) == (200, "close"), "clients are asked to connect anew, elsewhere"
            before = sum(done)
            wait_for(lambda: sum(done) > before, "requests to be served still")
            elsewhere.set()
            for thread in threads:
                thread.join(60)
            wait_for(lambda: not answers(f"{served.url}/api/v2/version"), "no connection to be taken any more")
            assert served.process.poll() is None
            slow.sendall(body[5:])
            assert slow.recv(4096).startswith(b"HTTP/1.1 201 ")
        assert served.process.wait(30) == 0
    assert trouble == []


def test_not_ready_before_its_caches_are_filled(cluster: ControlCluster, tmp_path: Path, api_kubeconfig: Path) -> None:
    unreachable = tmp_path / "kubeconfig"
    unreachable.write_text(api_kubeconfig.read_text().replace(cluster.url, "https://127.0.0.1:9"))
    with running_api(cluster, unreachable, ready=False) as served:
        wait_for(lambda: answers(f"{served.health}/livez"), "the listener", 60)
        assert httpx.get(f"{served.health}/readyz").text == "caches are being filled"
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{served.url}/api/v2/version")


def test_a_caller_gets_his_share_and_the_others_theirs(cluster: ControlCluster, api_kubeconfig: Path, namespace: str) -> None:
    bearers = [account(cluster, namespace, name, "roadstead-view") for name in ("greedy", "modest")]
    limits = {"ROADSTEAD_REQUESTS_PER_SECOND": "1", "ROADSTEAD_BURST": "5"}
    with (
        running_api(cluster, api_kubeconfig, **limits) as served,
        client_of(served, bearers[0]) as greedy,
        client_of(served, bearers[1]) as modest,
    ):
        refused = [answer for answer in (greedy.get(WORKLOADS) for _ in range(20)) if answer.status_code == 429]
        assert len(refused) >= 10
        assert all(int(answer.headers["Retry-After"]) >= 1 and "asks too often" in answer.json()["detail"] for answer in refused)
        assert modest.get(WORKLOADS).status_code == 200


def test_who_guesses_ids_is_slowed_down(client: httpx.Client) -> None:
    codes = [client.get(f"{WORKLOADS}{number:024x}").status_code for number in range(120)]
    assert codes[:40] == [404] * 40
    assert 429 in codes
    id = client.post(ARTIFACTS, json={"name": "x", "spec": {}}).json()["id"]
    assert client.get(f"{ARTIFACTS}{id}").status_code == 200, "what is known is answered"


def test_bodies_and_heads_have_a_size(cluster: ControlCluster, api: Served, client: httpx.Client) -> None:
    large = b'{"name": "' + b"x" * 2_000_000 + b'"}'
    for body in (large, iter([large[:1_000_000], large[1_000_000:]])):
        try:
            answer = client.post(ARTIFACTS, content=body)
        except (httpx.WriteError, httpx.ReadError, httpx.RemoteProtocolError):
            continue  # the connection was closed on it while it was still sending
        assert answer.status_code == 413, answer.text
    assert raw(api, b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X-A: " + b"x" * 70_000 + b"\r\n\r\n").startswith(b"HTTP/1.1 431 ")
    many = b"".join(b"X-%d: x\r\n" % number for number in range(200))
    assert raw(api, b"GET / HTTP/1.1\r\nHost: a\r\n" + many + b"\r\n").startswith(b"HTTP/1.1 431 ")
    assert raw(api, b"nonsense\r\n\r\n").startswith(b"HTTP/1.1 400 ")


@pytest.mark.long
def test_a_head_has_a_time(api: Served) -> None:
    assert raw(api, b"GET / HTTP/1.1\r\nHost: a\r\n") == b""


def raw(served: Served, data: bytes) -> bytes:
    """What comes back for some bytes, until the connection is closed."""
    with connected(served) as connection:
        connection.sendall(data)
        return connection.recv(4096)


def connected(served: Served) -> socket.socket:
    """A connection on which anything can be said."""
    parts = urlsplit(served.url)
    return socket.create_connection((parts.hostname or "", parts.port or 0), timeout=60)


def test_every_answer_has_an_id_and_metrics_count_it(api: Served, client: httpx.Client) -> None:
    assert client.get(WORKLOADS, headers={"X-Request-ID": "mine-1"}).headers["X-Request-ID"] == "mine-1"
    assert len(client.get(WORKLOADS, headers={"X-Request-ID": "not mine"}).headers["X-Request-ID"]) == 32
    refused = client.post(WORKLOADS, json=wanted(extra=1), headers={"X-Request-ID": "mine-2"})
    assert refused.status_code == 422
    wait_for(lambda: any("request=mine-2" in line and "code=422" in line for line in api.log.read_text().splitlines()), "the audit line")
    text = httpx.get(f"{api.metrics}/metrics").text
    assert 'roadstead_api_requests_total{code="422",method="POST",route="/console/workloads"}' in text
    assert "roadstead_api_request_seconds_bucket" in text
    assert 'rest_client_requests_total{code="201",method="POST"}' in text
    assert client.headers["Authorization"].removeprefix("Bearer ") not in api.log.read_text()


def test_links_follow_a_trusted_proxy_alone(cluster: ControlCluster, api_kubeconfig: Path, api: Served, namespace: str) -> None:
    bearer = account(cluster, namespace, "editor", "roadstead-edit")
    forwarded = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "ai.example.com", "X-Forwarded-Prefix": "/roadstead"}
    with client_of(api, bearer, **forwarded) as client:
        made = client.post(WORKLOADS, json=wanted(artifact={"spec": groups()})).json()
        assert made["endpoint"].startswith(f"{api.url}/api/v2/endpoints/")
    trusting = running_api(cluster, api_kubeconfig, ROADSTEAD_TRUSTED_PROXIES="10.0.0.0/8 127.0.0.1")
    with trusting as served, client_of(served, bearer, **forwarded) as client:
        seen = client.get(f"{WORKLOADS}{made['id']}").json()
        assert seen["endpoint"] == f"https://ai.example.com/roadstead/api/v2/endpoints/workloads/{made['id']}/"
        client.post(WORKLOADS, json=wanted())
        page = client.get(WORKLOADS, params={"limit": 1}).json()
        assert page["next"].startswith("https://ai.example.com/roadstead/api/v2/console/workloads/?")
