"""What one Workload that changes all the time does to the others: ``python -m tests.bench.flapping [--workloads N …] [--write]``.

For each N, on a cluster of its own with kwok: with N settled Workloads, others are changed one after the other, and it is measured how long
each takes until its HPA has followed. In turns: while all else is calm, while somebody writes as often to an object that is none of ours
(what the API server alone makes of it), and while one Workload flaps. Turns are repeated: a p99 of a single one is two samples.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import statistics
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator

import uvloop

from hack.cluster.control import ControlCluster, control_cluster
from roadstead.kube.client import ApiClient
from roadstead.kube.config import load
from roadstead.kube.resource import HPAS, NAMESPACES, SERVICES
from roadstead.resources import ARTIFACTS, WORKLOADS
from tests.bench.density import PATIENCE_SECONDS, PODS_PER_NODE, created, rested
from tests.bench.document import HELP, write
from tests.bench.measure import Moments, requests, share, written
from tests.build import cpu_autoscaling, raw_artifact
from tests.clusters import add_fake_nodes, audit_position, install_crds, install_rbac, operator_access, running_operator, wait_admission
from tests.world import here

NAMESPACE = "ours"
FLAPS_PER_SECOND = 20
ROUNDS = 7
PROBES = 150
"""In each turn, 50 ms apart."""
CALM, FOREIGN, FLAPPING = "calm", "beside as many writes that aren't ours", "while one Workload flaps"
Samples = dict[str, list[list[float]]]
"""By what else goes on, and by turn."""
FLAPS = "w00000"


def main() -> None:
    parser = argparse.ArgumentParser(description="What one Workload that flaps does to the others")
    parser.add_argument("--workloads", type=int, nargs="+", default=[300])
    parser.add_argument("--write", action="store_true", help=HELP)
    chosen = parser.parse_args()
    table = printed({count: measured(count) for count in chosen.workloads})
    print(table)
    if chosen.write:
        write("flapping", "python -m tests.bench.flapping --workloads " + " ".join(map(str, chosen.workloads)), table)


def measured(count: int) -> tuple[Samples, float]:
    """One run on a cluster of its own: the samples, and the operator's writes a second while one Workload flaps."""
    with control_cluster(kwok=True) as cluster:
        install_crds(cluster)
        install_rbac(cluster)
        add_fake_nodes(cluster, 1 + count // PODS_PER_NODE)
        wait_admission(cluster)
        return uvloop.run(run(cluster, count))


async def run(cluster: ControlCluster, count: int) -> tuple[Samples, float]:
    samples: defaultdict[str, list[list[float]]] = defaultdict(list)
    writes = seconds = 0.0
    async with ApiClient(load(cluster.kubeconfig), user_agent="flapping") as client:
        await client.create(NAMESPACES, None, {"metadata": {"name": NAMESPACE}})
        await client.create(ARTIFACTS, NAMESPACE, here(NAMESPACE, raw_artifact(status="registered")))
        with running_operator(cluster, operator_access(cluster)):
            await created(client, NAMESPACE, count)
            await rested(cluster)
            versions = itertools.count(4)
            for _ in range(ROUNDS):
                for what, stir in ((CALM, None), (FOREIGN, foreign), (FLAPPING, flap)):
                    mark, began = audit_position(cluster), time.monotonic()
                    stirring = asyncio.create_task(stirred(client, stir)) if stir is not None else None
                    samples[what].append(await probed(client, list(range(1, count))[:PROBES], next(versions)))
                    if stirring is not None:
                        stirring.cancel()
                        await asyncio.gather(stirring, return_exceptions=True)
                    if what == FLAPPING:
                        seconds += time.monotonic() - began
                        writes += written(requests(cluster, mark, name=FLAPS))
                    await asyncio.sleep(2)
                told = {what: f"{1000 * share(turns[-1], 0.99):.0f} ms" for what, turns in samples.items()}
                print(count, "Workloads, p99 of this turn:", told, flush=True)
    return samples, writes / seconds


async def stirred(client: ApiClient, stir: Callable[[ApiClient, int], Awaitable[object]]) -> None:
    """Until cancelled."""
    for turn in itertools.count():
        await stir(client, turn)
        await asyncio.sleep(1 / FLAPS_PER_SECOND)


async def flap(client: ApiClient, turn: int) -> None:
    """Each change wants another HPA."""
    spec = {"spec": {"runtime": cpu_autoscaling(high=60 + turn % 2)}}
    await client.merge_patch(WORKLOADS, NAMESPACE, FLAPS, spec)


async def foreign(client: ApiClient, turn: int) -> None:
    """A Service that nobody follows, changed as a flapping Workload and its HPA are: two writes a turn."""
    name = "foreign"
    if turn == 0:
        body = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": {"ports": [{"port": 80}]}}
        await client.apply(SERVICES, NAMESPACE, body, field_manager="flapping")
    for part in "ab":
        await client.merge_patch(SERVICES, NAMESPACE, name, {"metadata": {"annotations": {part: str(turn)}}})


async def probed(client: ApiClient, numbers: list[int], high: int) -> list[float]:
    """Seconds until the HPA of each has followed."""
    seen = Moments(client, HPAS, NAMESPACE, lambda body: body["spec"]["maxReplicas"] == high)
    watching = await seen.begin()
    asked = {}
    for number in numbers:
        name = f"w{number:05d}"
        asked[name] = time.monotonic()
        await client.merge_patch(WORKLOADS, NAMESPACE, name, {"spec": {"runtime": cpu_autoscaling(high=high)}})
        await asyncio.sleep(0.05)
    await seen.all_of(len(asked), PATIENCE_SECONDS)
    watching.cancel()
    return [seen.at[name] - at for name, at in asked.items()]


def printed(found: dict[int, tuple[Samples, float]]) -> str:
    """The table, in Markdown."""

    def lines() -> Iterator[list[str]]:
        yield ["Workloads", *(f"{count:,}" for count in found)]
        yield ["---", *("---:" for _ in found)]
        for what in (CALM, FOREIGN, FLAPPING):
            pooled = [list(itertools.chain.from_iterable(samples[what])) for samples, _ in found.values()]
            cells = [f"{1e3 * share(values, 0.5):.0f} / {1e3 * share(values, 0.99):.0f}" for values in pooled]
            yield [f"a change until its HPA's, {what}, p50 / p99, ms", *cells]
        for what in (FOREIGN, FLAPPING):
            yield [f"p99 against calm, {what}: median of turns (range)", *(ratios(samples, what) for samples, _ in found.values())]
        yield ["operator's writes a second for what flaps", *(f"{rate:.1f}" for _, rate in found.values())]

    return "\n".join(f"| {' | '.join(line)} |" for line in lines()) + "\n"


def ratios(samples: Samples, what: str) -> str:
    """Turn by turn: a second in which the API server is slow for reasons of its own decides a p99, and comes in any turn."""
    found = [share(turn, 0.99) / share(calm, 0.99) for turn, calm in zip(samples[what], samples[CALM], strict=True)]
    return f"**{statistics.median(found):.2f}** ({min(found):.2f}-{max(found):.2f})"


if __name__ == "__main__":
    main()
