"""Deployments through the REST API, over real HTTP, with real tokens, on a real API server with the operator at work."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from hack.cluster.control import ControlCluster
from roadstead.rest.v241.models import DeploymentFormatted, DeploymentPage, Stats
from tests.clusters import wait_for
from tests.support.rest import groups, stored, wanted

Body = dict[str, Any]
DEPLOYMENTS = "/console/deployments/"
pytestmark = pytest.mark.usefixtures("operator")


def workload(client: httpx.Client, name: str = "chat", status: str = "registered") -> Body:
    artifact = {"name": name, "status": status, "spec": groups()}
    answer = client.post("/console/workloads/", json=wanted(name, artifact=artifact))
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def checked(answer: httpx.Response) -> Body:
    assert answer.status_code in (200, 201), answer.text
    DeploymentFormatted.model_validate_json(answer.content, by_alias=True, by_name=False)
    return dict(answer.json())


def test_a_deployment_has_its_workloads_status_at_the_moment_of_reading(client: httpx.Client) -> None:
    behind = workload(client)
    made = checked(client.post(DEPLOYMENTS, json={"name": "front", "workloadId": behind["id"]}))
    assert (made["importance"], made["description"], made["artifactId"]) == ("low", None, behind["artifactId"])
    assert made["endpoint"].endswith(f"/api/v2/endpoints/deployments/{made['id']}/")

    def status() -> tuple[str, str]:
        return (
            checked(client.get(f"{DEPLOYMENTS}{made['id']}/"))["status"],
            client.get(f"/console/workloads/{behind['id']}/").json()["status"],
        )

    wait_for(lambda: status() == ("running", "running"), "both to run")
    client.post(f"/console/workloads/{behind['id']}/stop")
    assert status()[0] in ("stopping", "stopped")
    wait_for(lambda: status() == ("stopped", "stopped"), "both to be stopped")


def test_a_draft_is_not_deployed(client: httpx.Client) -> None:
    behind = workload(client, status="draft")
    refused = client.post(DEPLOYMENTS, json={"name": "front", "workloadId": behind["id"]})
    assert refused.status_code == 422
    assert refused.json()["detail"][0]["loc"] == ["body", "workloadId"]
    assert "register it first" in refused.json()["detail"][0]["msg"]
    assert client.patch(f"/registry/artifacts/{behind['artifactId']}/", json={"status": "registered"}).status_code == 200
    checked(client.post(DEPLOYMENTS, json={"name": "front", "workloadId": behind["id"]}))
    nowhere = client.post(DEPLOYMENTS, json={"name": "front", "workloadId": "0" * 24})
    assert (nowhere.status_code, nowhere.json()["detail"][0]["loc"]) == (422, ["body", "workloadId"])


def test_it_is_changed_and_deleted_and_its_workload_stays(cluster: ControlCluster, client: httpx.Client, namespace: str) -> None:
    first, second = workload(client, "first"), workload(client, "second")
    made = checked(client.post(DEPLOYMENTS, json={"name": "front", "workloadId": first["id"], "description": "d", "importance": "high"}))
    path = f"{DEPLOYMENTS}{made['id']}/"
    assert checked(client.patch(path, json={"importance": "critical"}))["description"] == "d"
    moved = checked(client.patch(path, json={"workloadId": second["id"], "name": "new"}))
    assert (moved["workloadId"], moved["artifactId"], moved["importance"]) == (second["id"], second["artifactId"], "critical")
    assert client.patch(path, json={"workloadId": "0" * 24}).status_code == 422
    assert client.patch(path, json={"importance": "huge"}).status_code == 422
    assert checked(client.patch(path, json={}))["name"] == "new"
    assert client.delete(path).status_code == 204
    assert client.get(path).status_code == 404
    assert client.delete(path).status_code == 404
    assert stored(cluster, "deployments", namespace) == [], "for good"
    assert client.get(f"/console/workloads/{second['id']}/").status_code == 200


def test_lists(client: httpx.Client) -> None:
    first, second = workload(client, "first"), workload(client, "second")
    made = [
        client.post(DEPLOYMENTS, json={"name": f"of-{each['name']}", "workloadId": each["id"]}).json()["id"] for each in (first, second)
    ]

    def listed(**query: Any) -> list[Body]:
        page = client.get(DEPLOYMENTS, params=query)
        DeploymentPage.model_validate_json(page.content, by_alias=True, by_name=False)
        return list(page.json()["data"])

    assert [entry["id"] for entry in listed()] == made[::-1]
    assert [entry["id"] for entry in listed(wid=first["id"])] == made[:1]
    assert len(listed(wid=[first["id"], second["id"]])) == 2
    assert [entry["id"] for entry in listed(search="OF-SEC")] == made[1:]
    assert [entry["id"] for entry in listed(search=made[0][:9])] == made[:1]
    assert "workload" not in listed()[0]
    detailed = listed(workloadDetails="true", sort="name")
    assert [entry["workload"]["id"] for entry in detailed] == [first["id"], second["id"]]


def test_stats_invent_nothing(client: httpx.Client) -> None:
    made = client.post(DEPLOYMENTS, json={"name": "front", "workloadId": workload(client)["id"]}).json()
    path = f"{DEPLOYMENTS}{made['id']}/stats"
    answer = client.get(path)
    stats = Stats.model_validate_json(answer.content, by_alias=True, by_name=False)
    assert set(stats.metrics.model_dump().values()) == {None}
    query = {"startTime": "2026-09-30T15:00:00Z", "endTime": "2026-09-30T17:00:00+02:00"}
    assert client.get(path, params=query).status_code == 422, "the same moment"
    query["endTime"] = "2026-09-30T18:00:00.5+02:00"
    period = client.get(path, params={**query, "responseTimeQuantile": 0.99, "slowRequestsThreshold": 500}).json()["period"]
    assert period == {"start": "2026-09-30T15:00:00.000000+00:00", "end": "2026-09-30T16:00:00.500000+00:00"}
    for wrong in ({"responseTimeQuantile": 2}, {"startTime": "yesterday"}, {"slowRequestsThreshold": -1}):
        assert client.get(path, params=wrong).status_code == 422
    assert client.get(f"{DEPLOYMENTS}{'0' * 24}/stats/").status_code == 404
