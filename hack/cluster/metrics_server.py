"""metrics-server beside a full tier, as a process of this machine: what HPAs on CPU read, and `kubectl top`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

from hack.cluster import beside, binaries
from hack.cluster.control import free_ports
from hack.cluster.full import FullCluster
from hack.cluster.processes import Command, start, wait_until

NAMESPACE = "kube-system"
SERVICE = "metrics-server"
GROUP, VERSION = "metrics.k8s.io", "v1beta1"
READY_SECONDS = 90


@contextmanager
def metrics_server(cluster: FullCluster) -> Iterator[None]:
    """Run it for the length of the ``with`` block; builds it first, and returns when it has figures of the node (half a minute)."""
    binaries.ensure((binaries.METRICS_SERVER,))
    made = beside.certificates(cluster, SERVICE, [f"{SERVICE}.{NAMESPACE}.svc"])
    port = free_ports(1)[0]
    flags = {
        "kubeconfig": cluster.kubeconfig,
        "authentication-kubeconfig": cluster.kubeconfig,
        "authorization-kubeconfig": cluster.kubeconfig,
        "secure-port": port,
        "bind-address": beside.address(cluster),
        "cert-dir": made.folder,
        "tls-cert-file": made.certificate,
        "tls-private-key-file": made.key,
        "client-ca-file": made.authority,
        "requestheader-client-ca-file": cluster.state / "pki-front-proxy" / "ca.crt",
        "kubelet-insecure-tls": "true",
        "kubelet-preferred-address-types": "InternalIP",
        "metric-resolution": "10s",
        "kubelet-request-timeout": "5s",
    }
    arguments = (str(binaries.path_to(binaries.METRICS_SERVER, SERVICE)), *(f"--{flag}={value}" for flag, value in flags.items()))
    running = start(Command(SERVICE, arguments), cluster.state / "logs")
    try:
        beside.publish_api(cluster, group=GROUP, version=VERSION, service=SERVICE, namespace=NAMESPACE, port=port, bundle=made.bundle())
        wait_until(lambda: _has_figures(cluster), "figures of the node", READY_SECONDS, [running])
        yield
    finally:
        running.stop(grace_seconds=2)
        # A group that nobody serves any more would keep namespaces from going.
        cluster.kubectl("delete", "apiservice", f"{VERSION}.{GROUP}", "--ignore-not-found", check=False)


def _has_figures(cluster: FullCluster) -> bool:
    text = cluster.kubectl("get", "--raw", f"/apis/{GROUP}/{VERSION}/nodes", check=False)
    return bool(text) and bool(json.loads(text)["items"])
