"""The gateway beside what it is made of: ``python -m tests.bench.gateway [--seconds S] [--write]``, on the control tier.

The same small request goes to the service itself, through Envoy alone, through a plain proxy on aiohttp, and through our gateway: with
the permission that Envoy remembers (warm), and with a question to the authoriser each time. All share the machine's cores with the client;
what compares is requests per CPU-second of all that stands between client and service. Further: what 1,000 idle Workloads cost.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from hack.cluster import envoy
from hack.cluster.control import ControlCluster, control_cluster, free_ports
from roadstead.api.identity import object_id
from roadstead.gateway.envoy.bootstrap import bootstrap
from roadstead.gateway.envoy.settings import EnvoySettings
from tests.bench.document import HELP, write
from tests.bench.measure import cpu_seconds
from tests.build import raw_artifact, raw_workload
from tests.clusters import apply, declare_platform, install_crds, install_rbac, wait_admission, wait_for
from tests.support.gateways import Replica, endpoint_slice, endpoints, gateway_access, own_address, running_gateway
from tests.support.memory import resident_mib
from tests.support.rest import account
from tests.world import here

TEAM = "team"
CONNECTIONS = 32
IDLE = 1000
IDLE_SECONDS = 20.0
Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Row:
    """One way to the service, under load and with one client alone. CPU is of what stands between, in seconds."""

    name: str
    requests: int
    seconds: float
    cpu: float
    failed: int
    p50_ms: float
    p99_ms: float

    def cells(self, direct: Row, alone: Row) -> list[str]:
        per_cpu = f"{self.requests / self.cpu:,.0f}" if self.cpu else ""
        ratio = f"{(self.requests / self.cpu) / (alone.requests / alone.cpu):.2f}" if self.cpu else ""
        added = [f"{self.p50_ms - direct.p50_ms:+.2f}", f"{self.p99_ms - direct.p99_ms:+.2f}"] if self is not direct else ["", ""]
        latency = [f"{self.p50_ms:.2f}", f"{self.p99_ms:.2f}"]
        return [self.name, f"{self.requests / self.seconds:,.0f}", per_cpu, ratio, *latency, *added, str(self.failed)]


HEAD = ["way", "requests/s", "per CPU-second", "to Envoy alone", "p50, ms", "p99, ms", "added p50", "added p99", "failed"]


def main() -> None:
    parser = argparse.ArgumentParser(description="The gateway beside what it is made of")
    parser.add_argument("--seconds", type=float, default=6.0)
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
        program("origin", host, str(port)),
        program("proxy", str(proxy), f"http://{host}:{port}") as plain,
        lone_envoy(cluster, host, port) as (lone, lone_port),
        running_gateway(cluster, gateway_access(cluster)) as ours,
    ):
        endpoints(cluster, TEAM, name, port)
        assert ours.envoy is not None
        assert ours.process is not None
        first = first_call(f"{ours.url}{path}", token)
        pair = (ours.envoy.pid, ours.process.pid)
        rows = [
            measured("the service itself", f"http://{host}:{port}/", token, seconds, ()),
            measured("Envoy alone", f"http://127.0.0.1:{lone_port}{path}", token, seconds, (lone.pid,)),
            measured("our gateway, warm", f"{ours.url}{path}", token, seconds, pair),
        ]
        declare_platform(cluster, gateway={"verdictSeconds": 0})
        time.sleep(6)  # what Envoy remembers is over
        rows.append(measured("our gateway, asking each time", f"{ours.url}{path}", token, seconds, pair))
        rows.append(measured("a proxy on aiohttp", f"http://127.0.0.1:{proxy}/", token, seconds, (plain.pid,)))
        declare_platform(cluster)
        lines = [HEAD, ["---", *("---:" for _ in HEAD[1:])], *(row.cells(rows[0], rows[1]) for row in rows)]
        text = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        text += f"\n\nThe first call of a caller, with its reviews of token and right: {1000 * first:.1f} ms.\n"
        return text + idle(cluster, ours, host, port)


def measured(name: str, url: str, token: str, seconds: float, pids: Sequence[int]) -> Row:
    """Throughput under load, then latencies of one client alone."""
    command = [sys.executable, "-m", "tests.bench.hammer", "load", url, token]
    before = sum(map(cpu_seconds, pids))
    busy = json.loads(subprocess.run([*command, str(CONNECTIONS), str(seconds)], capture_output=True, text=True, check=True).stdout)
    cpu = sum(map(cpu_seconds, pids)) - before
    calm = json.loads(subprocess.run([*command, "1", str(seconds / 2)], capture_output=True, text=True, check=True).stdout)
    failed = sum(count for told in (busy, calm) for status, count in told["statuses"].items() if status != "200")
    row = Row(name, busy["requests"], busy["seconds"], cpu, failed, 1000 * calm["p50"], 1000 * calm["p99"])
    print(row, flush=True)
    return row


def first_call(url: str, token: str) -> float:
    """Seconds of the first call, whose permission nobody remembers; the endpoint may have to become known before."""
    wait_for(lambda: httpx.get(url, headers={"Authorization": "Bearer none"}).status_code == 401, "the gateway to answer")
    began = time.perf_counter()
    answer = httpx.get(url, headers={"Authorization": f"Bearer {token}"}, timeout=30)
    assert answer.status_code == 200, answer.text
    return time.perf_counter() - began


def idle(cluster: ControlCluster, ours: Replica, host: str, port: int) -> str:
    """CPU and memory of Envoy and our process with a thousand Workloads: all at zero, then each with a pod."""
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
    for part in range(0, IDLE, 200):
        apply(cluster, *(here(TEAM, {**raw_workload(), "metadata": {"name": name}}) for name in names[part : part + 200]))
    look(f"{IDLE:,} Workloads at zero")
    endpoints(cluster, TEAM, names[-1], port)
    for part in range(0, IDLE, 200):
        apply(cluster, *(endpoint_slice(TEAM, name, port) for name in names[part : part + 200]))
    token = account(cluster, TEAM, "last", "roadstead-invoke")
    url = f"{ours.url}/api/v2/endpoints/workloads/{object_id('workloads', TEAM, names[0])}/"
    wait_for(lambda: httpx.get(url, headers={"Authorization": f"Bearer {token}"}, timeout=60).status_code == 200, "the last pod", 60)
    look(f"{IDLE:,} Workloads with a pod each")
    return "\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


@contextmanager
def program(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """One of hammer's programs."""
    process = subprocess.Popen([sys.executable, "-m", "tests.bench.hammer", *arguments])
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
