"""How fast Workloads wake: ``python -m tests.bench.wakes [--workloads N] [--turns N] [--write]``, on the control tier with kwok and KEDA.

N Workloads at zero get one request each at the same moment, through the real gateway, KEDA, HPA and scheduler; kwok's pods are ready at
once, so what is measured is everything but the container's own start. With KEDA alone and with the gateway's fast path, each with the
flow control of ``examples/keda-values.yaml`` and without it, in turns, since the machine's speed changes meanwhile.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import uvloop

from hack.cluster import beside
from hack.cluster.control import ControlCluster, control_cluster
from hack.cluster.keda import keda, limit_flows
from roadstead.api.identity import object_id
from roadstead.kube.client import ApiClient
from roadstead.kube.config import load
from roadstead.kube.resource import DEPLOYMENTS, NAMESPACES
from roadstead.resources import WORKLOADS
from tests.bench.document import HELP, write
from tests.bench.measure import Moments, cpu_seconds, scaled, share
from tests.build import http_autoscaling, raw_artifact, raw_workload
from tests.clusters import (
    NAMESPACE,
    add_fake_nodes,
    apply,
    audit_position,
    declare_platform,
    install_crds,
    install_rbac,
    running_operator,
    wait_admission,
)
from tests.support.gateways import GATEWAY_ACCOUNT, Replica, running_gateway
from tests.support.rest import account
from tests.world import gateway, here

TEAM = "team"
PATIENCE_SECONDS = 300.0
FLOW = "scaling-bookkeeping"
"""The FlowSchema of ``examples/keda-values.yaml``, which holds what is written about counts back behind them."""
GOAL_SECONDS = 0.5
"""For 95 of 100 counts to be in the API server."""
QUIET_SECONDS = 5
MEASURED = ("replicas ≥ 1 in the API server", "seen by a watch", "held by the gateway")
SCALING = {"cooldownSeconds": 5, "pollingIntervalSeconds": 5}


def main() -> None:
    parser = argparse.ArgumentParser(description="How fast Workloads wake")
    parser.add_argument("--workloads", type=int, default=100)
    parser.add_argument("--turns", type=int, default=5, help="how often each way is taken (5)")
    parser.add_argument("--write", action="store_true", help=HELP)
    chosen = parser.parse_args()
    with cluster_with_keda() as (cluster, one):
        table = printed(uvloop.run(run(cluster, one, chosen.workloads, chosen.turns)))
    print(table)
    if chosen.write:
        command = f"python -m tests.bench.wakes --workloads {chosen.workloads} --turns {chosen.turns}"
        write("wakes", command, table)


@contextmanager
def cluster_with_keda() -> Iterator[tuple[ControlCluster, Replica]]:
    """A control tier with kwok, KEDA, the operator and one gateway replica."""
    with control_cluster(kwok=True, extra_apiserver_flags=beside.AGGREGATION_FLAGS) as cluster:
        install_crds(cluster)
        install_rbac(cluster, "--set=platform.gateway.fastPath=true")
        add_fake_nodes(cluster, 2)
        wait_admission(cluster)
        operator, ours = (cluster.account_kubeconfig(NAMESPACE, name) for name in ("roadstead-operator", GATEWAY_ACCOUNT))
        with keda(cluster), running_operator(cluster, operator), running_gateway(cluster, ours) as one:
            gateway(cluster, ready=True)
            yield cluster, one


async def run(cluster: ControlCluster, one: Replica, count: int, turns: int) -> list[list[str]]:
    """Bring all to zero and wake them, in turns; returns the table's rows."""
    names = [f"w{number:03d}" for number in range(count)]
    settings = {"scalerAddress": one.scaler, "queueTotal": 100000, "queuePerWorkload": 1000}
    declare_platform(cluster, gateway=settings, scaling=SCALING)
    sizes = (names, names[:1]) if count > 1 else (names,)
    ways = [(by, some, limited) for by in ("KEDA", "the fast path") for some in sizes for limited in (True, False)]
    figures: defaultdict[tuple[str, int, bool], list[list[float]]] = defaultdict(list)
    async with ApiClient(load(cluster.kubeconfig), user_agent="bench-wakes") as client:
        await client.create(NAMESPACES, None, {"metadata": {"name": TEAM}})
        token = account(cluster, TEAM, "caller", "roadstead-invoke")
        runtime = http_autoscaling("httpRequestsConcurrency", low=0, high=3)
        apply(cluster, here(TEAM, raw_artifact(status="registered")))
        apply(cluster, *(here(TEAM, raw_workload(name, runtime=runtime)) for name in names))
        for turn in range(turns):
            for by, some, limited in ways if turn % 2 == 0 else ways[::-1]:
                if len(some) < count and turn != 1:
                    continue  # a single one has nobody to wait for: once is enough
                declare_platform(cluster, gateway={**settings, "fastPath": by != "KEDA"}, scaling=SCALING)
                if limited:
                    limit_flows(cluster)
                else:
                    cluster.kubectl("delete", "flowschema", FLOW, "--ignore-not-found")
                await asleep(client, count)
                measured = await woken(cluster, client, one, token, some)
                print(turn, by, len(some), limited, *(f"{figure:.3f}" for figure in measured), flush=True)
                figures[by, len(some), limited].append(measured)
    return [
        [by, "as recommended" if limited else "none", str(len(some)), within(taken), *map(spread, zip(*taken, strict=True))]
        for by, some, limited in ways
        for taken in (figures[by, len(some), limited],)
    ]


def printed(rows: list[list[str]]) -> str:
    """The table, in Markdown."""
    head = [
        "woken by",
        "flow control",
        "Workloads at once",
        f"turns whose p95 was within {GOAL_SECONDS} s",
        *(f"{what}: {share}, s" for what in MEASURED for share in ("p50", "p95", "max")),
        "CPU time of the API server, s",
    ]
    lines = [head, ["---", "---", *("---:" for _ in head[2:])], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


async def asleep(client: ApiClient, count: int) -> None:
    """Return when all are at zero and sure to wake."""
    seen = Moments(client, WORKLOADS, TEAM, lambda _: False)
    states: dict[str, bool] = {}

    def changed(body: Any) -> None:
        ready = next((c for c in (body.get("status") or {}).get("conditions", ()) if c["type"] == "Ready"), {})
        states[body["metadata"]["name"]] = ready.get("status") == "True" and ready.get("reason") == "ScaledToZero"

    seen.changed = changed
    watching = await seen.begin()
    deadline = time.monotonic() + PATIENCE_SECONDS
    while sum(states.values()) < count or await scaled_up(client):
        assert time.monotonic() < deadline, f"only {sum(states.values())} of {count} are at zero"
        await asyncio.sleep(2)
    watching.cancel()
    await asyncio.sleep(QUIET_SECONDS)


async def scaled_up(client: ApiClient) -> bool:
    """Whether any Deployment has replicas; a status follows a moment after."""
    return any([body["spec"].get("replicas") async for page in client.pages(DEPLOYMENTS, namespace=TEAM) for body in page.items])


async def woken(cluster: ControlCluster, client: ApiClient, one: Replica, token: str, names: list[str]) -> list[float]:
    """One request for each at the same moment, on connections that are there: who asks takes little of the two cores.

    Seconds until their Deployments had a replica, until a watch told of it, and those for which the gateway held the request before it let
    it through to a ready pod: of each, p50, p95 and the last. Then what the API server spent meanwhile, a yardstick for turns of the same
    number: a shared machine has its slow minutes. Kwok's pods answer nothing, so in the end Envoy does, with the header that tells how long
    it waited.
    """
    seen = Moments(client, DEPLOYMENTS, TEAM, lambda body: (body["spec"].get("replicas") or 0) >= 1)
    watching = await seen.begin()
    url = urlsplit(one.url)
    connections = [await asyncio.open_connection(url.hostname, url.port) for _ in names]
    server = cluster.processes["kube-apiserver"].process.pid
    spent = cpu_seconds(server)
    mark, began, began_at = audit_position(cluster), time.monotonic(), time.time()
    for name, (_, writer) in zip(names, connections, strict=True):
        path = f"/api/v2/endpoints/workloads/{object_id('workloads', TEAM, name)}/"
        writer.write(f"GET {path} HTTP/1.1\r\nhost: {url.netloc}\r\nauthorization: Bearer {token}\r\n\r\n".encode())
    await seen.all_of(len(names), PATIENCE_SECONDS)
    async with asyncio.timeout(PATIENCE_SECONDS):
        through = [waited(await reader.readuntil(b"\r\n\r\n")) for reader, _ in connections]
    spent = cpu_seconds(server) - spent
    for _, writer in connections:
        writer.close()
    watching.cancel()
    while not (written := scaled(cluster, mark)).keys() >= set(names):  # noqa: ASYNC110 - a file tells nobody
        await asyncio.sleep(0.1)  # the log tells of a request when it is over, which may be after a watch has told of its effect
    stored, told = [written[name] - began_at for name in names], [seen.at[name] - began for name in names]
    return [*(share(values, part) for values in (stored, told, through) for part in (0.5, 0.95, 1)), spent]


def waited(head: bytes) -> float:
    """How long the gateway held the request that this is the answer to, in seconds."""
    phases = next((line for line in head.decode().split("\r\n") if line.lower().startswith("x-roadstead-cold-start:")), None)
    assert phases is not None, head
    return float(phases.rpartition("total=")[2])


def within(turns: Sequence[Sequence[float]]) -> str:
    """In how many turns the goal was met."""
    return f"{sum(stored <= GOAL_SECONDS for _, stored, *_ in turns)} of {len(turns)}"


def spread(turns: Sequence[float]) -> str:
    """The median of some turns, and the least and the most."""
    if len(turns) == 1:
        return f"{turns[0]:.2f}"
    return f"{statistics.median(turns):.2f} ({min(turns):.2f}-{max(turns):.2f})"


if __name__ == "__main__":
    main()
