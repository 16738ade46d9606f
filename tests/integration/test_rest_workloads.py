"""Workloads through the REST API, over real HTTP, with real tokens, on a real API server with the operator at work."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from hack.cluster.control import ControlCluster
from tests.clusters import wait_for
from tests.support.rest import stored, wanted

Body = dict[str, Any]
pytestmark = pytest.mark.usefixtures("operator")


def test_a_workload_is_created_and_runs(cluster: ControlCluster, client: httpx.Client, namespace: str) -> None:
    made = client.post("/console/workloads/", json=wanted(runtime={"replicaCount": 2}))
    assert made.status_code == 201, made.text
    workload = made.json()
    assert workload["status"] == "submitted"
    id = workload["id"]

    def running() -> bool:
        answer = client.get(f"/console/workloads/{id}/")
        assert answer.status_code == 200, answer.text
        return bool(answer.json()["status"] == "running")

    wait_for(running, "the workload to run")
    assert [body["spec"]["displayName"] for body in stored(cluster, "workloads", namespace)] == ["whoami"]
    assert [body["spec"]["displayName"] for body in stored(cluster, "artifacts", namespace)] == ["whoami-artifact"]
    page = client.get("/console/workloads").json()
    assert [entry["id"] for entry in page["data"]] == [id]
