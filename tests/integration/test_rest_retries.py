"""Two writes that are one, retries that make nothing twice, and concurrent changes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from hack.cluster.control import ControlCluster
from tests.clusters import audit_events, get, wait_for
from tests.support.rest import API_ACCOUNT, Served, account, client_of, container, groups, stored, wanted

Body = dict[str, Any]
WORKLOADS, ARTIFACTS, DEPLOYMENTS = "/console/workloads/", "/registry/artifacts/", "/console/deployments/"


@pytest.fixture
def late_refusal(cluster: ControlCluster, client: httpx.Client, namespace: str) -> Iterator[None]:
    """A policy that lets a Workload pass while nothing is written, and refuses it then."""
    name = f"late.{namespace}.test"
    group = {"apiVersion": "admissionregistration.k8s.io/v1"}
    selector = {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
    resources = [{"apiGroups": ["roadstead.dev"], "apiVersions": ["*"], "operations": ["CREATE"], "resources": ["workloads"]}]
    policy = {
        **group,
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": name},
        "spec": {
            "matchConstraints": {"resourceRules": resources, "namespaceSelector": selector},
            "validations": [{"expression": "request.dryRun", "message": "too late"}],
        },
    }
    binding = {
        **group,
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": name},
        "spec": {"policyName": name, "validationActions": ["Deny"]},
    }
    for body in (policy, binding):
        cluster.kubectl("apply", "-f", "-", input=json.dumps(body))
    artifact = client.post(ARTIFACTS, json={"name": "probe", "spec": groups()}).json()["id"]
    wait_for(lambda: client.post(WORKLOADS, json={"artifactId": artifact}).status_code == 422, "the policy")
    cluster.kubectl("delete", "workloads.roadstead.dev,artifacts.roadstead.dev", "--all", "-n", namespace)
    yield
    for kind in ("validatingadmissionpolicybinding", "validatingadmissionpolicy"):
        cluster.kubectl("delete", kind, name)


def test_nothing_is_left_of_a_workload_that_was_refused_late(
    cluster: ControlCluster, client: httpx.Client, namespace: str, late_refusal: None
) -> None:
    answer = client.post(WORKLOADS, json=wanted())
    assert answer.status_code == 422
    assert "too late" in answer.text
    assert stored(cluster, "artifacts", namespace) == []
    assert stored(cluster, "workloads", namespace) == []
    assert client.get(ARTIFACTS).json()["totalCount"] == 0
    writes = [
        (event["verb"], event["user"]["username"].rpartition(":")[2], event["objectRef"]["resource"], event["responseStatus"]["code"])
        for event in audit_events(cluster)
        if (event.get("objectRef") or {}).get("namespace") == namespace and event["verb"] in ("create", "delete")
    ]
    ours = [write for write in writes if write[2] in ("artifacts", "workloads")][-4:]
    assert ours == [
        ("create", "editor", "workloads", 201),
        ("create", "editor", "artifacts", 201),
        ("create", "editor", "workloads", 422),
        ("delete", API_ACCOUNT, "artifacts", 200),
    ]


@pytest.mark.parametrize("body", [wanted(), wanted(artifact={"spec": groups()})])
def test_a_repetition_makes_nothing_new(cluster: ControlCluster, client: httpx.Client, namespace: str, body: Body) -> None:
    key = {"Idempotency-Key": "one two"}
    first = client.post(WORKLOADS, json=body, headers=key)
    assert first.status_code == 201, first.text
    again = [client.post(WORKLOADS, json=body, headers=key) for _ in range(3)]
    again.append(client.post(WORKLOADS, content=json.dumps(body, indent=3), headers=key))
    assert {answer.status_code for answer in again} == {201}
    assert {answer.json()["id"] for answer in again} == {first.json()["id"]}
    assert len(stored(cluster, "workloads", namespace)) == len(stored(cluster, "artifacts", namespace)) == 1
    other = client.post(WORKLOADS, json={**body, "name": "other"}, headers=key)
    assert (other.status_code, other.json()["detail"][0]["loc"]) == (422, ["header", "Idempotency-Key"])
    assert client.post(WORKLOADS, json=body).json()["id"] != first.json()["id"], "without a key each is one of its own"
    assert client.delete(f"{WORKLOADS}{first.json()['id']}").status_code == 204
    gone = client.post(WORKLOADS, json=body, headers=key)
    assert gone.status_code == 422
    assert "has been deleted" in gone.json()["detail"][0]["msg"]


def test_a_repetition_answers_the_same_whatever_is_used_up_since(cluster: ControlCluster, client: httpx.Client, namespace: str) -> None:
    key = {"Idempotency-Key": "k"}
    artifact = client.post(ARTIFACTS, json={"name": "x", "spec": groups()}).json()["id"]
    bodies = [wanted(), {"artifactId": artifact}]
    made = [client.post(WORKLOADS, json=body, headers={"Idempotency-Key": str(number)}).json()["id"] for number, body in enumerate(bodies)]
    cluster.kubectl("create", "quota", "full", "-n", namespace, "--hard=count/workloads.roadstead.dev=1,count/artifacts.roadstead.dev=1")
    wait_for(lambda: client.post(WORKLOADS, json=wanted(), headers=key).status_code == 403, "the quota")
    again = [client.post(WORKLOADS, json=body, headers={"Idempotency-Key": str(number)}) for number, body in enumerate(bodies)]
    assert [answer.status_code for answer in again] == [201, 201], [answer.text for answer in again]
    assert [answer.json()["id"] for answer in again] == made


def test_repetitions_at_once_make_one(cluster: ControlCluster, client: httpx.Client, namespace: str) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: client.post(WORKLOADS, json=wanted(), headers={"Idempotency-Key": "k"}), range(16)))
    assert {answer.status_code for answer in answers} == {201}, [answer.text for answer in answers]
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert len(stored(cluster, "workloads", namespace)) == len(stored(cluster, "artifacts", namespace)) == 1


def test_every_kind_and_every_user_has_keys_of_its_own(cluster: ControlCluster, api: Served, client: httpx.Client, namespace: str) -> None:
    key = {"Idempotency-Key": "k"}
    artifact = client.post(ARTIFACTS, json={"name": "x", "spec": groups(), "status": "registered"}, headers=key).json()
    assert client.post(ARTIFACTS, json={"name": "x", "spec": groups(), "status": "registered"}, headers=key).json()["id"] == artifact["id"]
    workload = client.post(WORKLOADS, json={"artifactId": artifact["id"]}, headers=key).json()
    front = {"name": "front", "workloadId": workload["id"]}
    deployments = [client.post(DEPLOYMENTS, json=front, headers=key).json()["id"] for _ in range(2)]
    assert len(set(deployments)) == 1
    with client_of(api, account(cluster, namespace, "second", "roadstead-edit")) as second:
        other = second.post(ARTIFACTS, json={"name": "y", "spec": {}}, headers=key)
        assert other.status_code == 201
        assert other.json()["id"] != artifact["id"]
    for wrong in ("", "x" * 256, "tab\there"):
        assert client.post(ARTIFACTS, json={"name": "x", "spec": {}}, headers={"Idempotency-Key": wrong}).status_code == 422


def test_changes_at_once_are_all_made(cluster: ControlCluster, client: httpx.Client, namespace: str) -> None:
    """Each changes another field; none undoes another's."""
    id = client.post(ARTIFACTS, json={"name": "x", "spec": groups(), "description": "old"}).json()["id"]
    with ThreadPoolExecutor(6) as pool:
        bodies: list[Body] = [{"name": "new"}, {"description": "new"}, {"spec": groups(container(imageUri="b"))}]
        answers = list(pool.map(lambda body: client.patch(f"{ARTIFACTS}{id}", json=body), bodies * 2))
    assert {answer.status_code for answer in answers} == {200}, [answer.text for answer in answers]
    found = client.get(f"{ARTIFACTS}{id}").json()
    assert (found["name"], found["description"]) == ("new", "new")
    assert found["spec"]["containerGroups"][0]["containers"][0]["imageUri"] == "b"
    (body,) = stored(cluster, "artifacts", namespace)
    assert get(cluster, "rsa", body["metadata"]["name"], namespace) is not None


def test_an_update_shows_in_updated_at(client: httpx.Client) -> None:
    made = client.post(ARTIFACTS, json={"name": "x", "spec": {}}).json()
    assert made["updatedAt"] == made["createdAt"]
    changed = client.patch(f"{ARTIFACTS}{made['id']}", json={"name": "y"}).json()
    assert changed["updatedAt"] > made["updatedAt"]
    same = client.patch(f"{ARTIFACTS}{made['id']}", json={"name": "y"}).json()
    assert same["updatedAt"] == changed["updatedAt"], "nothing was written"
