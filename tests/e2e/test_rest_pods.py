"""A client's whole story over REST, on real pods and with plain httpx; kubectl sees the same objects at each step."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from hack.cluster import images, preflight
from hack.cluster.full import FullCluster, full_cluster
from tests.clusters import NAMESPACE, install_crds, install_rbac, running_operator, wait_admission, wait_for
from tests.support.rest import account, api_access, groups, running_api

Body = dict[str, Any]
TEAM = "team"
PATIENCE_SECONDS = 120
pytestmark = pytest.mark.timeout(600)


@dataclass(frozen=True)
class World:
    """A cluster with real pods, the operator and the API; ``client`` calls as an editor of one namespace."""

    cluster: FullCluster
    image: str
    client: httpx.Client

    def stored(self, plural: str) -> list[Body]:
        """What kubectl says of the team's objects."""
        return list(json.loads(self.cluster.kubectl("get", plural, "-n", TEAM, "-o", "json"))["items"])

    def one(self, plural: str) -> Body:
        """The only one."""
        (found,) = self.stored(plural)
        return found

    def pods(self) -> set[str]:
        """Names of the pods that aren't going."""
        return {pod["metadata"]["name"] for pod in self.stored("pods") if "deletionTimestamp" not in pod["metadata"]}

    def until(self, path: str, status: str) -> Body:
        """Poll as clients do: once a second, and no further than the first `errored`."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            answer = self.client.get(path)
            assert answer.status_code == 200, answer.text
            found: Body = answer.json()
            if found["status"] == status:
                return found
            assert found["status"] != "errored", found["statusDetails"]
            assert time.monotonic() < deadline, f"still {found['status']}, not {status}: {found}"
            time.sleep(1)

    def asked(self, workload: Body) -> str:
        """The host name of the pod that answers at the workload's address inside the cluster."""
        url = urlsplit(workload["internalUrl"])
        service, namespace = str(url.hostname).split(".")[:2]
        address = json.loads(self.cluster.kubectl("get", "service", service, "-n", namespace, "-o", "json"))["spec"]["clusterIP"]
        return str(httpx.get(f"http://{address}:{url.port or 80}/", timeout=5).json()["hostname"])


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    if problems := preflight.missing():
        pytest.skip("this machine can't run containers: " + "; ".join(problems))
    with ExitStack() as stack:
        cluster = stack.enter_context(full_cluster())
        image = cluster.push_image(images.whoami_image(), "roadstead/whoami")
        install_crds(cluster)
        install_rbac(cluster)
        wait_admission(cluster)
        stack.enter_context(running_operator(cluster, cluster.client_kubeconfig(f"system:serviceaccount:{NAMESPACE}:roadstead-operator")))
        api = stack.enter_context(running_api(cluster, api_access(cluster)))
        cluster.kubectl("create", "namespace", TEAM)
        token = account(cluster, TEAM, "editor", "roadstead-edit")
        headers = {"Authorization": f"Bearer {token}"}
        yield World(cluster, image, stack.enter_context(httpx.Client(base_url=f"{api.url}/api/v2", headers=headers, timeout=30)))


def test_from_creation_to_deletion(world: World) -> None:
    probe = {"path": "/readyz", "initialDelaySeconds": 0, "periodSeconds": 1}
    container = {"imageUri": world.image, "resourceRequest": {"cpu": 0.05, "memory": 67108864}, "readinessProbe": probe}
    body = {"name": "whoami", "artifact": {"name": "whoami", "spec": groups(container)}, "runtime": {"replicaCount": 1}}

    made = world.client.post("/console/workloads/", json=body)
    assert made.status_code == 201, made.text
    id, artifact_id = made.json()["id"], made.json()["artifactId"]
    workload = f"/console/workloads/{id}/"
    assert world.one("workloads.roadstead.dev")["metadata"]["labels"]["roadstead.dev/id"] == id
    assert world.one("artifacts.roadstead.dev")["metadata"]["labels"]["roadstead.dev/id"] == artifact_id
    assert world.one("workloads.roadstead.dev")["spec"]["artifactRef"]["name"] == world.one("artifacts.roadstead.dev")["metadata"]["name"]

    running = world.until(workload, "running")
    assert running["runningSince"] is not None
    assert world.one("workloads.roadstead.dev")["status"]["state"] == "running"
    assert {world.asked(running)} == world.pods()

    stopping = world.client.post(f"{workload}stop")
    assert (stopping.status_code, stopping.json()["workloadId"]) == (202, id)
    world.until(workload, "stopped")
    assert world.one("workloads.roadstead.dev")["spec"]["suspend"] is True
    assert world.pods() == set()

    assert world.client.post(f"{workload}start").status_code == 202
    running = world.until(workload, "running")
    assert world.one("workloads.roadstead.dev")["spec"]["suspend"] is False
    pods = world.pods()
    assert {world.asked(running)} == pods

    early = world.client.post("/console/deployments/", json={"name": "whoami", "workloadId": id})
    assert (early.status_code, "register it first" in early.text) == (422, True)
    registered = world.client.patch(f"/registry/artifacts/{artifact_id}/", json={"status": "registered"})
    assert (registered.status_code, registered.json()["status"]) == (200, "registered")
    wait_for(lambda: world.client.get(f"/registry/artifacts/{artifact_id}/").json()["version"] == 1, "the artifact's version")
    assert world.one("artifacts.roadstead.dev")["spec"]["status"] == "registered"
    assert world.one("artifacts.roadstead.dev")["status"]["version"] == 1

    deployed = world.client.post("/console/deployments/", json={"name": "whoami", "workloadId": id})
    assert deployed.status_code == 201, deployed.text
    deployment = f"/console/deployments/{deployed.json()['id']}/"
    assert (deployed.json()["importance"], deployed.json()["artifactId"]) == ("low", artifact_id)
    world.until(deployment, "running")
    spec = world.one("deployments.roadstead.dev")["spec"]
    assert spec["workloadRef"]["name"] == world.one("workloads.roadstead.dev")["metadata"]["name"]

    patched = world.client.patch(deployment, json={"importance": "high"})
    assert (patched.status_code, patched.json()["importance"]) == (200, "high")
    assert world.one("deployments.roadstead.dev")["spec"]["importance"] == "high"

    stats = world.client.get(f"{deployment}stats/").json()
    assert stats["period"]["start"] < stats["period"]["end"]
    assert set(stats["metrics"].values()) == {None}
    assert world.pods() == pods, "neither registering nor deploying restarts anything"

    used = world.client.delete(f"/registry/artifacts/{artifact_id}/")
    assert (used.status_code, id in used.text) == (422, True)
    for path in (deployment, workload, f"/registry/artifacts/{artifact_id}/"):
        assert world.client.delete(path).status_code == 204
        assert world.client.get(path).status_code == 404
    assert world.stored("deployments.roadstead.dev") == []
    assert world.one("workloads.roadstead.dev")["spec"]["deleted"] is True
    assert world.one("artifacts.roadstead.dev")["spec"]["deleted"] is True
    wait_for(lambda: not world.stored("pods") and not world.stored("services"), "pods and Service to go", PATIENCE_SECONDS, 1)
