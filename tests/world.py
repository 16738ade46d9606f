"""Looking at Workloads in a test cluster: what is declared into a namespace, and what the status says."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hack.cluster.api import Cluster
from tests.clusters import NAMESPACE, apply, audit_position, get, wait_for, writes

Body = dict[str, Any]


@contextmanager
def new_namespace(cluster: Cluster) -> Iterator[str]:
    """A namespace for the length of the ``with`` block. Its Workloads go first, so that nothing is made again while it goes."""
    name = f"t{uuid.uuid4().hex[:8]}"
    cluster.kubectl("create", "namespace", name)
    yield name
    cluster.kubectl("delete", "workloads.roadstead.dev", "--all", "-n", name, "--wait=false")
    cluster.kubectl("delete", "namespace", name, "--wait=false")


def here(namespace: str, body: Body) -> Body:
    """The object in that namespace, without the uid and generation that builders give to typed objects."""
    return {**body, "metadata": {"name": body["metadata"]["name"], "namespace": namespace}}


def status(cluster: Cluster, namespace: str, name: str = "chat", kind: str = "workloads.roadstead.dev") -> Body:
    """Status of an object; empty while it has none."""
    return (get(cluster, kind, name, namespace) or {}).get("status") or {}


def condition(status: Body, kind: str) -> Body:
    """One condition; empty if it isn't there."""
    return next((c for c in status.get("conditions", []) if c["type"] == kind), {})


def wait_state(cluster: Cluster, namespace: str, state: str, name: str = "chat", seconds: float = 40) -> Body:
    """Wait until a Workload is in that state; returns its status."""

    seen: Body = {}

    def reached() -> bool:
        nonlocal seen
        seen = status(cluster, namespace, name)
        return seen.get("state") == state

    try:
        wait_for(reached, f"{name} to be {state}", seconds)
    except AssertionError as error:
        raise AssertionError(f"{error}, its status {seen}") from None
    return seen


def asleep(cluster: Cluster, namespace: str, name: str) -> bool:
    """Whether a Workload has scaled to zero."""
    seen = status(cluster, namespace, name)
    return seen.get("state") == "running" and condition(seen, "Ready").get("reason") == "ScaledToZero"


def active_workload(cluster: Cluster, namespace: str, deployment: str) -> str:
    """Which Workload serves a Deployment's callers; empty while none does."""
    return str(status(cluster, namespace, deployment, "rsd").get("activeWorkload") or "")


def told(cluster: Cluster, namespace: str, name: str = "chat") -> list[tuple[str, str]]:
    """Type and reason of the Events about a Workload, by time."""
    found = json.loads(cluster.kubectl("get", "events.events.k8s.io", "-n", namespace, "-o", "json"))["items"]
    ours = [event for event in found if (event["regarding"]["kind"], event["regarding"]["name"]) == ("Workload", name)]
    return [(event["type"], event["reason"]) for event in sorted(ours, key=lambda event: str(event["eventTime"]))]


def patch(cluster: Cluster, kind: str, name: str, namespace: str, **spec: Any) -> None:
    """Change fields of a spec."""
    cluster.kubectl("patch", kind, name, "-n", namespace, "--type=merge", "-p", json.dumps({"spec": spec}))


def gateway(cluster: Cluster, *, ready: bool) -> None:
    """The gateway's Service and its EndpointSlice, with a pod that is ready or isn't."""
    name = "roadstead-gateway"
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": NAMESPACE}}
    labels = {"kubernetes.io/service-name": name}
    part = {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4"}
    part |= {"metadata": {"name": f"{name}-1", "namespace": NAMESPACE, "labels": labels}}
    part |= {"endpoints": [{"addresses": ["10.9.8.7"], "conditions": {"ready": ready}}], "ports": [{"port": 8000}]}
    apply(cluster, {**service, "spec": {"ports": [{"port": 80}]}}, part)


def room(cluster: Cluster, *, there: bool) -> None:
    """Whether any node takes pods: without, none gets ready."""
    for node in cluster.kubectl("get", "nodes", "-o", "name").split():
        cluster.kubectl("patch", node, "--type=merge", "-p", json.dumps({"spec": {"unschedulable": not there}}))


def unready(cluster: Cluster, namespace: str, name: str = "chat") -> Body | None:
    """Take readiness from a pod of a Workload, as the kubelet does when the probe fails; returns the pod, None if there is none."""
    pods = json.loads(cluster.kubectl("get", "pods", "-n", namespace, "-l", f"roadstead.dev/workload={name}", "-o", "json"))["items"]
    if not pods:
        return None
    pod: Body = pods[0]
    states = [
        {**entry, "ready": False, "started": True, "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}}
        for entry in pod["status"].get("containerStatuses") or [{"name": "main", "image": "x", "imageID": "", "restartCount": 0}]
    ]
    change = {"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "False"}], "containerStatuses": states}}
    flags = ("--subresource=status", "-p", json.dumps(change))
    cluster.kubectl("patch", "pod", pod["metadata"]["name"], "-n", namespace, *flags, check=False)
    return pod


def pod_uids(cluster: Cluster, namespace: str, name: str = "chat") -> str:
    """The uids of a Workload's pods."""
    flags = ("-l", f"roadstead.dev/workload={name}", "-o", "jsonpath={.items[*].metadata.uid}")
    return " ".join(sorted(cluster.kubectl("get", "pods", "-n", namespace, *flags).split()))


def pod_images(cluster: Cluster, namespace: str, name: str) -> set[str]:
    """The images of a Workload's pods, as their kubelets say that they run."""
    flags = ("-l", f"roadstead.dev/workload={name}", "-o", "jsonpath={.items[*].status.containerStatuses[*].imageID}")
    return set(cluster.kubectl("get", "pods", "-n", namespace, *flags).split())


def quiet(cluster: Cluster, seconds: float = 2.0) -> None:
    """Wait until the operator has written nothing for so long; fails when it never rests."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        before = audit_position(cluster)
        time.sleep(seconds)
        if not (last := writes(cluster, before)):
            return
    raise AssertionError(f"the operator keeps writing: {last}")
