"""Many Workloads at once: ``python -m tests.bench.density [--workloads N …] [--write]``, on the control tier with kwok.

For each N, on a cluster of its own: N Workloads (with an HPA) are created as fast as the API server takes them, then the operator is
restarted with all of them in place, then nothing happens for a minute. On a second cluster, as new as the first was, a bare client writes
the same objects and status patches without an operator: the API server's own ceiling. Times are those at which a watch delivered, counted
from the first creation.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

import uvloop

from hack.cluster.control import ControlCluster, control_cluster
from roadstead.api.artifact import Artifact
from roadstead.api.platform import PlatformSpec
from roadstead.api.workload import Workload
from roadstead.controller.kinds import CHILDREN
from roadstead.desired import Inputs, build
from roadstead.kube.client import ApiClient
from roadstead.kube.config import load
from roadstead.kube.resource import DEPLOYMENTS, HPAS, NAMESPACES, SERVICES, Body
from roadstead.resources import ARTIFACTS, WORKLOADS
from tests.bench.document import HELP, write
from tests.bench.measure import Moments, cpu_seconds, requests, share, written
from tests.build import cpu_autoscaling, raw_artifact, raw_workload
from tests.clusters import NAMESPACE, add_fake_nodes, audit_position, install_crds, install_rbac, running_operator, wait_admission
from tests.support.memory import peak_mib, resident_mib
from tests.world import here

TEAM = "team"
PODS_PER_NODE = 600
PATIENCE_SECONDS = 1800.0


@dataclass(frozen=True, slots=True)
class Burst:
    """Seconds from the first creation until each Workload had all its children, and until each was running."""

    children: list[float]
    running: list[float]


@dataclass
class Report:
    """Everything measured with one number of Workloads; what has no unit in its name is a count. ``status`` is one Workload's at the end,
    ``statuses`` how many writes of it each took."""

    workloads: int
    burst: Burst
    requests: float
    writes: float
    cpu_ms: float
    peak_mib: float
    restart_seconds: float
    restart_writes: int
    restart_mib: float
    idle_writes: int
    idle_cpu_ms_per_second: float
    status: Body
    statuses: int


def main() -> None:
    parser = argparse.ArgumentParser(description="Many Workloads at once")
    parser.add_argument("--workloads", type=int, nargs="+", default=[300])
    parser.add_argument("--idle-seconds", type=float, default=60.0)
    parser.add_argument("--write", action="store_true", help=HELP)
    chosen = parser.parse_args()
    reports, ceilings = [], []
    for count in chosen.workloads:
        with new_cluster(count) as cluster:
            reports.append(uvloop.run(run(cluster, count, chosen.idle_seconds)))
        with new_cluster(count) as cluster:
            ceilings.append(uvloop.run(ceiling(cluster, reports[-1])))
    table = printed(reports, ceilings)
    print(table)
    if chosen.write:
        command = "python -m tests.bench.density --workloads " + " ".join(map(str, chosen.workloads))
        write("density", command, table)


@contextmanager
def new_cluster(count: int) -> Iterator[ControlCluster]:
    """Ready for as many Workloads, and nobody's yet."""
    with control_cluster(kwok=True) as cluster:
        install_crds(cluster)
        install_rbac(cluster)
        add_fake_nodes(cluster, 1 + 2 * count // PODS_PER_NODE)
        wait_admission(cluster)
        yield cluster


@asynccontextmanager
async def client_of(cluster: ControlCluster) -> AsyncIterator[ApiClient]:
    """An administrator's, with a team's namespace and Artifact in place."""
    async with ApiClient(load(cluster.kubeconfig), user_agent="density") as client:
        await client.create(NAMESPACES, None, {"metadata": {"name": TEAM}})
        await client.create(ARTIFACTS, TEAM, here(TEAM, raw_artifact(status="registered")))
        yield client


async def run(cluster: ControlCluster, count: int, idle_seconds: float) -> Report:
    kubeconfig = cluster.client_kubeconfig(f"system:serviceaccount:{NAMESPACE}:roadstead-operator")
    async with client_of(cluster) as client:
        operator = running_operator(cluster, kubeconfig)
        process = operator.__enter__()
        await asyncio.sleep(2)
        mark, cpu = audit_position(cluster), cpu_seconds(process.pid)
        burst = await created(client, TEAM, count)
        await rested(cluster)
        spent, found, peak = cpu_seconds(process.pid) - cpu, requests(cluster, mark), peak_mib(process.pid)
        show(f"{count} Workloads: running after {max(burst.running):.1f} s; {dict(found)}")
        operator.__exit__(None, None, None)

        mark, began = audit_position(cluster), time.monotonic()
        operator = running_operator(cluster, kubeconfig)
        process = operator.__enter__()
        restart = time.monotonic() - began
        await rested(cluster)
        again, restart_mib = requests(cluster, mark), resident_mib(process.pid)
        mark, cpu = audit_position(cluster), cpu_seconds(process.pid)
        await asyncio.sleep(idle_seconds)
        idle, idle_cpu = requests(cluster, mark), cpu_seconds(process.pid) - cpu
        show(f"restart: ready after {restart:.1f} s; {dict(again)}; at rest: {dict(idle)}")
        status = (await client.get(WORKLOADS, TEAM, "w00000"))["status"]
        operator.__exit__(None, None, None)
    return Report(
        workloads=count,
        burst=burst,
        requests=(found.total() - found["list workloads"]) / count,
        writes=written(found) / count,
        cpu_ms=1000 * spent / count,
        peak_mib=peak,
        restart_seconds=restart,
        restart_writes=written(again),
        restart_mib=restart_mib,
        idle_writes=written(idle),
        idle_cpu_ms_per_second=1000 * idle_cpu / idle_seconds,
        status=status,
        statuses=round(found["patch workloads/status"] / count),
    )


def declared(namespace: str, number: int) -> Body:
    return here(namespace, raw_workload(f"w{number:05d}", runtime=cpu_autoscaling(high=3)))


async def created(client: ApiClient, namespace: str, count: int) -> Burst:
    """Create Workloads at once and wait until all are running; somebody else does the work."""
    watched = [Moments(client, resource, namespace, lambda _: True) for resource in (DEPLOYMENTS, SERVICES, HPAS)]
    running = Moments(client, WORKLOADS, namespace, lambda body: (body.get("status") or {}).get("state") == "running")
    tasks = [await each.begin() for each in (*watched, running)]
    began = time.monotonic()
    await asyncio.gather(*(client.create(WORKLOADS, namespace, declared(namespace, number)) for number in range(count)))
    show(f"{count} created in {time.monotonic() - began:.1f} s")
    for each in (*watched, running):
        await each.all_of(count, PATIENCE_SECONDS)
    for task in tasks:
        task.cancel()
    children = [max(each.at[name] for each in watched) - began for name in watched[0].at]
    return Burst(children, [at - began for at in running.at.values()])


async def ceiling(cluster: ControlCluster, report: Report) -> Burst:
    """The same, written by hand."""
    async with client_of(cluster) as client:
        bare = await by_hand(client, report.workloads, report.status, report.statuses)
    show(f"bare client: {max(bare.children):.1f} s, {max(bare.running):.1f} s")
    return bare


async def by_hand(client: ApiClient, count: int, status: Body, statuses: int) -> Burst:
    """What the operator does, without an operator: three applies, a status, and the other statuses once a pod is ready."""
    artifact = Artifact.model_validate(await client.get(ARTIFACTS, TEAM, "model"))
    ready: dict[str, asyncio.Event] = {f"w{number:05d}": asyncio.Event() for number in range(count)}

    def reached(body: Body) -> bool:
        is_ready = bool((body.get("status") or {}).get("readyReplicas"))
        if is_ready:
            ready[body["metadata"]["name"]].set()
        return is_ready

    watching = await Moments(client, DEPLOYMENTS, TEAM, reached).begin()
    children, running = [], []
    began = time.monotonic()

    async def one(number: int) -> None:
        body = await client.create(WORKLOADS, TEAM, declared(TEAM, number))
        desired = build(Inputs(Workload.model_validate(body), artifact, PlatformSpec(), keda_present=False))
        for kind, child in desired.children.items():
            if child is not None:
                await client.apply(CHILDREN[kind], TEAM, child.body, field_manager="roadstead")
        children.append(time.monotonic() - began)
        for turn in range(statuses):
            if turn == 1:
                await ready[body["metadata"]["name"]].wait()
            patch = {"status": {**status, "message": f"Status number {turn}"}}
            await client.merge_patch(WORKLOADS, TEAM, body["metadata"]["name"], patch, subresource="status")
        await ready[body["metadata"]["name"]].wait()
        running.append(time.monotonic() - began)

    await asyncio.gather(*(one(number) for number in range(count)))
    watching.cancel()
    return Burst(children, running)


async def rested(cluster: ControlCluster, seconds: float = 15.0) -> None:
    """Wait until the operator has written nothing for so long: the HPA controller looks every 5 s, and at 300 HPAs it takes its time."""
    while True:
        mark = audit_position(cluster)
        await asyncio.sleep(seconds)
        if not written(requests(cluster, mark)):
            return


def show(line: str) -> None:
    print(line, flush=True)


def printed(reports: list[Report], ceilings: list[Burst]) -> str:
    """The table, in Markdown."""
    both = list(zip(reports, ceilings, strict=True))
    rows: list[tuple[str, list[str]]] = [
        ("until all children exist, p50 / p95 / max, s", [spread(each.burst.children) for each in reports]),
        ("until running, p50 / p95 / max, s", [spread(each.burst.running) for each in reports]),
        ("bare client: children, running, max, s", [f"{max(each.children):.1f}, {max(each.running):.1f}" for each in ceilings]),
        ("**ratio to the bare client**: children", [f"{max(our.burst.children) / max(bare.children):.2f}" for our, bare in both]),
        ("**ratio to the bare client**: running", [f"**{max(our.burst.running) / max(bare.running):.2f}**" for our, bare in both]),
        ("API requests (writes) per Workload", [f"{each.requests:.1f} ({each.writes:.1f})" for each in reports]),
        ("CPU per Workload, ms", [f"{each.cpu_ms:.1f}" for each in reports]),
        ("peak memory, MiB", [f"{each.peak_mib:.0f}" for each in reports]),
        ("restart: ready after, s", [f"{each.restart_seconds:.1f}" for each in reports]),
        ("restart: writes", [f"{each.restart_writes}" for each in reports]),
        ("restart: memory, MiB", [f"{each.restart_mib:.0f}" for each in reports]),
        ("at rest: writes", [f"{each.idle_writes}" for each in reports]),
        ("at rest: CPU, ms per s", [f"{each.idle_cpu_ms_per_second:.1f}" for each in reports]),
    ]
    head = ["Workloads", *(f"{each.workloads:,}" for each in reports)]
    lines = [head, ["---", *("---:" for _ in reports)], *([name, *cells] for name, cells in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def spread(values: list[float]) -> str:
    return f"{share(values, 0.5):.1f} / {share(values, 0.95):.1f} / {max(values):.1f}"


if __name__ == "__main__":
    main()
