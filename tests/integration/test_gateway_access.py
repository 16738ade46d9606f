"""Who may call an endpoint: the authoriser before a real API server, with the chart's roles, real tokens, and the mirrors' own view.

What Envoy would do with the answer isn't asked here: the Envoy in this test takes what it is told.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass

import pytest
import pytest_asyncio

from hack.cluster.control import ControlCluster
from roadstead.access.callers import Callers
from roadstead.access.rights import Rights
from roadstead.access.verdicts import Keeping
from roadstead.api.identity import object_id
from roadstead.gateway.authoriser import Authoriser
from roadstead.gateway.directory import DEPLOYMENT, WORKLOAD, Directory
from roadstead.gateway.http import listening
from roadstead.gateway.mirrors import Mirrors
from roadstead.gateway.permission import Permission
from roadstead.gateway.waking import Waking
from roadstead.kube.client import ApiClient
from roadstead.kube.config import load
from tests.build import API_VERSION, raw_workload
from tests.clusters import NAMESPACE, apply
from tests.support.rest import account, expired, token
from tests.unit.gateway.reviewer import Said, wire
from tests.unit.gateway.waking_world import Envoy, Told
from tests.unit.kube.fake import until

pytestmark = pytest.mark.asyncio(loop_scope="module")
HERE, THERE = "invoke-here", "invoke-there"
KINDS = {WORKLOAD: "w", DEPLOYMENT: "d"}
ROLES = {"editor": "edit", "invoker": "roadstead-invoke", "viewer": "roadstead-view", "stranger": None}
CODES = {"editor": 200, "invoker": 200, "viewer": 403, "stranger": 404}
NOBODY = "f" * 24


@pytest.fixture(scope="module")
def tokens(cluster: ControlCluster) -> Iterator[dict[str, str]]:
    """Two namespaces with the same things in them; each user has his role in the first, and none in the second."""
    for namespace in (HERE, THERE):
        cluster.kubectl("create", "namespace", namespace)
        labels = {"app.kubernetes.io/managed-by": "roadstead", "kubernetes.io/service-name": "w"}
        pods = {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": "w-1", "namespace": namespace, "labels": labels},
            "addressType": "IPv4",
            "ports": [{"name": "http", "port": 8080, "appProtocol": "http"}],
            "endpoints": [{"addresses": ["10.1.1.1"], "conditions": {"ready": True}}],
        }
        deployment = {"apiVersion": API_VERSION, "kind": "Deployment", "metadata": {"name": "d", "namespace": namespace}}
        deployment["spec"] = {"workloadRef": {"name": "w"}}
        apply(cluster, raw_workload(meta={"name": "w", "namespace": namespace}), deployment, pods)
    yield {name: account(cluster, HERE, name, role) for name, role in ROLES.items()}
    for namespace in (HERE, THERE):
        cluster.kubectl("delete", "namespace", namespace, "--wait=false")


@dataclass(frozen=True, slots=True)
class Gateway:
    """An authoriser with the chart's rights."""

    port: int
    directory: Directory

    async def says(self, bearer: str, path: str) -> Said:
        async with wire(self.port) as connection:
            connection.ask(path, authorization=f"Bearer {bearer}", x_roadstead_client="10.0.0.1")
            return await connection.hear()

    async def turns(self, status: int, bearer: str, path: str) -> None:
        """Wait until it says so."""
        for _ in range(300):
            if (await self.says(bearer, path)).status == status:
                return
            await asyncio.sleep(0.1)
        raise AssertionError(f"never {status}")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(cluster: ControlCluster, tokens: dict[str, str]) -> AsyncIterator[Gateway]:
    user = f"system:serviceaccount:{NAMESPACE}:roadstead-gateway"
    kubeconfig = cluster.client_kubeconfig(user, ("system:serviceaccounts", "system:authenticated"))
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(ApiClient(load(kubeconfig), user_agent="test-gateway"))
        directory = Directory(Envoy())
        waking = Waking(directory, Told())
        mirrors = Mirrors(client, directory, NAMESPACE, "")
        tasks = [asyncio.create_task(loop, name=name) for name, loop in mirrors.loops().items()]
        try:
            await mirrors.wait_filled()
            await until(lambda: all(open_in(directory, namespace) for namespace in (HERE, THERE)), 30)
            keeping = Keeping(0.5, 0.2, lambda: 60.0)
            permission = Permission(Callers(client, "roadstead", keeping), Rights(client, keeping), directory)
            port = await stack.enter_async_context(listening(Authoriser(permission, waking), "127.0.0.1", 0))
            yield Gateway(port, directory)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def open_in(directory: Directory, namespace: str) -> bool:
    found = [directory.find(kind, object_id(kind, namespace, name)) for kind, name in KINDS.items()]
    return all(target is not None and target.open for target in found)


def path_of(kind: str, namespace: str) -> str:
    return f"/api/v2/endpoints/{kind}/{object_id(kind, namespace, KINDS[kind])}/v1/models"


@pytest.mark.parametrize("ours", [False, True], ids=["token for the API server", "token for us"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("role", ROLES)
async def test_a_role_decides(cluster: ControlCluster, gateway: Gateway, tokens: dict[str, str], role: str, kind: str, ours: bool) -> None:
    bearer = token(cluster, HERE, role, "--audience=roadstead") if ours else tokens[role]
    said = await gateway.says(bearer, path_of(kind, HERE))
    assert said.status == CODES[role]
    if said.status == 200:
        assert said.headers["x-roadstead-cluster"] == f"{kind[0]}-{object_id(kind, HERE, KINDS[kind])}"
        assert said.headers["x-roadstead-user"] == f"system:serviceaccount:{HERE}:{role}"
    if said.status == 403:
        assert f"{kind}/invoke" in said.detail
    hidden = await gateway.says(bearer, path_of(kind, THERE))
    nobody = await gateway.says(bearer, f"/api/v2/endpoints/{kind}/{NOBODY}/v1/models")
    assert hidden.status == nobody.status == 404
    assert hidden.body.replace(object_id(kind, THERE, KINDS[kind]).encode(), NOBODY.encode()) == nobody.body


async def test_tokens_that_are_none(cluster: ControlCluster, gateway: Gateway, tokens: dict[str, str]) -> None:
    elsewhere = token(cluster, HERE, "invoker", "--audience=elsewhere")
    for bearer in (elsewhere, expired(cluster), tokens["invoker"][:-8], "nonsense"):
        assert (await gateway.says(bearer, path_of(WORKLOAD, HERE))).status == 401


async def test_a_right_on_one_name_works_at_once_and_ends(cluster: ControlCluster, gateway: Gateway) -> None:
    guest = account(cluster, HERE, "guest")
    resource = ("--verb=create", "--resource=workloads.roadstead.dev/invoke", "--resource-name=w")
    cluster.kubectl("create", "role", "one", "-n", HERE, *resource)
    assert (await gateway.says(guest, path_of(WORKLOAD, HERE))).status == 404
    cluster.kubectl("create", "rolebinding", "one", "-n", HERE, "--role=one", f"--serviceaccount={HERE}:guest")
    await gateway.turns(200, guest, path_of(WORKLOAD, HERE))
    assert (await gateway.says(guest, path_of(DEPLOYMENT, HERE))).status == 404
    cluster.kubectl("delete", "rolebinding", "one", "-n", HERE)
    await gateway.turns(404, guest, path_of(WORKLOAD, HERE))


async def test_a_deleted_accounts_token_is_none(cluster: ControlCluster, gateway: Gateway) -> None:
    leaver = account(cluster, HERE, "leaver", "roadstead-invoke")
    await gateway.turns(200, leaver, path_of(WORKLOAD, HERE))
    cluster.kubectl("delete", "serviceaccount", "leaver", "-n", HERE)
    await gateway.turns(401, leaver, path_of(WORKLOAD, HERE))
