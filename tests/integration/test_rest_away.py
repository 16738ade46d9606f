"""The API server can't be reached, is slow to tell, or nobody keeps statuses true: what the REST API then says, and what it still does."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from aiohttp import web

from hack.cluster.control import ControlCluster
from hack.cluster.processes import answers
from roadstead.api.identity import object_id
from roadstead.rest import idempotency
from tests.clusters import apply, wait_for
from tests.support.proxy import Fault, Proxy, late, proxied, refusing
from tests.support.rest import Served, account, client_of, groups, running_api, stored, token, wanted

WORKLOADS, ARTIFACTS = "/console/workloads/", "/registry/artifacts/"


@dataclass(frozen=True, slots=True)
class Apart:
    """A replica with a proxy between it and the API server."""

    proxy: Proxy
    served: Served


@pytest.fixture(scope="module")
def apart(cluster: ControlCluster, api_kubeconfig: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Apart]:
    with (
        proxied(cluster, api_kubeconfig, tmp_path_factory.mktemp("proxy")) as proxy,
        running_api(cluster, proxy.kubeconfig(), ROADSTEAD_VERDICT_SECONDS="0.2") as served,
    ):
        yield Apart(proxy, served)


@pytest.fixture
def far(cluster: ControlCluster, apart: Apart, namespace: str) -> Iterator[httpx.Client]:
    with client_of(apart.served, account(cluster, namespace, "editor", "roadstead-edit")) as http:
        yield http


def test_reads_go_on_and_say_how_old_they_are(cluster: ControlCluster, apart: Apart, far: httpx.Client, namespace: str) -> None:
    made = far.post(WORKLOADS, json=wanted()).json()
    for path in (WORKLOADS, f"{WORKLOADS}{made['id']}"):
        assert "Age" not in far.get(path).headers
    fresh = token(cluster, namespace, "editor")
    apart.proxy.close()
    try:
        # The verdicts are older than they are kept, and stay in force nevertheless.
        aged = wait_for(lambda: _aged(far.get(f"{WORKLOADS}{made['id']}")), "an answer with an age")
        assert aged.json()["id"] == made["id"]
        assert _aged(far.get(WORKLOADS)) is not None
        assert far.get("/mlops/compute/bundles").status_code == 200
        for answer in (
            far.post(WORKLOADS, json=wanted()),
            far.post(f"{WORKLOADS}{made['id']}/stop"),
            far.delete(f"{WORKLOADS}{made['id']}"),
            far.get(f"{WORKLOADS}{'0' * 24}"),
            httpx.get(far.base_url.join("console/workloads"), headers={"Authorization": f"Bearer {fresh}"}, timeout=60),
        ):
            assert answer.status_code == 503, answer.text
            assert int(answer.headers["Retry-After"]) >= 1
            assert "can't be reached" in answer.json()["detail"]
        assert answers(f"{apart.served.health}/readyz"), "reads are served"
        assert answers(f"{apart.served.health}/livez")
    finally:
        apart.proxy.open()
    wait_for(lambda: _aged(far.get(f"{WORKLOADS}{made['id']}")) is None, "answers of today", 60)
    assert far.post(f"{WORKLOADS}{made['id']}/stop").status_code == 202


def _aged(answer: httpx.Response) -> httpx.Response | None:
    assert answer.status_code == 200, answer.text
    return answer if int(answer.headers.get("Age", "0")) >= 1 else None


def test_what_the_watch_has_not_brought_is_asked_for(apart: Apart, api: Served, far: httpx.Client) -> None:
    with httpx.Client(base_url=f"{api.url}/api/v2", headers=far.headers, timeout=60) as near:
        apart.proxy.harm("hush")
        before = _misses(apart.served)
        made = near.post(WORKLOADS, json=wanted()).json()
        assert far.get(f"{WORKLOADS}{made['id']}/").status_code == 200
        assert far.get(f"{ARTIFACTS}{made['artifactId']}/").status_code == 200
        assert _misses(apart.served) == before + 2
        assert far.get(WORKLOADS).json()["totalCount"] == 1, "what was found is known from then on"
        mine = far.post(ARTIFACTS, json={"name": "x", "spec": {}}).json()
        assert far.get(ARTIFACTS, params={"ids": mine["id"]}).json()["totalCount"] == 1, "its own writes need no watch"
        collection = near.post(ARTIFACTS, json={"name": "y", "spec": {}}).json()["artifactCollectionId"]
        assert far.post(ARTIFACTS, json={"name": "z", "spec": {}, "artifactCollectionId": collection}).status_code == 201
        draft = near.post(WORKLOADS, json=wanted("later")).json()
        assert far.get(f"{ARTIFACTS}{draft['artifactId']}").json()["status"] == "draft"
        near.patch(f"{ARTIFACTS}{draft['artifactId']}", json={"status": "registered"})
        deployed = far.post("/console/deployments/", json={"name": "d", "workloadId": draft["id"]})
        assert deployed.status_code == 201, "a draft, for all that its mirror knew"


def _misses(served: Served) -> int:
    text = httpx.get(f"{served.metrics}/metrics").text
    return sum(int(float(count)) for count in re.findall(r"^roadstead_api_cache_misses_total\{[^}]*\} (.*)$", text, re.MULTILINE))


@pytest.mark.parametrize("code", [429, 500, 503, 504])
def test_an_api_server_in_trouble_is_no_trouble_of_the_request(apart: Apart, far: httpx.Client, code: int) -> None:
    assert far.get(ARTIFACTS).status_code == 200

    def writes(request: web.Request) -> bool:
        return request.method in ("POST", "PATCH") and "/artifacts" in request.path

    fault = Fault(writes, refusing(code, retry_after=11))
    apart.proxy.faults.append(fault)
    try:
        answer = far.post(ARTIFACTS, json={"name": "x", "spec": groups()})
        assert answer.status_code == 503, answer.text
        assert answer.headers["Retry-After"] == "11"
    finally:
        apart.proxy.faults.remove(fault)
    assert fault.met >= 1


def test_without_an_operator_states_are_unknown(far: httpx.Client) -> None:
    """No operator runs in this module; one that has just given its Lease back may come again."""
    id = far.post(WORKLOADS, json=wanted()).json()["id"]
    wait_for(lambda: far.get(f"{WORKLOADS}{id}").json()["status"] == "unknown", "the state to be unknown", 90)
    assert {entry["status"] for entry in far.get(WORKLOADS).json()["data"]} == {"unknown"}


def _really_creates(request: web.Request) -> bool:
    return request.method == "POST" and "/workloads" in request.path and "dryRun" not in request.query


def test_after_no_answer_the_artifact_is_taken_back(cluster: ControlCluster, apart: Apart, far: httpx.Client, namespace: str) -> None:
    fault = Fault(_really_creates, refusing(503))
    apart.proxy.faults.append(fault)
    try:
        assert far.post(WORKLOADS, json=wanted()).status_code == 503
    finally:
        apart.proxy.faults.remove(fault)
    assert stored(cluster, "artifacts", namespace) == []


def test_after_a_lost_answer_both_are_kept_and_a_retry_finds_them(
    cluster: ControlCluster, apart: Apart, far: httpx.Client, namespace: str
) -> None:
    """The Workload is there, only its answer isn't: the Artifact that it runs must stay."""
    payload = json.dumps(wanted()).encode()
    once = idempotency.once("k", f"system:serviceaccount:{namespace}:editor", payload)
    assert once is not None
    name = once.name("workload")

    def create() -> None:
        spec = {"artifactRef": {"name": once.name("artifact")}}
        metadata = {"name": name, "namespace": namespace, "annotations": {"roadstead.dev/request": once.digest}}
        apply(cluster, {"apiVersion": "roadstead.dev/v1alpha1", "kind": "Workload", "metadata": metadata, "spec": spec})

    async def lost() -> web.StreamResponse | None:
        await asyncio.to_thread(create)
        return await refusing(504)()

    fault = Fault(_really_creates, lost)
    apart.proxy.faults.append(fault)
    try:
        assert far.post(WORKLOADS, content=payload, headers={"Idempotency-Key": "k"}).status_code == 503
    finally:
        apart.proxy.faults.remove(fault)
    assert [body["metadata"]["name"] for body in stored(cluster, "artifacts", namespace)] == [once.name("artifact")]
    again = far.post(WORKLOADS, content=payload, headers={"Idempotency-Key": "k"})
    assert again.status_code == 201, again.text
    assert again.json()["id"] == object_id("workloads", namespace, name)


def test_two_writes_are_carried_through_though_their_request_took_too_long(
    cluster: ControlCluster, apart: Apart, far: httpx.Client, namespace: str
) -> None:
    bearer = far.headers["Authorization"].removeprefix("Bearer ")

    async def refused_late() -> web.StreamResponse | None:
        await asyncio.sleep(3)
        return await refusing(403)()

    with running_api(cluster, apart.proxy.kubeconfig(), ROADSTEAD_REQUEST_SECONDS="1.5") as served, client_of(served, bearer) as hasty:
        assert hasty.get(WORKLOADS).status_code == 200
        for answer, left in ((late(3), 1), (refused_late, 1)):
            fault = Fault(_really_creates, answer)
            apart.proxy.faults.append(fault)
            try:
                told = hasty.post(WORKLOADS, json=wanted())
                assert (told.status_code, told.json()["detail"]) == (503, "this took too long; try again")
                assert _counts(cluster, namespace)[0] == left + (answer is refused_late), "the first is made, the second not yet"
                wait_for(lambda left=left: _counts(cluster, namespace) == (left, left), "both, or none more")  # type: ignore[misc]
            finally:
                apart.proxy.faults.remove(fault)


def _counts(cluster: ControlCluster, namespace: str) -> tuple[int, int]:
    return len(stored(cluster, "artifacts", namespace)), len(stored(cluster, "workloads", namespace))
