"""Workloads through the REST API, over real HTTP, with real tokens, on a real API server with the operator at work.

Every remark of the contract marked [client] that is about workloads has a test here.
"""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from hack.cluster.control import ControlCluster
from roadstead.rest.v241.models import WorkloadFormatted, WorkloadPage
from tests.clusters import apply, audit_events, get, wait_for
from tests.support.rest import Served, container, groups, stored, wanted
from tests.world import here

Body = dict[str, Any]
WORKLOADS = "/console/workloads/"
pytestmark = pytest.mark.usefixtures("operator")


def make(client: httpx.Client, body: Body | None = None, **headers: str) -> Body:
    answer = client.post(WORKLOADS, json=wanted() if body is None else body, headers=headers)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def seen(client: httpx.Client, id: str) -> Body:
    answer = client.get(f"{WORKLOADS}{id}/")
    assert answer.status_code == 200, answer.text
    WorkloadFormatted.model_validate_json(answer.content, by_alias=True, by_name=False)
    return dict(answer.json())


def until(client: httpx.Client, id: str, status: str) -> Body:
    """As public clients do: poll, and give up at the first ``errored`` when waiting for ``running``."""

    def there() -> Body | None:
        body = seen(client, id)
        if status == "running":
            assert body["status"] != "errored", body
        return body if body["status"] == status else None

    return wait_for(there, f"workload {id} to be {status}", 60)


def test_a_workload_is_created_runs_stops_and_starts(client: httpx.Client) -> None:
    made = make(client, wanted(runtime={"replicaCount": 2}))
    id = made["id"]
    assert re.fullmatch("[0-9a-f]{24}", id)
    assert made["status"] == "submitted"
    assert made["endpoint"] == f"{str(client.base_url).rstrip('/')}/endpoints/workloads/{id}/"
    running = until(client, id, "running")
    assert running["endpoint"] == made["endpoint"]
    assert running["internalUrl"].startswith("http://")
    assert datetime.fromisoformat(running["runningSince"]).tzinfo is not None
    assert {"type", "name", "value"} == set(running["statusDetails"]["conditions"][0])
    for _ in range(2):
        stopped = client.post(f"{WORKLOADS}{id}/stop")
        assert stopped.status_code == 202
        assert stopped.json()["workloadId"] == id
        assert httpx.get(stopped.json()["trackVia"], headers=client.headers).json()["id"] == id
    assert until(client, id, "stopped")["runningSince"] is None
    for body in (b"", b"null", b"{}"):
        assert client.post(f"{WORKLOADS}{id}/start", content=body).status_code == 202
    until(client, id, "running")


def test_it_is_started_and_stopped_at_once_and_the_last_wish_wins(client: httpx.Client) -> None:
    id = make(client)["id"]
    answers = [client.post(f"{WORKLOADS}{id}/{verb}") for verb in ("start", "stop", "start", "stop", "stop")]
    assert [(answer.status_code, set(answer.json())) for answer in answers] == [(202, {"status", "workloadId", "trackVia"})] * 5
    assert seen(client, id)["status"] in ("stopping", "stopped"), "the old end isn't taken for the new one"
    until(client, id, "stopped")
    client.post(f"{WORKLOADS}{id}/start")
    assert seen(client, id)["status"] not in ("stopping", "stopped")
    until(client, id, "running")


@pytest.mark.parametrize("body", [b'{"force": true}', b"[]", b"1"])
def test_start_takes_no_fields(client: httpx.Client, body: bytes) -> None:
    assert client.post(f"{WORKLOADS}{make(client)['id']}/start", content=body).status_code == 422


def test_an_inline_artifact_is_an_artifact_of_its_own_and_outlives_the_workload(client: httpx.Client) -> None:
    made = make(client, wanted("chat"))
    artifact = client.get(f"/registry/artifacts/{made['artifactId']}/").json()
    assert (artifact["name"], artifact["status"]) == ("chat-artifact", "draft")
    assert client.request("DELETE", f"{WORKLOADS}{made['id']}/", content=b"null").status_code == 204
    assert client.get(f"{WORKLOADS}{made['id']}/").status_code == 404
    assert client.delete(f"{WORKLOADS}{made['id']}/").status_code == 404
    assert client.get(f"/registry/artifacts/{made['artifactId']}/").status_code == 200
    assert client.delete(f"/registry/artifacts/{made['artifactId']}/").status_code == 204


def test_the_least_body(cluster: ControlCluster, client: httpx.Client, namespace: str) -> None:
    least = {"name": "least", "artifact": {"spec": groups({"imageUri": "a", "resourceRequest": {"cpu": 1, "memory": 1}})}, "runtime": {}}
    made = make(client, least)
    assert client.get(f"/registry/artifacts/{made['artifactId']}/").json()["name"] == "least", "it has the workload's name"
    nameless = make(client, {"artifact": least["artifact"]})
    assert nameless["name"]
    assert re.fullmatch("workload-[a-z0-9]{6}", nameless["name"])


def test_what_was_sent_is_what_comes_back(client: httpx.Client) -> None:
    """A client that compares finds no difference: nothing is filled in, lists keep their order, numbers their value."""
    probe = {"path": "/", "port": 8080, "periodSeconds": 10, "host": "example.com", "httpHeaders": {"X-A": "1"}}
    first = container(
        port=8080,
        primary=True,
        name="b",
        entrypoint=["/whoami", "--port", "8080"],
        environmentVars=[{"name": "Z", "value": "1"}, {"name": "A", "value": ""}],
        readinessProbe=probe,
        securityContext={"runAsUser": 1000},
        resourceRequest={"cpu": 1, "memory": 134217728, "gpu": 0},
    )
    second = container(name="a", resourceRequest={"cpu": 0.25, "memory": "512Mi"})
    policy = {"scalingMetric": "cpuAverageUtilization", "target": 80, "minCount": 1, "maxCount": 3, "priority": 1}
    runtime = {"autoscaling": {"enabled": True, "policies": [policy]}}
    body = {"name": "Ünïcode / name", "artifact": {"name": "x", "description": "…", "spec": groups(first, second)}, "runtime": runtime}
    made = make(client, body)
    for workload in (made, seen(client, made["id"])):
        assert workload["name"] == body["name"]
        assert workload["runtime"] == runtime
    artifact = client.get(f"/registry/artifacts/{made['artifactId']}").json()
    second["resourceRequest"]["memory"] = 536870912
    assert artifact["spec"] == groups(first, second)
    assert artifact["description"] == "…"


def test_nulls_and_absent_fields_mean_the_same(client: httpx.Client) -> None:
    sent = container(port=None, primary=None, name=None, readinessProbe=None, environmentVars=None)
    runtime = {"replicaCount": 1, "autoscaling": {"policies": None}, "resources": None}
    made = make(client, {"name": "n", "artifact": {"spec": groups(sent), "description": None}, "runtime": runtime})
    assert made["runtime"] == {"replicaCount": 1, "autoscaling": {}}
    assert client.get(f"/registry/artifacts/{made['artifactId']}/").json()["spec"] == groups(container())


@pytest.mark.parametrize("path", ["/console/workloads", "/console/workloads/"])
def test_with_and_without_a_slash_and_never_a_redirect(client: httpx.Client, path: str) -> None:
    made = client.post(path, json=wanted())
    assert made.status_code == 201
    id = made.json()["id"]
    plain = {"Content-Type": "application/json", "Accept": ""}
    for verb, tail in (("GET", ""), ("GET", f"/{id}"), ("POST", f"/{id}/stop"), ("POST", f"/{id}/start"), ("DELETE", f"/{id}")):
        other = path.rstrip("/") + tail + ("/" if path.endswith("/") else "")
        answer = client.request(verb, other, headers=plain, follow_redirects=False)
        assert answer.status_code in (200, 202, 204), (verb, other, answer.text)


def test_pages_carry_their_filters(client: httpx.Client) -> None:
    ids = [make(client, wanted(f"page-{number}"))["id"] for number in range(5)]
    make(client, wanted("other"))
    query: list[tuple[str, str]] = [("search", "PAGE"), ("sort", "name"), ("limit", "2"), ("unknown", "x"), *(("ids", id) for id in ids)]
    found: list[str] = []
    url: str | None = f"{client.base_url}console/workloads/?{httpx.QueryParams(query)}"
    previous = None
    while url:
        assert url.count("?") == 1
        page = httpx.get(url, headers=client.headers).json()
        WorkloadPage.model_validate_json(json.dumps(page), by_alias=True, by_name=False)
        assert page["totalCount"] == 5
        assert page["count"] == len(page["data"]) <= 2
        found += [entry["name"] for entry in page["data"]]
        if previous is not None:
            assert page["previous"] is not None
        if page["next"]:
            asked, link = parse_qs(urlsplit(url).query), parse_qs(urlsplit(page["next"]).query)
            assert {**asked, "offset": None} == {**link, "offset": None}
            assert urlsplit(page["next"])[:3] == urlsplit(url)[:3]
        previous, url = url, page["next"]
    assert found == [f"page-{number}" for number in range(5)]


def test_search_and_order(client: httpx.Client) -> None:
    first, second = make(client, wanted("Alpha")), make(client, wanted("beta"))

    def listed(**query: Any) -> list[str]:
        return [entry["name"] for entry in client.get(WORKLOADS, params=query).json()["data"]]

    assert listed() == ["beta", "Alpha"], "the newest first"
    assert listed(sort="name") == ["Alpha", "beta"]
    assert listed(sort="-name") == ["beta", "Alpha"]
    assert listed(sort="updatedAt") == ["Alpha", "beta"]
    assert sorted(listed(sort="status")) == ["Alpha", "beta"]
    assert listed(search="ALPH") == ["Alpha"]
    assert listed(search=second["id"]) == ["beta"]
    assert listed(search=first["id"][:7]) == ["Alpha"]
    assert listed(ids=second["id"].upper()) == ["beta"]
    assert listed(ids="0" * 24) == []
    assert listed(offset=5) == []


@pytest.mark.parametrize("query", [{"limit": 0}, {"limit": 101}, {"limit": "x"}, {"offset": -1}, {"sort": "size"}, {"ids": "short"}])
def test_parameters_out_of_range_are_refused(client: httpx.Client, query: Body) -> None:
    answer = client.get(WORKLOADS, params=query)
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"][:2] == ["query", next(iter(query))]


def test_what_kubectl_wrote_is_there_too(cluster: ControlCluster, client: httpx.Client, namespace: str) -> None:
    inline = {"containerGroups": [{"containers": [container(resourceRequest={"cpu": 0.1, "memory": "64Mi"})]}]}
    body = {"apiVersion": "roadstead.dev/v1alpha1", "kind": "Workload", "metadata": {"name": "hand"}, "spec": {"artifact": inline}}
    apply(cluster, here(namespace, body))
    (found,) = wait_for(lambda: client.get(WORKLOADS).json()["data"], "the mirror")
    assert (found["name"], found["creator"]["username"]) == ("hand", "kubectl")
    until(client, found["id"], "running")
    artifact = wait_for(lambda: client.get("/registry/artifacts/").json()["data"], "the materialised artifact")[0]
    assert artifact["id"] == found["artifactId"]
    answer = client.patch(f"/registry/artifacts/{artifact['id']}/", json={"description": "mine"})
    assert answer.status_code == 422
    assert "spec.artifact" in answer.json()["detail"][0]["msg"]


def test_an_error_that_lasts_is_errored_with_its_cause(client: httpx.Client) -> None:
    greedy = container(resourceRequest={"cpu": 1, "memory": 1, "gpu": 1, "gpuType": "abacus"})
    made = make(client, {"name": "broken", "artifact": {"spec": groups(greedy)}})
    body = until(client, made["id"], "errored")
    causes = [entry for entry in body["statusDetails"]["conditions"] if entry["type"] == "Ready"]
    assert causes
    assert causes[0]["name"] == "UnknownGpuType"
    assert "abacus" in causes[0]["value"]


def test_writes_are_the_callers_own(cluster: ControlCluster, api: Served, client: httpx.Client, namespace: str) -> None:
    make(client)
    (workload,) = stored(cluster, "workloads", namespace)
    created = [
        event
        for event in audit_events(cluster)
        if event["verb"] == "create"
        and (event.get("objectRef") or {}).get("resource") == "workloads"
        and event["objectRef"]["namespace"] == namespace
    ]
    assert {event["user"]["username"] for event in created} == {f"system:serviceaccount:{namespace}:editor"}
    assert any(f'"Workload {namespace}/{workload["metadata"]["name"]}" code=201' in line for line in api.log.read_text().splitlines())


def test_changed_meanwhile_it_is_tried_again(cluster: ControlCluster, client: httpx.Client, namespace: str) -> None:
    id = make(client)["id"]
    (workload,) = stored(cluster, "workloads", namespace)
    for number in range(5):
        cluster.kubectl("annotate", "rsw", workload["metadata"]["name"], "-n", namespace, f"n={number}", "--overwrite")
        assert client.post(f"{WORKLOADS}{id}/{'stop' if number % 2 else 'start'}").status_code == 202
    found = get(cluster, "rsw", workload["metadata"]["name"], namespace)
    assert found is not None
    assert found["spec"]["suspend"] is False
    assert found["metadata"]["annotations"]["n"] == "4"


def test_what_a_gitops_tool_keeps_is_left_to_it(cluster: ControlCluster, client: httpx.Client, namespace: str) -> None:
    id = make(client)["id"]
    (workload,) = stored(cluster, "workloads", namespace)
    name = workload["metadata"]["name"]
    kept = {"apiVersion": "roadstead.dev/v1alpha1", "kind": "Workload", "metadata": {"name": name}, "spec": {"suspend": False}}
    flags = ("--server-side", "--force-conflicts", "--field-manager=argocd-controller", "-n", namespace, "-f", "-")
    cluster.kubectl("apply", *flags, input=json.dumps(kept))
    answer = client.post(f"{WORKLOADS}{id}/stop")
    assert answer.status_code == 422
    assert "argocd-controller" in answer.json()["detail"][0]["msg"]
    assert client.post(f"{WORKLOADS}{id}/start").status_code == 202, "nothing would change"
    found = get(cluster, "rsw", name, namespace)
    assert found is not None
    assert found["spec"]["suspend"] is False
