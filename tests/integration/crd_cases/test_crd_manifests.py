"""Manifests as people write them, through kubectl: accepted, or refused with exactly this sentence. And how kubectl shows our kinds."""

from __future__ import annotations

import copy
import json
import re
from typing import Any

import pytest
import yaml

from hack.cluster.api import Cluster
from hack.cluster.console import ClusterError
from hack.cluster.control import ControlCluster
from tests.integration.crd_cases.objects import Body, change, full, load
from tests.integration.crd_cases.server import MODELS, PLURALS, Server

CASES = load("manifests.yaml")["cases"]
NOT_CHECKED = "some validation rules were not checked because the object was invalid"


def apply(cluster: Cluster, namespace: str, body: Body, *flags: str) -> Any:
    said = cluster.kubectl("apply", "--server-side", "-n", namespace, "-o", "json", *flags, "-f", "-", input=yaml.safe_dump(body))
    return json.loads(said)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_manifest(crd_cluster: ControlCluster, server: Server, case: Body) -> None:
    base = load("manifests.yaml")["bases"][case["kind"]]
    body = change(copy.deepcopy(base), case)
    before = change(copy.deepcopy(base), case["before"]) if "before" in case else None
    if before is not None:
        apply(crd_cluster, server.namespace, before)
    try:
        if case.get("post"):
            verdict = server.create(body)
            refusal, stored = verdict.message, verdict.body
        else:
            refusal, stored = "", apply(crd_cluster, server.namespace, body, "--dry-run=server")
    except ClusterError as error:
        refusal, stored = str(error), {}
    finally:
        if before is not None:
            server.delete(before)
    if case.get("accepted"):
        assert refusal == ""
        MODELS[case["kind"]].model_validate(stored)
        return
    lines = [line for line in refusal.splitlines() if NOT_CHECKED not in line]
    found = any(re.sub(r"[\],)]+$", "", line).rstrip().endswith(re.sub(r"[\],)]+$", "", case["refused"])) for line in lines)
    assert found or (case.get("post") and case["refused"] in refusal), refusal


def test_the_platform_is_stored_with_the_settings_in_force(server: Server) -> None:
    stored = server.apply(load("manifests.yaml")["bases"]["Platform"]).body
    in_memory = MODELS["Platform"].model_validate({"metadata": {"name": "default"}})
    assert stored["spec"] == in_memory.model_dump(mode="json", by_alias=True, exclude_none=True)["spec"]


@pytest.mark.parametrize("kind", ["Artifact", "Workload", "Deployment"])
def test_nothing_is_filled_in_that_a_client_would_miss(server: Server, kind: str) -> None:
    """Only the few defaults of the design: a REST client finds back exactly what it wrote."""
    body = load("manifests.yaml")["bases"][kind]
    added = {"Artifact": {"type": "generic", "status": "draft"}, "Workload": {}, "Deployment": {"importance": "low"}}[kind]
    assert server.apply(body).body["spec"] == {**body["spec"], **added}


def test_kubectl_explains_autoscaling(crd_cluster: ControlCluster) -> None:
    said = crd_cluster.kubectl("explain", "workloads.roadstead.dev.spec.runtime.autoscaling")
    words = " ".join(said.split())
    assert "Scaling by metrics, between the minCount and maxCount of the policies, instead of a fixed replicaCount." in words
    assert "True puts the policies in force, and replicaCount must then be absent (absent: false)." in words
    assert "All must have the same minCount and maxCount" in words
    assert "<no description>" not in said
    assert "cpuAverageUtilization" in crd_cluster.kubectl("explain", "rsw.spec.runtime.autoscaling.policies.scalingMetric")


@pytest.mark.parametrize("plural", PLURALS.values())
def test_kubectl_explains_everything(crd_cluster: ControlCluster, plural: str) -> None:
    assert "<no description>" not in crd_cluster.kubectl("explain", f"{plural}.roadstead.dev", "--recursive")
    assert "<no description>" not in crd_cluster.kubectl("explain", f"{plural}.roadstead.dev.spec")


def test_kubectl_lists_and_scales_a_workload(crd_cluster: ControlCluster, server: Server) -> None:
    body = full("workload")
    assert server.apply(body, dry_run=False).accepted
    assert server.apply(body, dry_run=False, status=True).accepted
    try:
        head, row = crd_cluster.kubectl("get", "rsw", "-n", server.namespace).splitlines()
        assert head.split() == ["NAME", "STATE", "READY", "REPLICAS", "AGE", "MESSAGE"]
        assert row.split()[:4] == ["full", "running", "True", "1"]
        wide = crd_cluster.kubectl("get", "rsw", "-n", server.namespace, "-o", "wide").splitlines()
        assert wide[0].split()[-3:] == ["ARTIFACT", "SCALER", "ENDPOINT"]
        assert "workloads.roadstead.dev" in crd_cluster.kubectl("api-resources", "--categories=roadstead", "-o", "name")
        crd_cluster.kubectl("scale", "rsw/full", "-n", server.namespace, "--replicas=3")
        stored = json.loads(crd_cluster.kubectl("get", "rsw", "full", "-n", server.namespace, "-o", "json"))
        assert stored["spec"]["runtime"]["replicaCount"] == 3
        with pytest.raises(ClusterError, match="should be greater than or equal to 1"):
            crd_cluster.kubectl("scale", "rsw/full", "-n", server.namespace, "--replicas=0")
        scale = json.loads(crd_cluster.kubectl("get", "rsw", "full", "-n", server.namespace, "--subresource=scale", "-o", "json"))
        assert scale["status"] == {"replicas": 1, "selector": "roadstead.dev/workload=full"}
    finally:
        server.delete(body)


def test_a_status_of_a_newer_version_keeps_nothing_from_being_read() -> None:
    body = full("workload")
    body["status"] |= {"state": "hibernating", "newField": {}}
    body["metadata"]["managedFields"] = []
    read = MODELS["Workload"].model_validate(body)
    assert read.status is None  # type: ignore[attr-defined]
    body["status"]["state"] = "running"
    assert MODELS["Workload"].model_validate(body).status.state == "running"  # type: ignore[attr-defined]
