"""Servers that run beside a cluster, as processes of this machine, and that its API server calls: aggregated APIs and webhooks.

In the full tier the API server has a network of its own and reaches this machine at the host's end of the link. In the control tier it
is on loopback, and there an aggregated API must be an ExternalName for localhost, since EndpointSlices can't hold 127.x: such a cluster
has to be started with ``AGGREGATION_FLAGS``.
"""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hack.cluster.api import Cluster
from hack.cluster.certificates import Authority
from hack.cluster.control import LOOPBACK
from hack.cluster.full import FullCluster

AGGREGATION_FLAGS = ("--enable-aggregator-routing=false",)
"""For ``control_cluster(extra_apiserver_flags=…)``: the API server resolves Services of aggregated APIs by name."""


@dataclass(frozen=True, slots=True)
class Certificates:
    """A folder with ``ca.crt``, ``tls.crt`` and ``tls.key``, for servers and for clients."""

    folder: Path

    @property
    def authority(self) -> Path:
        return self.folder / "ca.crt"

    @property
    def certificate(self) -> Path:
        return self.folder / "tls.crt"

    @property
    def key(self) -> Path:
        return self.folder / "tls.key"

    def bundle(self) -> str:
        """The authority as Kubernetes' ``caBundle``."""
        return base64.b64encode(self.authority.read_bytes()).decode()


def address(cluster: Cluster) -> str:
    """Where the cluster's API server finds this machine."""
    return cluster.slot.host_end if isinstance(cluster, FullCluster) else LOOPBACK


def certificates(cluster: Cluster, name: str, services: Sequence[str]) -> Certificates:
    """Certificates for one server, good for its address and for the names of its Services (``name.namespace.svc``)."""
    authority = Authority(cluster.ca_file.parent)
    pair = authority.server(name, ("localhost", *services), sorted({LOOPBACK, address(cluster)}))
    folder = cluster.state / name
    folder.mkdir(exist_ok=True)
    made = Certificates(folder)
    for source, target in ((authority.certificate, made.authority), (pair.certificate, made.certificate), (pair.key, made.key)):
        shutil.copy(source, target)
    return made


def publish_api(cluster: Cluster, *, group: str, version: str, service: str, namespace: str, port: int, bundle: str) -> None:
    """Tell the API server that the group is served by this machine, at that port; harmless when repeated."""
    api: dict[str, Any] = {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": f"{version}.{group}"},
        "spec": {
            "group": group,
            "version": version,
            "groupPriorityMinimum": 100,
            "versionPriority": 100,
            "caBundle": bundle,
            "service": {"name": service, "namespace": namespace, "port": 443 if isinstance(cluster, FullCluster) else port},
        },
    }
    metadata = {"name": service, "namespace": namespace}
    objects: list[dict[str, Any]] = [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}]
    if isinstance(cluster, FullCluster):
        ports = [{"name": "https", "port": 443, "targetPort": port}]
        slice_ = {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {**metadata, "labels": {"kubernetes.io/service-name": service}},
            "addressType": "IPv4",
            "ports": [{"name": "https", "port": port}],
            "endpoints": [{"addresses": [address(cluster)]}],
        }
        objects += [{"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"ports": ports}}, slice_]
    else:
        spec: dict[str, Any] = {"type": "ExternalName", "externalName": "localhost", "ports": [{"port": port}]}
        objects.append({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec})
    listed = {"apiVersion": "v1", "kind": "List", "items": [*objects, api]}
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", input=json.dumps(listed))
