"""Least privilege: each right that the chart gives the operator is taken away in turn, and something shows that needs it.

What shows it is the API server's own word, in its audit log: it refused just that right to the operator.
"""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from hack.cluster import keda
from hack.cluster.control import ControlCluster, control_cluster
from tests.build import API_VERSION, cpu_autoscaling, http_autoscaling, raw_artifact, raw_container, raw_workload
from tests.clusters import (
    NAMESPACE,
    add_fake_nodes,
    apply,
    audit_events,
    audit_position,
    install_crds,
    install_rbac,
    rendered_chart,
    running_operator,
    wait_admission,
)
from tests.world import here, patch, unready

Body = dict[str, Any]
OPERATOR = "roadstead-operator"
pytestmark = pytest.mark.timeout(240)


class Right(NamedTuple):
    """One verb on one resource (``plural`` or ``plural/subresource``) of a group."""

    group: str
    resource: str
    verb: str

    def __str__(self) -> str:
        return f"{self.verb} {self.resource}.{self.group}".rstrip(".")


def rules() -> list[tuple[str, Body]]:
    """Every rule of the chart's ClusterRole and Role, with the kind that it stands in."""
    roles = [body for body in rendered_chart() if body["kind"] in ("ClusterRole", "Role") and body["metadata"]["name"] == OPERATOR]
    return [(role["kind"], rule) for role in roles for rule in role["rules"]]


def rights(rule: Body) -> list[Right]:
    return [Right(group, resource, verb) for group in rule["apiGroups"] for resource in rule["resources"] for verb in rule["verbs"]]


RIGHTS = list(dict.fromkeys(right for _, rule in rules() for right in rights(rule)))
SAMPLE = {
    Right("apps", "deployments", "create"),
    Right("roadstead.dev", "workloads/status", "patch"),
    Right("", "events", "watch"),
    Right("coordination.k8s.io", "leases", "update"),
}


def test_nothing_is_asked_for_wholesale() -> None:
    assert set(RIGHTS) > SAMPLE
    for right in RIGHTS:
        assert "*" not in right, right
        assert right.resource not in ("secrets", "pods/exec", "pods/log", "pods/attach", "pods/portforward"), right
        assert right.verb not in ("deletecollection", "impersonate", "escalate", "bind"), right


@pytest.fixture(scope="module")
def cluster() -> Iterator[ControlCluster]:
    """A cluster that knows ScaledObjects and, as OpenShift does, asks for a right before an owner's deletion may be blocked."""
    plugins = "--enable-admission-plugins=OwnerReferencesPermissionEnforcement"
    with control_cluster(kwok=True, extra_apiserver_flags=[plugins]) as running:
        install_crds(running)
        keda.install_crds(running)
        install_rbac(running)
        add_fake_nodes(running)
        wait_admission(running)
        settle(running, networkPolicy={"enabled": True})
        yield running


@pytest.fixture(scope="module")
def kubeconfig(cluster: ControlCluster) -> Path:
    return cluster.client_kubeconfig(f"system:serviceaccount:{NAMESPACE}:{OPERATOR}")


@pytest.mark.parametrize("right", [pytest.param(r, id=str(r), marks=[] if r in SAMPLE else pytest.mark.long) for r in RIGHTS])
def test_each_right_is_needed(cluster: ControlCluster, kubeconfig: Path, right: Right) -> None:
    namespace = f"t{uuid.uuid4().hex[:8]}"
    cluster.kubectl("create", "namespace", namespace)
    settle(cluster, retention={"deletedDays": 30})
    cluster.kubectl("delete", "lease", OPERATOR, "-n", NAMESPACE, "--ignore-not-found")
    grant(cluster, without=right)
    try:
        before = audit_position(cluster)
        with running_operator(cluster, kubeconfig, ready=False):
            for step in life(cluster, namespace):
                if wait_refused(cluster, before, right, 5 if step != "end" else 60):
                    return
    finally:
        grant(cluster)
        cluster.kubectl("delete", "namespace", namespace, "--wait=false")
    raise AssertionError(f"nothing needs the right to {right}")


def life(cluster: ControlCluster, namespace: str) -> Iterator[str]:
    """Everything that Workloads may bring about and lose again; stops after each step, to be looked at."""
    inline = {"containerGroups": [{"containers": [raw_container()]}]}
    apply(cluster, *(here(namespace, body) for body in strangers()))
    apply(cluster, here(namespace, raw_artifact(status="registered")))
    apply(cluster, here(namespace, raw_workload(runtime=cpu_autoscaling())), here(namespace, endpoint()))
    apply(cluster, here(namespace, raw_workload("taken", runtime=cpu_autoscaling())), here(namespace, endpoint("taken")))
    apply(cluster, *(here(namespace, raw_workload(name, runtime=http_autoscaling())) for name in ("taken-pods", "taken-http")))
    apply(cluster, here(namespace, raw_workload("web", runtime=http_autoscaling())), here(namespace, raw_workload("inline", inline=inline)))
    apply(cluster, here(namespace, raw_artifact("old", status="registered")))
    yield "made"
    unready(cluster, namespace, "inline")
    yield "unready"
    cluster.kubectl("delete", "service", "chat", "-n", namespace, "--ignore-not-found")
    patch(cluster, "rsw", "chat", namespace, runtime={"replicaCount": 2, "autoscaling": None})
    yield "changed"
    for name in ("chat", "web"):
        patch(cluster, "rsw", name, namespace, suspend=True)
    yield "stopped"
    for kind, name in (("rsw", "chat"), ("rsw", "web"), ("rsa", "old")):
        patch(cluster, kind, name, namespace, deleted=True)
    yield "deleted"
    settle(cluster, retention={"deletedDays": 0})
    yield "end"


def settle(cluster: ControlCluster, **settings: Body) -> None:
    """Change settings of the Platform."""
    cluster.kubectl("patch", "rsp", "default", "--type=merge", "-p", json.dumps({"spec": settings}))


def strangers() -> Iterator[Body]:
    """Objects that have the names of children: whose they are is asked before anything else is done about them."""
    labels = {"app": "taken"}
    pods = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "main", "image": "registry.test/taken"}]}}
    scaled = {"kind": "Deployment", "name": "taken", "apiVersion": "apps/v1"}
    specs: dict[tuple[str, str, str], Body] = {
        ("apps/v1", "Deployment", "taken-pods"): {"replicas": 0, "selector": {"matchLabels": labels}, "template": pods},
        ("v1", "Service", "taken"): {"selector": labels, "ports": [{"port": 80}]},
        ("autoscaling/v2", "HorizontalPodAutoscaler", "taken"): {"maxReplicas": 1, "scaleTargetRef": scaled},
        ("policy/v1", "PodDisruptionBudget", "taken"): {"maxUnavailable": 1, "selector": {"matchLabels": labels}},
        ("networking.k8s.io/v1", "NetworkPolicy", "taken"): {"podSelector": {"matchLabels": labels}},
        ("keda.sh/v1alpha1", "ScaledObject", "taken-http"): {"scaleTargetRef": scaled, "triggers": [{"type": "cpu", "metadata": {}}]},
    }
    for (version, kind, name), spec in specs.items():
        yield {"apiVersion": version, "kind": kind, "metadata": {"name": name}, "spec": spec}


def endpoint(workload: str = "chat") -> Body:
    spec = {"workloadRef": {"name": workload}, "importance": "high"}
    return {"apiVersion": API_VERSION, "kind": "Deployment", "metadata": {"name": f"front-{workload}"}, "spec": spec}


def grant(cluster: ControlCluster, without: Right | None = None) -> None:
    """The chart's rights, but for one."""
    found: dict[str, list[Body]] = {"ClusterRole": [], "Role": []}
    for kind, rule in rules():
        names = {"resourceNames": rule["resourceNames"]} if "resourceNames" in rule else {}
        for right in rights(rule):
            if right != without:
                found[kind].append({"apiGroups": [right.group], "resources": [right.resource], "verbs": [right.verb], **names})
    for kind, kept in found.items():
        cluster.kubectl("patch", kind, OPERATOR, "-n", NAMESPACE, "--type=merge", "-p", json.dumps({"rules": kept}))


def wait_refused(cluster: ControlCluster, since: int, right: Right, seconds: float) -> bool:
    """Whether the API server refuses the operator that right within the time."""
    deadline = time.monotonic() + seconds
    while not refused(cluster, since, right):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True


def refused(cluster: ControlCluster, since: int, right: Right) -> bool:
    for event in audit_events(cluster, since):
        if not event.get("userAgent", "").startswith(OPERATOR) and "roadstead" not in event["user"]["username"]:
            continue
        message = event.get("responseStatus", {}).get("message", "")
        if event.get("responseStatus", {}).get("code") != 403:
            continue
        ref = event.get("objectRef") or {}
        resource = ref.get("resource", "") + ("/" + ref["subresource"] if ref.get("subresource") else "")
        if (ref.get("apiGroup", ""), resource, event["verb"]) == tuple(right) or said(message, right):
            return True
    return False


def said(message: str, right: Right) -> bool:
    """Whether the words of a refusal name the right: a creation by apply is judged twice, and blocking an owner's deletion as well."""
    if right.resource.endswith("/finalizers"):
        return "cannot set blockOwnerDeletion" in message
    verb = re.search(r'cannot (\w+) resource "([\w/]+)"', message)
    return verb is not None and verb.groups() == (right.verb, right.resource)
