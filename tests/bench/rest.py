"""The REST API beside the raw API server: ``python -m tests.bench.rest [--objects N] [--seconds S] [--write]``, on the control tier.

N Workloads, each with the status of a running one, lie in a namespace. An editor of it lists a hundred of them, gets one at random, and
creates; by REST, and from the API server itself, with the same token and as many clients at once. Both answer to the same client program
on the same machine, which takes its share of the cores: what compares is requests per CPU-second of the server. The API server speaks TLS
and writes an audit log, as it does everywhere; the REST API gets plain HTTP, as in a pod behind an Ingress. etcd's CPU isn't counted.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import random
import ssl
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import aiohttp
import uvloop

from hack.cluster.control import ControlCluster, control_cluster
from roadstead.api.identity import object_id
from roadstead.kube.client import ApiClient
from roadstead.kube.config import load
from roadstead.kube.resource import NAMESPACES, Body
from roadstead.names import ID_LABEL
from roadstead.resources import ARTIFACTS, WORKLOADS
from tests.bench.document import HELP, write
from tests.bench.measure import cpu_seconds, share
from tests.build import raw_artifact, raw_workload
from tests.clusters import NAMESPACE, add_fake_nodes, install_crds, install_rbac, running_operator, wait_admission
from tests.support.memory import peak_mib
from tests.support.rest import account, api_access, running_api
from tests.world import here

TEAM = "team"
PATIENCE_SECONDS = 60.0
Call = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Row:
    """What one server did of one kind of request."""

    what: str
    server: str
    requests: int
    seconds: float
    server_cpu_seconds: float
    cluster_cpu_seconds: float
    latencies: list[float]

    def cells(self) -> list[str]:
        count = max(1, self.requests)
        return [
            self.what,
            self.server,
            f"{self.requests / self.seconds:,.0f}",
            f"**{self.requests / max(self.server_cpu_seconds, 0.01):,.0f}**",
            f"{1000 * share(self.latencies, 0.5):.1f}",
            f"{1000 * share(self.latencies, 0.99):.1f}",
            f"{1000 * self.cluster_cpu_seconds / count:.2f}",
        ]


HEAD = ["", "answered by", "requests/s", "requests per CPU-second of it", "p50, ms", "p99, ms", "API server's CPU per request, ms"]


def main() -> None:
    parser = argparse.ArgumentParser(description="The REST API beside the raw API server")
    parser.add_argument("--objects", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--write", action="store_true", help=HELP)
    chosen = parser.parse_args()
    with control_cluster(kwok=True) as cluster:
        install_crds(cluster)
        install_rbac(cluster)
        add_fake_nodes(cluster)
        wait_admission(cluster)
        table = uvloop.run(run(cluster, chosen.objects, chosen.seconds, chosen.clients))
    print(table)
    if chosen.write:
        command = f"python -m tests.bench.rest --objects {chosen.objects} --seconds {chosen.seconds:g} --clients {chosen.clients}"
        write("rest", command, table)


async def run(cluster: ControlCluster, count: int, seconds: float, clients: int) -> str:
    """Fill the cluster, measure, and return the tables in Markdown."""
    async with ApiClient(load(cluster.kubeconfig), user_agent="bench-rest") as client:
        await client.create(NAMESPACES, None, {"metadata": {"name": TEAM}})
        await client.create(ARTIFACTS, TEAM, here(TEAM, raw_artifact(status="registered")))
        await filled(cluster, client, count)
    token = account(cluster, TEAM, "editor", "roadstead-edit")
    began = time.monotonic()
    with running_api(cluster, api_access(cluster)) as served:
        show(f"the API is ready after {time.monotonic() - began:.1f} s")
        pids = served.process.pid, cluster.processes["kube-apiserver"].process.pid
        rows = []
        for base in (served.url, cluster.url):
            context = ssl.create_default_context(cafile=str(cluster.ca_file)) if base.startswith("https") else False
            connector = aiohttp.TCPConnector(limit=clients, ssl=context)
            async with aiohttp.ClientSession(base, connector=connector, headers={"Authorization": f"Bearer {token}"}) as session:
                for what, call in (by_rest(session, count) if base == served.url else raw(session, count)).items():
                    await measured(what, call, 1.0, clients, pids, own=base == served.url)  # caches and connections
                    rows.append(await measured(what, call, seconds, clients, pids, own=base == served.url))
                    show(" | ".join(rows[-1].cells()))
        memory = peak_mib(served.process.pid)
    order = {row.what: place for place, row in enumerate(rows)}
    lines = [HEAD, ["---", "---", *("---:" for _ in HEAD[2:])], *(row.cells() for row in sorted(rows, key=lambda row: order[row.what]))]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"{table}\n\n{count:,} Workloads at the start, {clients} clients at once; the API's memory at its peak: {memory:.0f} MiB.\n"


async def filled(cluster: ControlCluster, client: ApiClient, count: int) -> None:
    """Make the Workloads; the operator runs one of them, and the others get its status, so that nobody has to run ten thousand."""
    first = declared(0)
    with running_operator(cluster, cluster.client_kubeconfig(f"system:serviceaccount:{NAMESPACE}:roadstead-operator")):
        await client.create(WORKLOADS, TEAM, first)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (status := (await client.get(WORKLOADS, TEAM, first["metadata"]["name"])).get("status") or {}).get("state") != "running":
            if time.monotonic() > deadline:
                raise AssertionError(f"the first Workload doesn't run: {status}")
            await asyncio.sleep(0.2)
    began = time.monotonic()

    async def one(number: int) -> None:
        body = declared(number)
        await client.create(WORKLOADS, TEAM, body)
        patch = {"status": {**status, "id": body["metadata"]["labels"][ID_LABEL]}}
        await client.merge_patch(WORKLOADS, TEAM, body["metadata"]["name"], patch, subresource="status")

    await asyncio.gather(*(one(number) for number in range(1, count)))
    show(f"{count} Workloads made in {time.monotonic() - began:.0f} s")


def declared(number: int) -> Body:
    """A Workload as the REST API makes them."""
    name = f"w{number:06d}"
    body = here(TEAM, raw_workload(name, displayName=f"Workload {number}", runtime={"replicaCount": 1}))
    body["metadata"]["labels"] = {ID_LABEL: object_id("workloads", TEAM, name)}
    return body


def by_rest(session: aiohttp.ClientSession, count: int) -> dict[str, Call]:
    """The requests through our API."""
    workloads = "/api/v2/console/workloads/"
    artifact, numbers = object_id("artifacts", TEAM, "model"), itertools.count()

    async def listed() -> None:
        await asked(session, "GET", f"{workloads}?limit=100", 200)

    async def got() -> None:
        await asked(session, "GET", f"{workloads}{object_id('workloads', TEAM, f'w{random.randrange(count):06d}')}/", 200)

    async def created() -> None:
        wish = {"name": f"New {next(numbers)}", "artifactId": artifact, "runtime": {"replicaCount": 1}}
        await asked(session, "POST", workloads, 201, wish)

    return {"list 100": listed, "get": got, "create": created}


def raw(session: aiohttp.ClientSession, count: int) -> dict[str, Call]:
    """The same requests to the API server."""
    workloads = f"/apis/roadstead.dev/v1alpha1/namespaces/{TEAM}/workloads"
    numbers = itertools.count(count)

    async def listed() -> None:
        await asked(session, "GET", f"{workloads}?limit=100", 200)

    async def got() -> None:
        await asked(session, "GET", f"{workloads}/w{random.randrange(count):06d}", 200)

    async def created() -> None:
        await asked(session, "POST", workloads, 201, declared(next(numbers)))

    return {"list 100": listed, "get": got, "create": created}


async def asked(session: aiohttp.ClientSession, method: str, path: str, code: int, body: Any = None) -> None:
    async with session.request(method, path, json=body) as answer:
        text = await answer.read()
        if answer.status != code:
            raise AssertionError(f"{method} {path}: {answer.status} {text[:300]!r}")


async def measured(what: str, call: Call, seconds: float, clients: int, pids: tuple[int, int], *, own: bool) -> Row:
    """As many calls as so many clients make one after the other. ``pids``: our API's and the API server's."""
    latencies: list[float] = []
    before, began = [cpu_seconds(pid) for pid in pids], time.monotonic()
    until = began + seconds

    async def client() -> None:
        while (start := time.monotonic()) < until:
            await call()
            latencies.append(time.monotonic() - start)

    await asyncio.gather(*(client() for _ in range(clients)))
    took = time.monotonic() - began
    ours, clusters = (cpu_seconds(pid) - cpu for pid, cpu in zip(pids, before, strict=True))
    return Row(what, "roadstead api" if own else "kube-apiserver", len(latencies), took, ours if own else clusters, clusters, latencies)


def show(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    main()
