"""The gateway as a whole on a real API server: Envoy, the process beside it, KEDA's calls; pods are a server of the test's own."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest

from hack.cluster.control import ControlCluster
from roadstead.api.identity import object_id
from tests.build import raw_artifact, raw_workload
from tests.clusters import apply
from tests.support.gateways import Replica, endpoints, gateway_access, own_address, running_gateway
from tests.support.rest import account
from tests.world import here

Body = dict[str, Any]


@dataclass
class Pod:
    """Something that answers, and what it was asked."""

    port: int
    seen: list[Body]


@contextmanager
def pod() -> Iterator[Pod]:
    """A server on this machine's own address that tells what it was asked."""
    seen: list[Body] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            said = {"path": self.path, "headers": {name.lower(): value for name, value in self.headers.items()}}
            seen.append(said)
            body = json.dumps(said).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer((own_address(), 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield Pod(server.server_address[1], seen)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(scope="module")
def gateway(cluster: ControlCluster) -> Iterator[Replica]:
    with running_gateway(cluster, gateway_access(cluster)) as running:
        yield running


def url(namespace: str, name: str, rest: str = "/") -> str:
    return f"/api/v2/endpoints/workloads/{object_id('workloads', namespace, name)}{rest}"


def test_a_request_reaches_the_pod(cluster: ControlCluster, namespace: str, gateway: Replica) -> None:
    apply(cluster, here(namespace, raw_artifact()), here(namespace, raw_workload()))
    token = account(cluster, namespace, "caller", "roadstead-invoke")
    name = raw_workload()["metadata"]["name"]
    with pod() as served:
        endpoints(cluster, namespace, name, served.port)
        with httpx.Client(base_url=gateway.url, headers={"Authorization": f"Bearer {token}"}, timeout=20) as client:
            answer = client.get(url(namespace, name, "/a/b%2Fc?q=1%202"))
            assert answer.status_code == 200, answer.text
            said = answer.json()
            assert said["path"] == "/a/b%2Fc?q=1%202"
            assert "authorization" not in said["headers"]
            assert said["headers"]["x-forwarded-prefix"] == url(namespace, name, "")
            assert said["headers"]["x-roadstead-user"] == f"system:serviceaccount:{namespace}:caller"
            again = client.get(url(namespace, name, "/"))
            assert again.status_code == 200
            assert client.get(url(namespace, "nothing")).status_code == 404
        assert httpx.get(f"{gateway.url}{url(namespace, name)}").status_code == 401


def test_a_request_waits_for_the_first_pod(cluster: ControlCluster, namespace: str, gateway: Replica) -> None:
    apply(cluster, here(namespace, raw_artifact()), here(namespace, raw_workload()))
    token = account(cluster, namespace, "caller", "roadstead-invoke")
    name = raw_workload()["metadata"]["name"]
    with pod() as served, ThreadPoolExecutor(20) as pool:
        headers = {"Authorization": f"Bearer {token}"}
        waiting = [pool.submit(httpx.get, f"{gateway.url}{url(namespace, name)}", headers=headers, timeout=30) for _ in range(20)]
        time.sleep(2)
        assert not any(one.done() for one in waiting)
        endpoints(cluster, namespace, name, served.port)
        answers = [one.result() for one in waiting]
        assert {answer.status_code for answer in answers} == {200}
        assert all("total=" in answer.headers["x-roadstead-cold-start"] for answer in answers)
        assert len(served.seen) == 20
