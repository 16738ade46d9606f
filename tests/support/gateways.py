"""The gateway as users run it, but on this machine: an Envoy and a gateway process for each replica, with exactly the chart's rights."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from hack.cluster import envoy
from hack.cluster.api import Cluster
from hack.cluster.control import free_ports
from hack.cluster.keda import NAMESPACE as KEDA
from hack.cluster.processes import answers
from roadstead.api.identity import object_id
from roadstead.certificates import dns_names, renewal
from roadstead.gateway.envoy.bootstrap import bootstrap
from roadstead.gateway.envoy.settings import EnvoySettings
from roadstead.names import API_VERSION
from tests.build import raw_artifact, raw_workload
from tests.clusters import NAMESPACE, ROOT, apply, wait_for
from tests.world import here

GATEWAY_ACCOUNT = "roadstead-gateway"
READY: Mapping[str, bool] = {"ready": True, "serving": True, "terminating": False}
"""Conditions of an endpoint in its EndpointSlice."""
Body = dict[str, Any]
CERTIFICATES = "gateway-certificates"
"""Their folder, in the cluster's."""
SCALER_HOST = "localhost"
"""Where KEDA of a test finds it: a name, since it looks for that in the certificate."""
DESCRIPTORS = 256
"""Files that processes that serve many may open by their soft limit: less than containerd's 1,024, so that a test can go beyond it."""
FEW_DESCRIPTORS = ("prlimit", f"--nofile={DESCRIPTORS}:")
"""Before their command."""
PORTS = ("port", "admin", "control", "peer", "authoriser", "peer_authoriser", "scaler", "health", "metrics")


@dataclass
class Replica:
    """One pod's worth: its ports, and its two processes."""

    name: str
    ports: dict[str, int]
    folder: Path
    command: list[str]
    environment: dict[str, str]
    envoy: subprocess.Popen[bytes] | None = None
    process: subprocess.Popen[bytes] | None = None
    logs: list[Path] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Where clients call."""
        return f"http://127.0.0.1:{self.ports['port']}"

    @property
    def scaler(self) -> str:
        """Where KEDA asks."""
        return f"127.0.0.1:{self.ports['scaler']}"

    @property
    def metrics(self) -> str:
        return f"http://127.0.0.1:{self.ports['metrics']}/metrics"

    def start_process(self) -> None:
        """Start the process beside Envoy, with few descriptors, as a container runtime does."""
        self.process = self._spawn("gateway", [*FEW_DESCRIPTORS, *self.command], self.environment)

    def start_envoy(self) -> None:
        """Start Envoy."""
        command = [str(envoy.binary()), "-c", str(self.folder / "envoy.json"), "--concurrency", "2", "--log-level", "warning"]
        self.envoy = self._spawn("envoy", [*command, "--disable-hot-restart", "--drain-strategy", "immediate"], {})

    def wait_ready(self) -> None:
        """Return when it may be sent requests."""
        assert self.process is not None
        process = self.process
        wait_for(lambda: process.poll() is not None or self.ready(), f"{self.name} to be ready", 60)
        assert process.poll() is None, f"{self.name} ended with {process.returncode}:\n{self.log()}"

    def ready(self) -> bool:
        return answers(f"http://127.0.0.1:{self.ports['health']}/readyz")

    def log(self, name: str = "gateway") -> str:
        """The end of what it has logged."""
        return (self.folder / f"{name}.log").read_text(errors="replace")[-6000:]

    def stop(self, seconds: float = 30) -> None:
        """As the kubelet ends a pod: first the process, which drains Envoy, then the sidecar."""
        for running in (self.process, self.envoy):
            if running is not None and running.poll() is None:
                running.terminate()
                try:
                    running.wait(seconds)
                except subprocess.TimeoutExpired:
                    running.kill()
                    running.wait()
                    raise AssertionError(f"{self.name} did not stop within {seconds} s of SIGTERM:\n{self.log()}") from None
        self.process = self.envoy = None

    def kill_process(self) -> None:
        """SIGKILL to the process beside Envoy."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def kill_envoy(self) -> None:
        """SIGKILL to Envoy."""
        assert self.envoy is not None
        self.envoy.send_signal(signal.SIGKILL)
        self.envoy.wait()

    def _spawn(self, name: str, command: list[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env={**os.environ, **environment})


def own_address() -> str:
    """An address of this machine that isn't loopback, which an EndpointSlice may not name. Asking for it sends nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))
        return str(probe.getsockname()[0])


def endpoint_slice(namespace: str, name: str, port: int, protocol: str = "http", conditions: Mapping[str, bool] = READY) -> Body:
    """What the EndpointSlice controller would say if a pod of that Workload were on this machine, behind that port."""
    labels = {"kubernetes.io/service-name": name, "app.kubernetes.io/managed-by": "roadstead", "roadstead.dev/workload": name}
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": f"{name}-{port}", "namespace": namespace, "labels": labels},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": port, "protocol": "TCP", "appProtocol": protocol}],
        "endpoints": [{"addresses": [own_address()], "conditions": dict(conditions)}],
    }


def deployed(cluster: Cluster, namespace: str, name: str) -> str:
    """A Workload and a Deployment in front of it; returns its id."""
    front = {
        "apiVersion": API_VERSION,
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {"workloadRef": {"name": raw_workload()["metadata"]["name"]}},
    }
    apply(cluster, here(namespace, raw_artifact(status="registered")), here(namespace, raw_workload()), here(namespace, front))
    return object_id("deployments", namespace, name)


def endpoints(cluster: Cluster, namespace: str, name: str, *ports: int) -> None:
    """Ready pods of a Workload, behind these ports of this machine."""
    apply(cluster, *(endpoint_slice(namespace, name, port) for port in ports))


def gateway_access(cluster: Cluster) -> Path:
    """The way into a cluster with exactly the rights that the chart gives the gateway; ``install_rbac`` has brought them."""
    user = f"system:serviceaccount:{NAMESPACE}:{GATEWAY_ACCOUNT}"
    return cluster.client_kubeconfig(user, ("system:serviceaccounts", "system:authenticated"))


def replica(
    cluster: Cluster,
    kubeconfig: Path,
    name: str = "gateway-0",
    *,
    ports: dict[str, int] | None = None,
    peers: tuple[Replica, ...] = (),
    peer_ports: tuple[dict[str, int], ...] = (),
    certificates: Path | None = None,
    envoy_settings: Mapping[str, Any] | None = None,
    **environment: str,
) -> Replica:
    """A replica that is not started yet. Those it knows as peers are given by their ports; ``envoy_settings`` are more of EnvoySettings."""
    chosen = ports or dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
    folder = cluster.state / name
    folder.mkdir(exist_ok=True)
    others = (*peer_ports, *(peer.ports for peer in peers))
    settings = EnvoySettings(
        node=name,
        host="127.0.0.1",
        port=chosen["port"],
        admin_port=chosen["admin"],
        control_port=chosen["control"],
        authoriser_port=chosen["authoriser"],
        peers=tuple(("127.0.0.1", other["peer"], other["peer_authoriser"]) for other in others),
        certificates=certificates,
        **(envoy_settings or {}),
    )
    (folder / "envoy.json").write_text(json.dumps(bootstrap(settings)))
    flags = {
        "kubeconfig": kubeconfig,
        "namespace": NAMESPACE,
        "identity": name,
        "health-port": chosen["health"],
        "metrics-port": chosen["metrics"],
        "control-port": chosen["control"],
        "peer-port": chosen["peer"],
        "authoriser-port": chosen["authoriser"],
        "peer-authoriser-port": chosen["peer_authoriser"],
        "scaler-port": chosen["scaler"],
        "admin-port": chosen["admin"],
        "peer-service": "",
    }
    command = [sys.executable, "-m", "roadstead", "gateway", *(f"--{flag}={value}" for flag, value in flags.items())]
    command += [f"--peer=127.0.0.1:{other['peer']}" for other in others]
    if certificates is not None:
        command += [f"--certificates={certificates}"]
    defaults = {"ROADSTEAD_DRAIN_SECONDS": "0", "PYTHONPATH": str(ROOT / "operator")}
    return Replica(name, chosen, folder, command, {**defaults, **environment})


def figure(replica: Replica, series: str) -> float:
    """A figure of the gateway's process, by its whole name with labels."""
    for line in httpx.get(replica.metrics, timeout=10).text.splitlines():
        name, _, value = line.rpartition(" ")
        if name == series:
            return float(value)
    raise AssertionError(f"no {series}")


def wait_route(replica: Replica, idle_timeout_seconds: int) -> None:
    """Return when Envoy's route has that idle timeout."""
    dump = f"http://127.0.0.1:{replica.ports['admin']}/config_dump?resource=dynamic_route_configs"
    wait_for(lambda: f'"idle_timeout": "{idle_timeout_seconds}s"' in httpx.get(dump, timeout=5).text, "Envoy to have the route")


@contextmanager
def running_gateway(cluster: Cluster, kubeconfig: Path, **options: Any) -> Iterator[Replica]:
    """One replica, without TLS unless it is given certificates. Stopped at the end, and must end well."""
    one = replica(cluster, kubeconfig, **options)
    with ExitStack() as stack:
        stack.callback(one.stop)
        one.start_process()
        one.start_envoy()
        one.wait_ready()
        yield one


def certificates(folder: Path, *more: str) -> Path:
    """What ``roadstead certs ensure`` would put into the gateway's Secret, as files; for more names than the chart's, if need be."""
    folder.mkdir(exist_ok=True)
    names = (*dns_names(NAMESPACE, "roadstead-gateway", "roadstead-gateway-peers"), *more)
    made = renewal(None, names, datetime.now(UTC))
    assert made is not None
    for name, content in made.data.items():
        (folder / name).write_bytes(content)
    return folder


def scaler_authentication(cluster: Cluster, folder: Path, name: str = "roadstead-scaler") -> str:
    """What the chart and ``roadstead certs ensure`` give KEDA, from these files; returns the name of its ClusterTriggerAuthentication."""
    files = {"ca.crt": "ca.crt", "tls.crt": "client.crt", "tls.key": "client.key"}
    data = {key: (folder / file).read_text() for key, file in files.items()}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": f"{name}-tls", "namespace": KEDA}, "stringData": data}
    parameters = {"caCert": "ca.crt", "tlsClientCert": "tls.crt", "tlsClientKey": "tls.key"}
    references = [{"parameter": parameter, "name": f"{name}-tls", "key": key} for parameter, key in parameters.items()]
    authentication = {"apiVersion": "keda.sh/v1alpha1", "kind": "ClusterTriggerAuthentication", "metadata": {"name": name}}
    apply(cluster, secret, {**authentication, "spec": {"secretTargetRef": references}})
    return name


def unstarted(cluster: Cluster, kubeconfig: Path, *more_names: str, **environment: str) -> tuple[Replica, Replica]:
    """Two replicas that know each other by mutual TLS, with certificates for more names if need be."""
    names = ("gateway-0", "gateway-1")
    ports = [dict(zip(PORTS, free_ports(len(PORTS)), strict=True)) for _ in names]
    folder = certificates(cluster.state / CERTIFICATES, *more_names)
    first, second = (
        replica(cluster, kubeconfig, name, ports=mine, peer_ports=(other,), certificates=folder, **environment)
        for name, mine, other in zip(names, ports, reversed(ports), strict=True)
    )
    return first, second


@contextmanager
def two_gateways(cluster: Cluster, kubeconfig: Path, *more_names: str, **environment: str) -> Iterator[tuple[Replica, Replica]]:
    """The same, running and ready. What runs at the end is stopped."""
    pair = unstarted(cluster, kubeconfig, *more_names, **environment)
    with ExitStack() as stack:
        for one in pair:
            stack.callback(one.stop)
            one.start_process()
            one.start_envoy()
        for one in pair:
            one.wait_ready()
        yield pair
