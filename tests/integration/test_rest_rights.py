"""Who may do what: every route for every kind of user in two namespaces, and tokens that are none.

RBAC decides, by the chart's own ClusterRoles. What a user may not see isn't there for him.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from hack.cluster.control import ControlCluster
from tests.clusters import wait_for
from tests.support.rest import Served, account, client_of, expired, groups, running_api, stored, token, wanted

Body = dict[str, Any]
WORKLOADS, ARTIFACTS, DEPLOYMENTS = "/console/workloads/", "/registry/artifacts/", "/console/deployments/"
HERE, THERE = "rights-here", "rights-there"
ROLES = {"admin": "roadstead-admin", "editor": "roadstead-edit", "viewer": "roadstead-view", "stranger": None}


@dataclass(frozen=True, slots=True)
class World:
    """Two namespaces with the same things in them. The users have their roles in the first, and none in the second."""

    users: dict[str, httpx.Client]
    here: dict[str, str]
    there: dict[str, str]


@pytest.fixture(scope="module")
def world(cluster: ControlCluster, api: Served) -> Iterator[World]:
    for name in (HERE, THERE):
        cluster.kubectl("create", "namespace", name)
    users = {name: client_of(api, account(cluster, HERE, name, role)) for name, role in ROLES.items()}
    owner = client_of(api, account(cluster, THERE, "owner", "roadstead-edit"))
    try:
        yield World(users, made(users["editor"]), made(owner))
    finally:
        for client in (*users.values(), owner):
            client.close()
        for name in (HERE, THERE):
            cluster.kubectl("delete", "namespace", name, "--wait=false")


def made(client: httpx.Client) -> dict[str, str]:
    """One object of each kind."""
    artifact = {"name": "a", "status": "registered", "spec": groups()}
    workload = client.post(WORKLOADS, json=wanted(artifact=artifact)).json()
    deployment = client.post(DEPLOYMENTS, json={"name": "d", "workloadId": workload["id"]}).json()
    return {"workload": workload["id"], "artifact": workload["artifactId"], "deployment": deployment["id"]}


@dataclass(frozen=True, slots=True)
class Route:
    """A call, and its codes for admin, editor, viewer and stranger where they have their roles. ``of`` is the kind its id is of."""

    method: str
    path: str
    codes: tuple[int, int, int, int]
    body: Body | None = None
    of: str = ""


READ, CHANGE, START, GONE = (200, 200, 200, 404), (200, 200, 403, 404), (202, 202, 403, 404), (204, 204, 403, 404)
NEW = (201, 201, 403, 403)
LIST = (200, 200, 200, 200)
ROUTES = [
    Route("GET", WORKLOADS, LIST),
    Route("POST", WORKLOADS, NEW, wanted("made")),
    Route("GET", f"{WORKLOADS}{{id}}/", READ, of="workload"),
    Route("POST", f"{WORKLOADS}{{id}}/start", START, of="workload"),
    Route("POST", f"{WORKLOADS}{{id}}/stop", START, of="workload"),
    Route("DELETE", f"{WORKLOADS}{{id}}/", GONE, of="workload"),
    Route("GET", ARTIFACTS, LIST),
    Route("POST", ARTIFACTS, NEW, {"name": "made", "spec": {}}),
    Route("GET", f"{ARTIFACTS}{{id}}/", READ, of="artifact"),
    Route("PUT", f"{ARTIFACTS}{{id}}/", CHANGE, {"name": "b", "spec": groups()}, of="artifact"),
    Route("PATCH", f"{ARTIFACTS}{{id}}/", CHANGE, {"description": "b"}, of="artifact"),
    Route("DELETE", f"{ARTIFACTS}{{id}}/", GONE, of="artifact"),
    Route("GET", DEPLOYMENTS, LIST),
    Route("POST", DEPLOYMENTS, (201, 201, 403, 422), {"name": "made", "workloadId": "{workload}"}),
    Route("GET", f"{DEPLOYMENTS}{{id}}/", READ, of="deployment"),
    Route("PATCH", f"{DEPLOYMENTS}{{id}}/", CHANGE, {"importance": "low"}, of="deployment"),
    Route("DELETE", f"{DEPLOYMENTS}{{id}}/", GONE, of="deployment"),
    Route("GET", f"{DEPLOYMENTS}{{id}}/stats/", READ, of="deployment"),
    Route("GET", "/mlops/compute/bundles", LIST),
    Route("GET", "/version/", LIST),
]


def test_the_matrix_has_every_route(world: World) -> None:
    document = world.users["stranger"].get("/openapi.json").json()
    described = {(method.upper(), path.removeprefix("/api/v2")) for path, found in document["paths"].items() for method in found}
    assert described == {(route.method, route.path) for route in ROUTES}


@pytest.mark.parametrize("user", ROLES)
@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_where_the_user_has_a_role(world: World, route: Route, user: str) -> None:
    ids = world.here
    if route.method == "DELETE" and route.codes[list(ROLES).index(user)] == 204:
        ids = made(world.users["editor"])
        if route.of == "artifact":
            world.users["editor"].delete(f"{WORKLOADS}{ids['workload']}/")
    answer = called(world.users[user], route, ids)
    assert answer.status_code == route.codes[list(ROLES).index(user)], answer.text
    if answer.status_code == 403:
        assert user in answer.json()["detail"]


@pytest.mark.parametrize("user", ROLES)
@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_where_the_user_has_none(world: World, route: Route, user: str) -> None:
    creates = route.method == "POST" and not route.of
    answer = called(world.users[user], route, world.there, {"X-Roadstead-Namespace": THERE} if creates else {})
    expected = 404 if route.of else 200
    if creates:
        expected = 422 if route.path == DEPLOYMENTS else 403  # its workload isn't there for him
    assert answer.status_code == expected, answer.text
    if route.codes == LIST and "{" not in route.path and route.path not in ("/mlops/compute/bundles", "/version/"):
        listed = {entry["id"] for entry in answer.json()["data"]}
        assert not listed & set(world.there.values())
        assert bool(listed) == (user != "stranger")


def called(client: httpx.Client, route: Route, ids: dict[str, str], headers: dict[str, str] | None = None) -> httpx.Response:
    body = None if route.body is None else json.loads(json.dumps(route.body).replace("{workload}", ids["workload"]))
    return client.request(route.method, route.path.replace("{id}", ids.get(route.of, "")), json=body, headers=headers)


def test_a_workload_in_a_body_must_be_visible_and_so_must_an_artifact(world: World) -> None:
    refused = world.users["editor"].post(WORKLOADS, json={"artifactId": world.there["artifact"]})
    absent = world.users["editor"].post(WORKLOADS, json={"artifactId": "0" * 24})
    assert refused.status_code == absent.status_code == 422
    assert refused.text.replace(world.there["artifact"], "") == absent.text.replace("0" * 24, "")


def test_a_right_on_one_object_is_enough(cluster: ControlCluster, world: World, api: Served) -> None:
    name = stored(cluster, "workloads", THERE)[0]["metadata"]["name"]
    cluster.kubectl(*("create", "role", "one", "-n", THERE, "--verb=get", "--resource=workloads.roadstead.dev", f"--resource-name={name}"))
    with client_of(api, account(cluster, THERE, "guest")) as guest:
        assert guest.get(f"{WORKLOADS}{world.there['workload']}").status_code == 404
        cluster.kubectl("create", "rolebinding", "one", "-n", THERE, "--role=one", f"--serviceaccount={THERE}:guest")
        wait_for(lambda: guest.get(f"{WORKLOADS}{world.there['workload']}").status_code == 200, "the right to work")
        assert guest.post(f"{WORKLOADS}{world.there['workload']}/stop").status_code == 403
        assert guest.get(WORKLOADS).json()["totalCount"] == 0


NO_TOKENS = ("Bearer nonsense", "Bearer a.b.c", "Bearer é", f"Bearer {'x' * 20_000}", "Basic YTpi")


def test_tokens_that_are_none(cluster: ControlCluster, api: Served, namespace: str) -> None:
    account(cluster, namespace, "editor", "roadstead-edit")
    url = f"{api.url}/api/v2{WORKLOADS}"
    other = token(cluster, namespace, "editor", "--audience=elsewhere")
    for header in (None, "", "Bearer", *NO_TOKENS, f"Bearer {other}", f"Bearer {expired(cluster)}"):
        headers = {} if header is None else {b"Authorization": header.encode()}
        for method, body in (("GET", b""), ("POST", b"{")):
            answer = httpx.request(method, url, headers=headers, content=body)  # type: ignore[arg-type]
            assert answer.status_code == 401, header
            assert answer.headers["WWW-Authenticate"] == "Bearer"
            assert isinstance(answer.json()["detail"], str)
    assert httpx.get(f"{api.url}/api/v2/nothing").status_code == 401, "what there is, is nobody's business"
    for path in ("openapi.json", "openapi.yaml", "docs", "docs/", "version"):
        assert httpx.get(f"{api.url}/api/v2/{path}").status_code == 200


def test_who_guesses_tokens_is_slowed_down_and_nobody_else(cluster: ControlCluster, api_kubeconfig: Path, namespace: str) -> None:
    bearer = account(cluster, namespace, "editor", "roadstead-edit")
    with running_api(cluster, api_kubeconfig, ROADSTEAD_LOG_LEVEL="error") as served, client_of(served, bearer) as client:
        assert client.get(WORKLOADS).status_code == 200
        codes = [client.get(WORKLOADS, headers={"Authorization": f"Bearer guess-{number}"}).status_code for number in range(250)]
        assert codes[:100] == [401] * 100
        assert 429 in codes
        assert client.get(WORKLOADS).status_code == 200, "whose token is known isn't held up"
        new = account(cluster, namespace, "newcomer", "roadstead-view")
        guesses = [client.get(WORKLOADS, headers={"Authorization": f"Bearer late-{number}"}).status_code for number in range(250)]
        assert 429 in guesses
        assert client.get(WORKLOADS, headers={"Authorization": f"Bearer {new}"}).status_code == 200, "nor whose the cluster has signed"
        assert client.post(WORKLOADS, json={}).status_code == 422
        wait_for(lambda: "roadstead.audit: Write" in served.log.read_text(), "the audit line, which no level leaves out")


@pytest.mark.long
def test_a_deleted_accounts_token_is_none(cluster: ControlCluster, api_kubeconfig: Path, namespace: str) -> None:
    bearer = account(cluster, namespace, "leaver", "roadstead-edit")
    with running_api(cluster, api_kubeconfig, ROADSTEAD_VERDICT_SECONDS="0.5") as served, client_of(served, bearer) as client:
        assert client.get(WORKLOADS).status_code == 200
        cluster.kubectl("delete", "serviceaccount", "leaver", "-n", namespace)
        wait_for(lambda: client.get(WORKLOADS).status_code == 401, "the token to be refused")
        assert client.post(WORKLOADS, json=wanted()).status_code == 401


def test_a_token_for_us_alone_reads_and_does_not_write(cluster: ControlCluster, world: World, api: Served) -> None:
    with client_of(api, token(cluster, HERE, "editor", "--audience=roadstead")) as client:
        assert client.get(f"{WORKLOADS}{world.here['workload']}").status_code == 200
        assert client.get(WORKLOADS).json()["totalCount"] > 0
        for route in ROUTES:
            if route.method != "GET":
                answer = called(client, route, world.here)
                assert answer.status_code == 403
                assert answer.json()["detail"].startswith("writes need a token for the API server's audience")


def test_an_admission_policy_sees_the_person(cluster: ControlCluster, world: World) -> None:
    """Who may change but not delete: soft deletion is a deletion."""
    rule = {"apiGroups": ["roadstead.dev"], "resources": ["workloads", "artifacts"], "verbs": ["get", "list", "create", "patch", "update"]}
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "careful"}, "rules": [rule]}
    cluster.kubectl("apply", "-f", "-", input=json.dumps(role))
    bearer = account(cluster, HERE, "careful", "careful")
    with httpx.Client(base_url=world.users["editor"].base_url, headers={"Authorization": f"Bearer {bearer}"}) as client:
        id = client.post(WORKLOADS, json=wanted()).json()["id"]
        assert client.post(f"{WORKLOADS}{id}/stop").status_code == 202
        refused = client.delete(f"{WORKLOADS}{id}/")
        assert refused.status_code == 403
        assert "may not delete" in refused.json()["detail"]
        assert client.get(f"{WORKLOADS}{id}/").status_code == 200
