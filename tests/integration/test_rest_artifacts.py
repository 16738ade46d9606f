"""Artifacts and bundles through the REST API, over real HTTP, with real tokens, on a real API server with the operator at work."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from hack.cluster.control import ControlCluster
from roadstead.rest.v241.models import ArtifactFormatted, ArtifactPage
from tests.clusters import wait_for
from tests.support.rest import container, groups, stored, wanted
from tests.world import patch

Body = dict[str, Any]
ARTIFACTS = "/registry/artifacts/"
pytestmark = pytest.mark.usefixtures("operator")


def make(client: httpx.Client, **fields: Any) -> Body:
    answer = client.post(ARTIFACTS, json={"name": "model", "spec": groups(), **fields})
    assert answer.status_code == 201, answer.text
    return checked(answer)


def checked(answer: httpx.Response) -> Body:
    assert answer.status_code in (200, 201), answer.text
    ArtifactFormatted.model_validate_json(answer.content, by_alias=True, by_name=False)
    return dict(answer.json())


def seen(client: httpx.Client, id: str) -> Body:
    return checked(client.get(f"{ARTIFACTS}{id}/"))


def test_a_draft_is_replaced_and_registered_by_put(client: httpx.Client) -> None:
    """A public client never uses PATCH."""
    made = make(client, description="first")
    assert (made["status"], made["version"], made["type"]) == ("draft", None, "generic")
    body = {"name": "model", "spec": groups(container(port=9000)), "description": "second"}
    replaced = checked(client.put(f"{ARTIFACTS}{made['id']}/", json=body))
    assert (replaced["spec"], replaced["description"], replaced["status"]) == (body["spec"], "second", "draft")
    without = checked(client.put(f"{ARTIFACTS}{made['id']}/", json={"name": "model", "spec": body["spec"]}))
    assert without["description"] is None, "it replaces the definition"
    registered = checked(client.put(f"{ARTIFACTS}{made['id']}/", json={**body, "status": "registered"}))
    assert registered["status"] == "registered"
    assert registered["id"] == made["id"]
    assert registered["version"] == seen(client, made["id"])["version"] == 1
    frozen = {**body, "spec": groups(container(port=9001))}
    refused = client.put(f"{ARTIFACTS}{made['id']}/", json=frozen)
    assert refused.status_code == 422
    assert refused.json()["detail"][0]["loc"] == ["body", "spec", "containerGroups"]
    assert "immutable" in refused.json()["detail"][0]["msg"]
    renamed = checked(client.put(f"{ARTIFACTS}{made['id']}/", json={**body, "name": "other", "description": "third"}))
    assert (renamed["name"], renamed["description"], renamed["status"]) == ("other", "third", "registered")


def test_the_frozen_part_is_compared_by_meaning(cluster: ControlCluster, client: httpx.Client, namespace: str) -> None:
    spec = groups(container(resourceRequest={"cpu": 1, "memory": "512Mi"}))
    made = make(client, spec=spec, status="registered")
    same = groups(container(resourceRequest={"cpu": 1.0, "memory": 536870912, "gpu": None}))
    assert checked(client.put(f"{ARTIFACTS}{made['id']}/", json={"name": "n", "spec": same}))["name"] == "n"
    (body,) = stored(cluster, "artifacts", namespace)
    assert body["spec"]["containerGroups"] == spec["containerGroups"], "the stored form stays untouched"
    assert seen(client, made["id"])["spec"]["containerGroups"][0]["containers"][0]["resourceRequest"]["memory"] == 536870912


def test_patch_changes_what_it_names_and_registers_for_good(client: httpx.Client) -> None:
    id = make(client, description="d")["id"]
    assert checked(client.patch(f"{ARTIFACTS}{id}/", json={"name": "new"}))["description"] == "d"
    assert checked(client.patch(f"{ARTIFACTS}{id}/", json={"spec": groups(container(port=9000))}))["name"] == "new"
    assert checked(client.patch(f"{ARTIFACTS}{id}/", json={"description": None}))["description"] is None
    assert checked(client.patch(f"{ARTIFACTS}{id}/", json={"status": "registered"}))["status"] == "registered"
    back = client.patch(f"{ARTIFACTS}{id}/", json={"status": "draft"})
    assert (back.status_code, back.json()["detail"][0]["loc"]) == (422, ["body", "status"])
    changed = client.patch(f"{ARTIFACTS}{id}/", json={"spec": groups()})
    assert changed.status_code == 422
    assert checked(client.patch(f"{ARTIFACTS}{id}/", json={"description": "still"}))["description"] == "still"


def test_versions_are_counted_in_a_collection(client: httpx.Client) -> None:
    first = make(client, status="registered")
    assert first["artifactCollectionId"]
    second = make(client, status="registered", artifactCollectionId=first["artifactCollectionId"])
    assert second["artifactCollectionId"] == first["artifactCollectionId"]
    assert make(client)["artifactCollectionId"] != first["artifactCollectionId"], "without one a new one is made"
    assert (first["version"], second["version"]) == (1, 2)
    listed = client.get(ARTIFACTS, params={"artifactCollectionId": first["artifactCollectionId"]}).json()
    assert {entry["id"] for entry in listed["data"]} == {first["id"], second["id"]}
    unknown = client.post(ARTIFACTS, json={"name": "x", "spec": {}, "artifactCollectionId": "0" * 24})
    assert (unknown.status_code, unknown.json()["detail"][0]["loc"]) == (422, ["body", "artifactCollectionId"])
    moved = client.put(f"{ARTIFACTS}{first['id']}/", json={"name": "x", "spec": groups(), "artifactCollectionId": "0" * 24})
    assert moved.status_code == 422


def test_a_draft_may_be_empty(client: httpx.Client) -> None:
    assert make(client, spec={})["spec"] == {}
    refused = client.post(ARTIFACTS, json={"name": "x", "spec": {}, "status": "registered"})
    assert refused.status_code == 422
    assert "needs containers" in refused.json()["detail"][0]["msg"]


def test_lists_are_filtered_and_searched(client: httpx.Client) -> None:
    draft, registered = make(client, name="Alpha"), make(client, name="beta", status="registered")

    def listed(**query: Any) -> set[str]:
        page = client.get(ARTIFACTS, params=query)
        ArtifactPage.model_validate_json(page.content, by_alias=True, by_name=False)
        return {entry["id"] for entry in page.json()["data"]}

    assert listed() == {draft["id"], registered["id"]}
    assert listed(status="draft") == {draft["id"]}
    assert listed(status="registered") == {registered["id"]}
    assert listed(search="ALP") == {draft["id"]}
    assert listed(search=registered["id"][:8]) == {registered["id"]}
    assert client.get(ARTIFACTS, params={"status": "locked"}).status_code == 422


def test_what_a_workload_uses_is_not_deleted(cluster: ControlCluster, client: httpx.Client, namespace: str) -> None:
    workload = client.post("/console/workloads/", json=wanted("user")).json()
    refused = client.delete(f"{ARTIFACTS}{workload['artifactId']}/")
    assert refused.status_code == 422
    assert f"user ({workload['id']})" in refused.json()["detail"]
    assert client.delete(f"/console/workloads/{workload['id']}/").status_code == 204
    assert client.delete(f"{ARTIFACTS}{workload['artifactId']}/").status_code == 204
    assert client.get(f"{ARTIFACTS}{workload['artifactId']}/").status_code == 404
    assert client.patch(f"{ARTIFACTS}{workload['artifactId']}/", json={"name": "x"}).status_code == 404
    assert client.get(ARTIFACTS).json()["totalCount"] == 0
    (body,) = stored(cluster, "artifacts", namespace)
    patch(cluster, "rsa", body["metadata"]["name"], namespace, deleted=False)
    wait_for(lambda: client.get(f"{ARTIFACTS}{workload['artifactId']}/").status_code == 200, "the artifact to be restored")


def test_bundles_are_the_platforms(cluster: ControlCluster, client: httpx.Client, settings: None) -> None:
    bundles = [
        {"id": "cpu.small", "cpu": 1, "memory": "2Gi"},
        {"id": "gpu.big", "name": "Big", "description": "d", "cpu": 8, "memory": 1024, "gpu": 2, "gpuType": "h100"},
    ]
    cluster.kubectl("patch", "rsp", "default", "--type=merge", "-p", json.dumps({"spec": {"resourceBundles": bundles}}))
    data = wait_for(lambda: client.get("/mlops/compute/bundles").json()["data"], "the mirror of the Platform")
    none = {"description": None, "gpuMaker": None, "gpuTypeLabel": None}
    assert data[0] == {"id": "cpu.small", "name": "cpu.small", "cpuCount": 1, "memoryBytes": 2147483648, "gpuCount": 0, **none}
    big = {"id": "gpu.big", "name": "Big", "description": "d", "cpuCount": 8, "memoryBytes": 1024, "gpuCount": 2}
    assert data[1] == {**big, "gpuMaker": "nvidia", "gpuTypeLabel": "h100"}
    resources = [{"type": "resource_bundle", "resourceBundleId": "cpu.small"}]
    made = client.post("/console/workloads/", json=wanted(runtime={"resources": resources}))
    assert made.status_code == 201
    assert made.json()["runtime"] == {"resources": resources}
    resources[0]["resourceBundleId"] = "cpu.tiny"
    refused = client.post("/console/workloads/", json=wanted(runtime={"resources": resources}))
    assert refused.status_code == 422
    assert refused.json()["detail"][0]["loc"] == ["body", "runtime", "resources", 0, "resourceBundleId"]
    assert "cpu.small, gpu.big" in refused.json()["detail"][0]["msg"]
