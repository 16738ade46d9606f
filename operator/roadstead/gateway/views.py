"""Projections of what the gateway mirrors: the few fields that decide where a request goes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from roadstead.api.container import Protocol
from roadstead.api.identity import object_id
from roadstead.api.scaling import ScalingMetric
from roadstead.desired.service import APP_PROTOCOLS
from roadstead.kube.resource import Body
from roadstead.names import WORKLOAD_LABEL

Address: TypeAlias = tuple[str, int]
"""IP address and port of a pod."""
PROTOCOLS = {name: protocol for protocol, name in APP_PROTOCOLS.items()}
SERVICE_LABEL = "kubernetes.io/service-name"
LONGEST_MESSAGE = 1024


@dataclass(frozen=True, slots=True)
class WorkloadView:
    """A Workload. ``state`` and ``message`` are the operator's; ``replicas`` counts the pods that there are."""

    id: str
    uid: str
    namespace: str
    name: str
    state: str
    message: str
    replicas: int
    suspended: bool
    deleted: bool
    sleeps: bool
    """It may scale to zero, and wakes by demand."""
    failed_wake: str | None = None
    """When its last wake failed; None unless it did, and again from the moment at which it leaves zero."""
    waking_since: str | None = None
    """When it left zero, if no pod has been ready since; None for a version that has never been ready, which isn't brought back to zero."""

    @property
    def key(self) -> tuple[str, str]:
        return self.namespace, self.name


@dataclass(frozen=True, slots=True)
class EndpointView:
    """A Deployment of ours: the Workload that it refers to, and the one that serves."""

    id: str
    uid: str
    namespace: str
    name: str
    wanted: str
    active: str


@dataclass(frozen=True, slots=True)
class SliceView:
    """Part of the endpoints of a Workload's Service: pods that are ready, pods that are going and answer still, and all others."""

    workload: str
    protocol: Protocol
    ready: tuple[Address, ...]
    leaving: tuple[Address, ...]
    unready: tuple[Address, ...] = ()
    """Not yet, not at the moment, or not any more."""


@dataclass(frozen=True, slots=True)
class PodView:
    """How far a pod has come, for the phases of a cold start."""

    workload: str
    scheduled: bool
    running: bool
    """Its first container runs: the image has been pulled."""
    started: bool
    """Its startup probe has passed, or it has none."""
    terminating: bool


def workload_view(body: Body) -> WorkloadView:
    """Of a Workload."""
    metadata, spec, status = body["metadata"], body["spec"], body.get("status") or {}
    wake: Body = status.get("lastWake") or {}
    scaling = (spec.get("runtime") or {}).get("autoscaling") or {}
    sleeps = bool(scaling.get("enabled")) and any(
        policy.get("scalingMetric") == ScalingMetric.CONCURRENCY and policy.get("minCount") == 0 for policy in scaling.get("policies") or ()
    )
    return WorkloadView(
        id=object_id("workloads", metadata["namespace"], metadata["name"]),
        uid=metadata["uid"],
        namespace=metadata["namespace"],
        name=metadata["name"],
        state=status.get("state") or "submitted",
        message=(status.get("message") or "")[:LONGEST_MESSAGE],
        replicas=int(status.get("replicas") or 0),
        suspended=bool(spec.get("suspend")),
        deleted=bool(spec.get("deleted")) or "deletionTimestamp" in metadata,
        sleeps=sleeps,
        failed_wake=wake.get("at") if wake.get("succeeded") is False else None,
        waking_since=wake.get("at") if "succeeded" not in wake else None,
    )


def endpoint_view(body: Body) -> EndpointView:
    """Of a Deployment of ours."""
    metadata, wanted = body["metadata"], body["spec"]["workloadRef"]["name"]
    return EndpointView(
        id=object_id("deployments", metadata["namespace"], metadata["name"]),
        uid=metadata["uid"],
        namespace=metadata["namespace"],
        name=metadata["name"],
        wanted=wanted,
        active=(body.get("status") or {}).get("activeWorkload") or wanted,
    )


def slice_view(body: Body) -> SliceView:
    """Of an EndpointSlice of a Service of ours. A condition that isn't there means what Kubernetes says it means (discovery/v1)."""
    ready: list[Address] = []
    leaving: list[Address] = []
    unready: list[Address] = []
    port: Body = next(iter(body.get("ports") or ()), {})
    for endpoint in body.get("endpoints") or () if body.get("addressType") != "FQDN" else ():  # a name is nothing to Envoy's EDS
        conditions = endpoint.get("conditions") or {}
        chosen = ready if conditions.get("ready", True) else leaving if conditions.get("serving", False) else unready
        if port.get("port"):
            chosen.extend((address, int(port["port"])) for address in endpoint.get("addresses") or ())
    return SliceView(
        workload=(body["metadata"].get("labels") or {}).get(SERVICE_LABEL, ""),
        protocol=PROTOCOLS.get(port.get("appProtocol") or "", Protocol.HTTP),
        ready=tuple(sorted(ready)),
        leaving=tuple(sorted(leaving)),
        unready=tuple(sorted(unready)),
    )


def pod_view(body: Body) -> PodView:
    """Of a pod of a Workload."""
    metadata, status = body["metadata"], body.get("status") or {}
    containers = status.get("containerStatuses") or ()
    return PodView(
        workload=(metadata.get("labels") or {}).get(WORKLOAD_LABEL, ""),
        scheduled=bool(body["spec"].get("nodeName")),
        running=bool(containers) and all("running" in (container.get("state") or {}) for container in containers),
        started=bool(containers) and all(container.get("started") for container in containers),
        terminating="deletionTimestamp" in metadata,
    )
