"""The gateway beside what it is made of: ``python -m tests.bench.gateway [--seconds S] [--write]``, on the control tier.

The same small request goes to the service itself, through Envoy alone, through a plain proxy on aiohttp, and through our gateway: with
the permission that Envoy remembers (warm), and with a question to the authoriser each time; in turns, repeatedly; and once as the first
call of each of many callers. All share the machine's cores with the client; what compares is requests per CPU-second of all that stands
between client and service. How fast the machine is changes within seconds by more than what is measured, so each way is compared with Envoy
alone under load at the same time, with half of the clients each. Further: what 1,000 idle Workloads cost, with what KEDA asks about them.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from hack.cluster import envoy
from hack.cluster.control import ControlCluster, control_cluster, free_ports
from roadstead.api.identity import object_id
from roadstead.gateway.envoy.bootstrap import bootstrap
from roadstead.gateway.envoy.settings import EnvoySettings
from tests.bench.document import HELP, write
from tests.bench.measure import cpu_seconds
from tests.build import http_autoscaling, raw_artifact, raw_workload
from tests.clusters import apply, declare_platform, install_crds, install_rbac, wait_admission, wait_for
from tests.support.gateways import (
    CERTIFICATES,
    SCALER_HOST,
    Replica,
    certificates,
    endpoint_slice,
    endpoints,
    gateway_access,
    own_address,
    running_gateway,
)
from tests.support.memory import resident_mib
from tests.support.rest import account
from tests.world import here

TEAM = "team"
CONNECTIONS = 32
ROUNDS = 5
CALLERS = 50
IDLE = 1000
IDLE_SECONDS = 20.0
POLLING_SECONDS = 120.0
"""The Platform's default."""
HAMMER, QUESTIONS = "tests.bench.hammer", "tests.bench.questions"
Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Round:
    """One way to the service for some seconds, under load and with one client alone. CPU is of what stands between, in seconds."""

    requests: int
    seconds: float
    cpu: float
    failed: int
    p50_ms: float
    p99_ms: float
    to_alone: float | None = None
    """Requests per CPU-second over those of Envoy alone, both under load at once."""

    @property
    def per_cpu_second(self) -> float:
        return self.requests / self.cpu


@dataclass(frozen=True, slots=True)
class Way:
    """One way to the service, and what was measured of it in each round."""

    name: str
    url: str
    pids: tuple[int, ...] = ()
    rounds: list[Round] = field(default_factory=list)

    def median(self, figure: Callable[[Round], float]) -> float:
        return statistics.median(map(figure, self.rounds))

    @property
    def latencies(self) -> list[float]:
        """p50 and p99 in milliseconds."""
        return [self.median(lambda each: each.p50_ms), self.median(lambda each: each.p99_ms)]

    def cells(self, direct: Way) -> list[str]:
        per_cpu = ratio = ""
        if self.pids:
            per_cpu = f"{self.median(lambda each: each.per_cpu_second):,.0f}"
            ratios = [1.0 if each.to_alone is None else each.to_alone for each in self.rounds]
            ratio = f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
        added = ["", ""] if self is direct else more(self.latencies, direct)
        per_second = self.median(lambda each: each.requests / each.seconds)
        failed = sum(each.failed for each in self.rounds)
        return [self.name, f"{per_second:,.0f}", per_cpu, ratio, *(f"{each:.2f}" for each in self.latencies), *added, str(failed)]


def more(latencies: Sequence[float], direct: Way) -> list[str]:
    """What p50 and p99 are above those of the service itself."""
    return [f"{own - its:+.2f}" for own, its in zip(latencies, direct.latencies, strict=True)]


HEAD = ["way", "requests/s", "per CPU-second", "to Envoy alone (range)", "p50, ms", "p99, ms", "added p50", "added p99", "failed"]


def main() -> None:
    parser = argparse.ArgumentParser(description="The gateway beside what it is made of")
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--write", action="store_true", help=HELP)
    chosen = parser.parse_args()
    with control_cluster(kwok=True) as cluster:
        install_crds(cluster)
        install_rbac(cluster)
        wait_admission(cluster)
        cluster.kubectl("create", "namespace", TEAM)
        table = run(cluster, chosen.seconds)
    print(table)
    if chosen.write:
        command = f"python -m tests.bench.gateway --seconds {chosen.seconds:g}"
        write("gateway", command, table)


def run(cluster: ControlCluster, seconds: float) -> str:
    """Measure, and return the tables in Markdown."""
    apply(cluster, here(TEAM, raw_artifact()), here(TEAM, raw_workload()))
    name = raw_workload()["metadata"]["name"]
    token = account(cluster, TEAM, "caller", "roadstead-invoke")
    host, port, proxy = own_address(), *free_ports(2)
    path = f"/api/v2/endpoints/workloads/{object_id('workloads', TEAM, name)}/"
    with (
        program(HAMMER, "origin", host, str(port)),
        program(HAMMER, "proxy", str(proxy), f"http://{host}:{port}") as plain,
        lone_envoy(cluster, host, port) as (lone, lone_port),
        running_gateway(cluster, gateway_access(cluster), certificates=certificates(cluster.state / CERTIFICATES, SCALER_HOST)) as ours,
    ):
        endpoints(cluster, TEAM, name, port)
        assert ours.envoy is not None
        assert ours.process is not None
        first = first_calls(cluster, f"{ours.url}{path}")
        pair = (ours.envoy.pid, ours.process.pid)
        ways = [
            Way("the service itself", f"http://{host}:{port}/"),
            Way("Envoy alone", f"http://127.0.0.1:{lone_port}{path}", (lone.pid,)),
            Way("our gateway, warm", f"{ours.url}{path}", pair),
            Way("our gateway, asking each time", f"{ours.url}{path}", pair),
            Way("a proxy on aiohttp", f"http://127.0.0.1:{proxy}/", (plain.pid,)),
        ]
        for _ in range(ROUNDS):
            for way in ways:
                asking = way is ways[3]
                if asking:
                    declare_platform(cluster, gateway={"verdictSeconds": 0})
                    time.sleep(6)  # what Envoy remembers is over
                beside = ways[1] if way in ways[2:] else None
                way.rounds.append(measured(way, beside, token, seconds))
                if asking:
                    declare_platform(cluster)
                    time.sleep(1)
        told = [*(f"{each:.2f}" for each in first), *more(first, ways[0])]
        firsts = [f"our gateway, first calls of {CALLERS} callers (for p99: the largest)", "", "", "", *told, "0"]
        lines = [HEAD, ["---", *("---:" for _ in HEAD[1:])], *(way.cells(ways[0]) for way in ways), firsts]
        text = "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"
        return text + idle(cluster, ours, host, port)


def measured(way: Way, alone: Way | None, token: str, seconds: float) -> Round:
    """Throughput under load, then latencies of one client alone, then under load beside ``alone``."""
    (busy,), (cpu,) = loaded((way,), token, CONNECTIONS, seconds)
    (calm,), _ = loaded((way,), token, 1, seconds / 2)
    ratio = None
    if alone is not None:
        both, cpus = loaded((way, alone), token, CONNECTIONS // 2, seconds)
        own, its = (told["requests"] / spent for told, spent in zip(both, cpus, strict=True))
        ratio = own / its
        busy["statuses"] = Counter(busy["statuses"]) + Counter(both[0]["statuses"])
    failed = sum(count for told in (busy, calm) for status, count in told["statuses"].items() if status != "200")
    found = Round(busy["requests"], busy["seconds"], cpu, failed, 1000 * calm["p50"], 1000 * calm["p99"], ratio)
    print(way.name, found, flush=True)
    return found


def loaded(ways: Sequence[Way], token: str, connections: int, seconds: float) -> tuple[list[Body], list[float]]:
    """Load on all of the ways at once; what the clients say of each, and CPU-seconds of each."""
    before = [sum(map(cpu_seconds, way.pids)) for way in ways]
    command = [sys.executable, "-m", HAMMER, "load"]
    clients = [
        subprocess.Popen([*command, way.url, token, str(connections), str(seconds)], stdout=subprocess.PIPE, text=True) for way in ways
    ]
    told = [client.communicate()[0] for client in clients]
    assert not any(client.returncode for client in clients)
    spent = [sum(map(cpu_seconds, way.pids)) - start for way, start in zip(ways, before, strict=True)]
    return [json.loads(each) for each in told], spent


def first_calls(cluster: ControlCluster, url: str) -> tuple[float, float]:
    """Median and largest, in milliseconds, over callers whose tokens and rights nobody remembers, one after the other on one connection."""
    tokens = [account(cluster, TEAM, f"caller-{number}", "roadstead-invoke") for number in range(CALLERS + 1)]
    wait_for(lambda: httpx.get(url, headers={"Authorization": "Bearer none"}).status_code == 401, "the gateway to answer")
    time.sleep(2)  # the API server's authoriser learns of rights by watching, too
    took = []
    with httpx.Client(timeout=30) as client:
        for token in tokens:
            began = time.perf_counter()
            answer = client.get(url, headers={"Authorization": f"Bearer {token}"})
            took.append(1000 * (time.perf_counter() - began))
            assert answer.status_code == 200, answer.text
    took = took[1:]  # with the first one come the connections, and the endpoint may have to become known
    return statistics.median(took), max(took)


def idle(cluster: ControlCluster, ours: Replica, host: str, port: int) -> str:
    """CPU and memory of Envoy and our process with a thousand Workloads: all at zero, KEDA's questions about them, then each with a pod."""
    assert ours.envoy is not None
    assert ours.process is not None
    pair = {"Envoy": ours.envoy.pid, "the process beside it": ours.process.pid}
    lines = [["", "CPU, ms a second", *(f"memory of {name}, MiB" for name in pair)], ["---", "---:", "---:", "---:"]]

    def look(what: str) -> None:
        time.sleep(5)
        before = {name: cpu_seconds(pid) for name, pid in pair.items()}
        time.sleep(IDLE_SECONDS)
        spent = sum(cpu_seconds(pid) - before[name] for name, pid in pair.items())
        lines.append([what, f"{1000 * spent / IDLE_SECONDS:.1f}", *(f"{resident_mib(pid):.0f}" for pid in pair.values())])
        print(lines[-1], flush=True)

    look("one Workload")
    names = [f"idle-{number:04d}" for number in range(IDLE)]
    asleep = http_autoscaling("httpRequestsConcurrency", low=0, high=3)
    for part in range(0, IDLE, 200):
        apply(cluster, *(here(TEAM, raw_workload(name, runtime=asleep)) for name in names[part : part + 200]))
    look(f"{IDLE:,} Workloads at zero")
    address, folder = f"{SCALER_HOST}:{ours.ports['scaler']}", cluster.state / CERTIFICATES
    with program(QUESTIONS, address, str(folder), TEAM, str(POLLING_SECONDS), *names) as asking:
        assert asking.stdout is not None
        assert asking.stdout.readline() == b"open\n"
        look(f"the same, and KEDA: {2 * IDLE:,} streams, {3 * IDLE / POLLING_SECONDS:.0f} questions a second")
        assert asking.poll() is None
    endpoints(cluster, TEAM, names[-1], port)
    for part in range(0, IDLE, 200):
        apply(cluster, *(endpoint_slice(TEAM, name, port) for name in names[part : part + 200]))
    token = account(cluster, TEAM, "last", "roadstead-invoke")
    url = f"{ours.url}/api/v2/endpoints/workloads/{object_id('workloads', TEAM, names[0])}/"
    wait_for(lambda: httpx.get(url, headers={"Authorization": f"Bearer {token}"}, timeout=60).status_code == 200, "the last pod", 60)
    look(f"{IDLE:,} Workloads with a pod each")
    return "\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


@contextmanager
def program(module: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A module that serves or asks until the end of the block."""
    process = subprocess.Popen([sys.executable, "-m", module, *arguments], stdout=subprocess.PIPE)
    try:
        time.sleep(1.5)
        assert process.poll() is None
        yield process
    finally:
        process.terminate()
        process.wait()


@contextmanager
def lone_envoy(cluster: ControlCluster, host: str, port: int) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Our Envoy, less all that is ours: the same listener and limits, one route to one cluster."""
    listen, admin = free_ports(2)
    config = bootstrap(EnvoySettings(host="127.0.0.1", port=listen, admin_port=admin))
    for dynamic in ("dynamic_resources", "cluster_manager"):
        del config[dynamic]
    manager = config["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    manager["http_filters"] = manager["http_filters"][-1:]
    del manager["rds"]
    route = {"match": {"prefix": "/"}, "route": {"cluster": "service", "timeout": "0s"}}
    manager["route_config"] = {"name": "one", "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]}
    address = {"socket_address": {"address": host, "port_value": port}}
    service = {
        "name": "service",
        "type": "STATIC",
        "lb_policy": "LEAST_REQUEST",
        "load_assignment": {"cluster_name": "service", "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}]},
    }
    config["static_resources"]["clusters"] = [service]
    file = cluster.state / "lone-envoy.json"
    file.write_text(json.dumps(config))
    command = [str(envoy.binary()), "-c", str(file), "--concurrency", "2", "--log-level", "error", "--disable-hot-restart"]
    process = subprocess.Popen(command)
    try:
        time.sleep(2)
        assert process.poll() is None
        yield process, listen
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    main()
