"""What the CRDs refuse, REST refuses with 422 and the same sentence at the field of its own body: every rule, wherever it holds."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from hack.cluster.control import ControlCluster
from tests.clusters import NAMESPACE
from tests.integration.crd_cases.objects import Body, Node, change, full, load, nodes
from tests.support.gateways import DESCRIPTORS
from tests.support.rest import Served, account, client_of, container, groups, wanted

ARTIFACTS, WORKLOADS = "/registry/artifacts/", "/console/workloads/"


def _cases() -> list[Any]:
    found = []
    for variant, below in (("artifact", ".spec.containerGroups"), ("workload", ".spec.runtime")):
        for node in nodes(variant):
            if not node.path.startswith(below):
                continue
            for rule in node.schema.get("x-kubernetes-validations", ()):
                text = rule.get("message") or rule["messageExpression"]
                for entry in load("rules.yaml"):
                    if entry["rule"] in text and "before" not in entry:
                        found += [
                            pytest.param(node, rule, entry, example, id=f"{node.path}: {entry['rule'][:30]} {number}")
                            for number, example in enumerate(entry["refused"])
                        ]
    return found


def _posted(client: httpx.Client, node: Node, body: Body) -> httpx.Response:
    if node.variant == "artifact":
        return client.post(ARTIFACTS, json={"name": "x", "spec": {"containerGroups": body["spec"]["containerGroups"]}})
    runtime = {name: value for name, value in body["spec"]["runtime"].items() if name != "resources"}
    return client.post(WORKLOADS, json=wanted(runtime=runtime))


@pytest.fixture(scope="module")
def editor(cluster: ControlCluster, api: Served) -> Iterator[httpx.Client]:
    """A caller in a namespace of the module's own: nothing is made in it."""
    cluster.kubectl("create", "namespace", "refusals")
    with client_of(api, account(cluster, "refusals", "editor", "roadstead-edit")) as http:
        yield http
    cluster.kubectl("delete", "namespace", "refusals", "--wait=false")


@pytest.mark.parametrize(("node", "rule", "entry", "example"), _cases())
def test_the_crds_sentence(editor: httpx.Client, node: Node, rule: Body, entry: Body, example: Body) -> None:
    answer = _posted(editor, node, change(full(node.variant), example, node.steps))
    assert answer.status_code == 422, answer.text
    field = [step for step in str(rule.get("fieldPath", "")).split(".") if step]
    place = ["body", *(node.steps if node.variant == "artifact" else node.steps[1:]), *field]
    says = example.get("says", entry.get("says", entry["rule"]))
    told = [(found["loc"], found["msg"]) for found in answer.json()["detail"]]
    assert [msg for loc, msg in told if loc == place and msg.endswith(says)], told


C = container()
CONCURRENCY = {"scalingMetric": "httpRequestsConcurrency", "target": 1, "minCount": 0, "maxCount": 2}


@pytest.mark.parametrize(
    ("body", "code", "loc", "says"),
    [
        (b"{", 400, None, "isn't JSON"),
        (b"\xff", 400, None, "isn't JSON"),
        (b'{"name": "\\ud800"}', 400, None, "isn't JSON"),
        (b"[" * 500 + b"]" * 500, 400, None, "isn't JSON"),
        (b"", 422, ["body"], "required"),
        (b"null", 422, ["body"], "object"),
        (b"[]", 422, ["body"], "object"),
        ({}, 422, ["body"], "exactly one of artifact and artifactId"),
        (wanted(artifactId="0" * 24), 422, ["body"], "exactly one of artifact and artifactId"),
        ({"artifactId": "0" * 24}, 422, ["body", "artifactId"], "not found"),
        ({"artifactId": "mine"}, 422, ["body", "artifactId"], "24 hexadecimal digits"),
        (wanted(name=""), 422, ["body", "name"], "at least 1 character"),
        (wanted(extra=1), 422, ["body", "extra"], "not permitted"),
        (wanted(runtime={"bundleId": "x"}), 422, ["body", "runtime", "bundleId"], "not permitted"),
        (wanted(runtime={"replicaCount": "1"}), 422, ["body", "runtime", "replicaCount"], "integer"),
        (wanted(runtime={"replica_count": 1}), 422, ["body", "runtime", "replica_count"], "not permitted"),
        (wanted(artifact={"spec": {}}), 422, ["body", "artifact", "spec", "containerGroups"], "required"),
        (wanted(artifact={"spec": {"containerGroups": []}}), 422, ["body", "artifact", "spec", "containerGroups"], "at least 1"),
        (wanted(artifact={"spec": groups(C, C)}), 422, ["body", "artifact", "spec", "containerGroups", 0, "containers"], "exactly one"),
        (
            wanted(runtime={"autoscaling": {"enabled": True, "policies": [CONCURRENCY]}}),
            422,
            ["body", "runtime", "autoscaling", "policies", 0, "scalingMetric"],
            "needs KEDA",
        ),
    ],
)
def test_bodies_that_are_none(client: httpx.Client, body: bytes | Body, code: int, loc: list[Any] | None, says: str) -> None:
    answer = client.post(WORKLOADS, content=body) if isinstance(body, bytes) else client.post(WORKLOADS, json=body)
    assert answer.status_code == code, answer.text
    detail = answer.json()["detail"]
    if loc is None:
        assert says in detail
    else:
        assert [entry for entry in detail if entry["loc"] == loc and says in entry["msg"]], detail
    assert client.get(WORKLOADS).json()["totalCount"] == 0
    assert client.get(ARTIFACTS).json()["totalCount"] == 0


def test_addresses_that_are_none(client: httpx.Client) -> None:
    for path in (WORKLOADS, ARTIFACTS, "/console/deployments/"):
        assert client.get(f"{path}short").status_code == 400
        assert "24 hexadecimal digits" in client.get(f"{path}{'g' * 24}/").json()["detail"]
        assert client.get(f"{path}{'0' * 24}").json()["detail"].endswith(f"{'0' * 24} not found")
    assert client.get("/console/nothing").status_code == 404
    wrong = client.put(WORKLOADS)
    assert (wrong.status_code, wrong.headers["Allow"]) == (405, "GET, POST")


def test_nobody_is_refused_for_connections_of_others(api: Served, client: httpx.Client) -> None:
    """More of them than descriptors were given to the process."""
    where = urlsplit(api.url)
    with ExitStack() as stack:
        for _ in range(DESCRIPTORS + 50):
            stack.enter_context(socket.create_connection((where.hostname, where.port)))
        assert client.get(WORKLOADS, timeout=10).status_code == 200


def test_namespaces_that_are_none(cluster: ControlCluster, client: httpx.Client, namespace: str) -> None:
    strange = client.post(WORKLOADS, json=wanted(), headers={"X-Roadstead-Namespace": NAMESPACE})
    assert strange.status_code == 403
    assert NAMESPACE in strange.json()["detail"]
    malformed = client.post(WORKLOADS, json=wanted(), headers={"X-Roadstead-Namespace": "No Name"})
    assert (malformed.status_code, malformed.json()["detail"][0]["loc"]) == (422, ["header", "X-Roadstead-Namespace"])
    artifact = client.post(ARTIFACTS, json={"name": "x", "spec": groups()}).json()["id"]
    other = client.post(WORKLOADS, json={"artifactId": artifact}, headers={"X-Roadstead-Namespace": NAMESPACE})
    assert other.status_code == 422
    assert namespace in other.json()["detail"][0]["msg"]
    same = client.post(WORKLOADS, json={"artifactId": artifact}, headers={"X-Roadstead-Namespace": namespace})
    assert same.status_code == 201
    binding = f"all-{namespace}"
    cluster.kubectl("create", "clusterrolebinding", binding, "--clusterrole=roadstead-edit", f"--serviceaccount={namespace}:editor")
    try:
        gone = client.post(WORKLOADS, json=wanted(), headers={"X-Roadstead-Namespace": "nowhere"})
        assert gone.status_code == 422
        assert "namespace nowhere does not exist" in gone.json()["detail"][0]["msg"]
    finally:
        cluster.kubectl("delete", "clusterrolebinding", binding)
