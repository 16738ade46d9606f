"""Builders for tests: the smallest valid object, changed by what a test says. ``raw_*`` give JSON, the others typed objects."""

from __future__ import annotations

from typing import Any

from roadstead.api.artifact import Artifact
from roadstead.api.deployment import Deployment
from roadstead.api.platform import PlatformSpec
from roadstead.api.workload import Workload

Body = dict[str, Any]
API_VERSION = "roadstead.dev/v1alpha1"
IMAGE = "registry.test/whoami@sha256:" + "0" * 64


def metadata(name: str, **more: Any) -> Body:
    return {"name": name, "namespace": "team", "uid": f"uid-{name}", "generation": 1, **more}


def raw_container(**fields: Any) -> Body:
    return {"imageUri": IMAGE, "resourceRequest": {"cpu": 0.1, "memory": "64Mi"}, **fields}


def raw_artifact(name: str = "model", containers: list[Body] | None = None, meta: Body | None = None, **spec: Any) -> Body:
    groups = [{"containers": containers or [raw_container()]}]
    return {
        "apiVersion": API_VERSION,
        "kind": "Artifact",
        "metadata": metadata(name) if meta is None else meta,
        "spec": {"containerGroups": groups, **spec},
    }


def raw_workload(name: str = "chat", artifact: str = "model", meta: Body | None = None, inline: Body | None = None, **spec: Any) -> Body:
    source = {"artifactRef": {"name": artifact}} if inline is None else {"artifact": inline}
    return {
        "apiVersion": API_VERSION,
        "kind": "Workload",
        "metadata": metadata(name) if meta is None else meta,
        "spec": {**source, **spec},
    }


def raw_whoami(name: str, image: str, *, runtime: Body, start_seconds: int = 0) -> Body:
    """A Workload of examples/whoami that is ready as soon as it answers, or a while later."""
    probe = {"path": "/readyz", "initialDelaySeconds": start_seconds, "periodSeconds": 1, "timeoutSeconds": 5}
    container = {"imageUri": image, "resourceRequest": {"cpu": 0.05, "memory": "64Mi"}, "readinessProbe": probe}
    return raw_workload(name, inline={"status": "registered", "containerGroups": [{"containers": [container]}]}, runtime=runtime)


def raw_deployment(name: str, workload: str) -> Body:
    return {"apiVersion": API_VERSION, "kind": "Deployment", "metadata": metadata(name), "spec": {"workloadRef": {"name": workload}}}


def artifact(*args: Any, **fields: Any) -> Artifact:
    return Artifact.model_validate(raw_artifact(*args, **fields))


def workload(*args: Any, replicas: int | None = None, **fields: Any) -> Workload:
    if replicas is not None:
        fields["runtime"] = {"replicaCount": replicas}
    return Workload.model_validate(raw_workload(*args, **fields))


def endpoint(name: str = "front", target: str = "chat", **spec: Any) -> Deployment:
    body = {"apiVersion": API_VERSION, "kind": "Deployment", "metadata": metadata(name), "spec": {"workloadRef": {"name": target}, **spec}}
    return Deployment.model_validate(body)


def platform(**spec: Any) -> PlatformSpec:
    return PlatformSpec.model_validate(spec)


def autoscaling(metric: str, target: float, low: int, high: int) -> Body:
    """A Workload's ``runtime`` with one policy."""
    policy = {"scalingMetric": metric, "target": target, "minCount": low, "maxCount": high}
    return {"autoscaling": {"enabled": True, "policies": [policy]}}


def cpu_autoscaling(target: float = 50, low: int = 1, high: int = 3) -> Body:
    return autoscaling("cpuAverageUtilization", target, low, high)


def http_autoscaling(metric: str = "httpRequestsConcurrency", target: float = 10, low: int = 0, high: int = 4) -> Body:
    return autoscaling(metric, target, low, high)


def raw_pod(
    name: str = "chat-1",
    *,
    owner: str = "chat",
    node: str | None = "node-1",
    ready: bool = False,
    state: Body | None = None,
    last: Body | None = None,
    restarts: int = 0,
    started: bool = False,
    unschedulable: str | None = None,
    terminating: bool = False,
    phase: str = "Pending",
) -> Body:
    """A pod as a real kubelet and scheduler write it."""
    conditions = [{"type": "Ready", "status": str(ready)}]
    if unschedulable is not None:
        conditions.append({"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": unschedulable})
    container = {
        "name": "main",
        "ready": ready,
        "started": started or ready,
        "restartCount": restarts,
        "state": state or ({"running": {}} if ready else {"waiting": {"reason": "ContainerCreating"}}),
        "lastState": {"terminated": last} if last else {},
    }
    return {
        "metadata": {
            "name": name,
            "namespace": "team",
            "uid": f"uid-{name}",
            "creationTimestamp": "2026-11-25T12:00:00Z",
            "labels": {"roadstead.dev/workload": owner, "pod-template-hash": "abc"},
            **({"deletionTimestamp": "2026-11-25T12:01:00Z"} if terminating else {}),
        },
        "spec": {"nodeName": node} if node and unschedulable is None else {},
        "status": {
            "phase": "Running" if ready else phase,
            "conditions": conditions,
            "containerStatuses": [container] if node and unschedulable is None else [],
        },
    }
