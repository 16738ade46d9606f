"""KEDA beside a cluster: operator, metrics adapter and admission webhooks as processes of this machine.

The operator has the rights that KEDA gives it, and the limits of ``examples/keda-values.yaml``; the other two are administrators.

What is tested against is KEDA itself; only its packaging is missing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from hack.cluster import beside, binaries
from hack.cluster.api import Cluster
from hack.cluster.beside import Certificates
from hack.cluster.control import LOOPBACK, free_ports
from hack.cluster.processes import Command, Running, answers, start, wait_until

NAMESPACE = "keda"
MODULE = "github.com/kedacore/keda/v2"
METRICS = ("external.metrics.k8s.io", "v1beta1", "keda-metrics-apiserver")
VALUES: dict[str, Any] = yaml.safe_load((Path(__file__).parents[2] / "examples" / "keda-values.yaml").read_text())
"""What users are told to install KEDA with."""
FASTER: dict[str, int] = VALUES["extraArgs"]["keda"]
ADAPTER_FASTER: dict[str, int] = VALUES["extraArgs"]["metricsAdapter"]
OPERATOR = "keda-operator"
READY_SECONDS = 60


@dataclass(slots=True)
class Keda:
    """A running KEDA; its processes can be stopped and started again one by one."""

    cluster: Cluster
    certificates: Certificates
    processes: dict[str, Running] = field(default_factory=dict)

    def stop(self, *names: str) -> None:
        """Stop these processes (``keda-operator``, ``keda-adapter``, ``keda-webhooks``), or all; their objects stay."""
        for name in names or tuple(self.processes):
            self.processes[name].stop(grace_seconds=2)  # the adapter would wait for its watches

    def kill(self) -> None:
        """End all its processes at once, by SIGKILL."""
        for running in self.processes.values():
            running.kill()

    def start(self, *names: str) -> None:
        """Start stopped ones again; returns when they are ready."""
        for name in names or tuple(self.processes):
            self.launch(self.processes[name].command)

    def launch(self, command: Command) -> None:
        """Start one process; returns when it is ready."""
        running = self.processes[command.name] = start(command, self.cluster.state / "logs")
        if command.name == "keda-adapter":
            group, version, _ = METRICS
            path = f"/apis/{group}/{version}"
            wait_until(lambda: bool(self.cluster.kubectl("get", "--raw", path, check=False)), "KEDA's adapter", READY_SECONDS, [running])
            return
        flag = next(part for part in command.arguments if part.startswith("--health-probe-bind-address="))
        wait_until(lambda: answers(f"http://{LOOPBACK}:{flag.rpartition(':')[2]}/readyz"), command.name, READY_SECONDS, [running])


@contextmanager
def keda(cluster: Cluster) -> Iterator[Keda]:
    """Install KEDA's kinds and run KEDA for the length of the ``with`` block; builds its binaries first.

    A control tier must have been started with ``beside.AGGREGATION_FLAGS``. At the end the processes go; kinds and objects stay.
    """
    binaries.ensure((binaries.KEDA,))
    install_crds(cluster)
    cluster.kubectl("create", "namespace", NAMESPACE, check=False)
    cluster.kubectl("apply", "--server-side", "-k", str(sources() / "config" / "rbac"))
    limit_flows(cluster)
    names = ("keda-operator", "keda-metrics-apiserver", "keda-admission-webhooks")
    running = Keda(cluster, beside.certificates(cluster, "keda", [f"{name}.{NAMESPACE}.svc" for name in names]))
    service, adapter, adapter_port, webhooks, *health = free_ports(6)
    group, version, api = METRICS
    try:
        running.launch(_operator(running, service, health[0]))
        running.launch(_webhooks(running, webhooks, health[1]))
        _register_webhooks(running, webhooks)
        bundle = running.certificates.bundle()
        beside.publish_api(cluster, group=group, version=version, service=api, namespace=NAMESPACE, port=adapter, bundle=bundle)
        running.launch(_adapter(running, service, adapter, adapter_port))
        yield running
    finally:
        running.stop()


def install_crds(cluster: Cluster) -> None:
    """KEDA's kinds, from the sources that it was built from; returns when they are served."""
    folder = sources() / "config" / "crd" / "bases"
    cluster.kubectl("apply", "--server-side", "-f", str(folder))
    cluster.kubectl("wait", "--for=condition=Established", "--timeout=30s", "-f", str(folder))


def limit_flows(cluster: Cluster) -> None:
    """Have the API server put KEDA's counts before what is written about them, by KEDA and our operator; harmless when repeated."""
    items = VALUES["extraObjects"]
    cluster.kubectl("apply", "--server-side", "-f", "-", input=json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))


def operator_access(cluster: Cluster) -> Path:
    """The way into the cluster with exactly the rights that KEDA's manifests give its operator, by a token, as its pod has one."""
    cluster.kubectl("create", "serviceaccount", OPERATOR, "--namespace", NAMESPACE, check=False)
    return cluster.account_kubeconfig(NAMESPACE, OPERATOR)


def sources() -> Path:
    """The folder of KEDA's sources."""
    return binaries.module_folder(binaries.KEDA, MODULE)


def _operator(keda: Keda, service: int, health: int) -> Command:
    flags = {
        "metrics-bind-address": "0",
        "health-probe-bind-address": f"{LOOPBACK}:{health}",
        "metrics-service-bind-address": f"{LOOPBACK}:{service}",
        "cert-dir": keda.certificates.folder,
        "enable-cert-rotation": "false",
        "enable-webhook-patching": "false",
        "enable-apiservice-patching": "false",
        **FASTER,
    }
    return _command(keda, OPERATOR, flags, operator_access(keda.cluster))


def _webhooks(keda: Keda, port: int, health: int) -> Command:
    flags = {
        "metrics-bind-address": "0",
        "health-probe-bind-address": f"{LOOPBACK}:{health}",
        "port": port,
        "cert-dir": keda.certificates.folder,
        **FASTER,  # of those the values say nothing: what is applied in a burst by tests shouldn't wait for them
    }
    return _command(keda, "keda-webhooks", flags, keda.cluster.kubeconfig)


def _adapter(keda: Keda, service: int, secure: int, port: int) -> Command:
    kubeconfig = keda.cluster.kubeconfig
    flags = {
        "secure-port": secure,
        "bind-address": beside.address(keda.cluster),
        "port": port,
        "cert-dir": keda.certificates.folder,
        "tls-cert-file": keda.certificates.certificate,
        "tls-private-key-file": keda.certificates.key,
        "client-ca-file": keda.certificates.authority,
        "requestheader-client-ca-file": keda.cluster.state / "pki-front-proxy" / "ca.crt",
        "authentication-kubeconfig": kubeconfig,
        "authorization-kubeconfig": kubeconfig,
        "lister-kubeconfig": kubeconfig,
        "metrics-service-address": f"localhost:{service}",
        **ADAPTER_FASTER,
    }
    return _command(keda, "keda-adapter", flags, kubeconfig)


def _command(keda: Keda, name: str, flags: dict[str, object], kubeconfig: Path) -> Command:
    environment = {
        "KUBECONFIG": str(kubeconfig),
        "WATCH_NAMESPACE": "",
        "POD_NAMESPACE": NAMESPACE,
        "KEDA_CLUSTER_OBJECT_NAMESPACE": NAMESPACE,
    }
    arguments = (str(binaries.path_to(binaries.KEDA, name)), *(f"--{flag}={value}" for flag, value in flags.items()))
    return Command(name, arguments, tuple(environment.items()))


def _register_webhooks(keda: Keda, port: int) -> None:
    """KEDA's own configuration, pointed at our process."""
    text = (sources() / "config" / "webhooks" / "validation_webhooks.yaml").read_text()
    configuration: dict[str, Any] = yaml.safe_load(text)
    for webhook in configuration["webhooks"]:
        path = webhook["clientConfig"]["service"]["path"]
        url = f"https://{beside.address(keda.cluster)}:{port}{path}"
        webhook["clientConfig"] = {"url": url, "caBundle": keda.certificates.bundle()}
    keda.cluster.kubectl("apply", "--server-side", "-f", "-", input=json.dumps(configuration))
