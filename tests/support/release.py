"""The Helm chart as a user installs it: a cluster with real pods, the images in its registry, and the example that runs there."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from hack.cluster import asking, images, preflight
from hack.cluster.everyday import Engine, Everyday
from hack.cluster.full import FullCluster, full_cluster
from hack.cluster.helm import helm
from roadstead.api.identity import object_id
from tests.build import raw_deployment
from tests.clusters import wait_for

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "roadstead"
EXAMPLE = ROOT / "examples" / "whoami"
NAMESPACE = "roadstead-system"
FRONT = object_id("deployments", "default", "whoami")
"""Id of the Deployment in front of the example."""
Body = dict[str, Any]


@dataclass(frozen=True)
class World:
    """A cluster with the images in its registry, and what is asked of the release and of the example on it."""

    cluster: FullCluster
    operator: str
    whoami: str
    envoy: str
    home: Path

    def helm(self, *args: str) -> str:
        """Run Helm on the release; fails with Helm's words."""
        folders = {f"HELM_{kind}_HOME": str(self.home / kind.lower()) for kind in ("CACHE", "CONFIG", "DATA")}
        command = [str(helm()), *args, "--namespace", NAMESPACE, "--kubeconfig", str(self.cluster.kubeconfig)]
        done = subprocess.run(command, env={**os.environ, **folders}, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"helm {' '.join(args)}: {done.stderr}"
        return done.stdout

    def deploy(self, verb: str, *flags: str, chart: Path = CHART) -> str:
        """Install or upgrade with our image and Envoy's, and wait until all is ready."""
        image = []
        for value, reference in (("image", self.operator), ("gateway.envoy.image", self.envoy)):
            repository, digest = reference.split("@")
            image += [f"--set={value}.repository={repository}", f"--set={value}.digest={digest}"]
        return self.helm(verb, "roadstead", str(chart), *image, "--wait", "--timeout=120s", *flags)

    def get(self, *args: str) -> Body:
        """`kubectl get … -o json`."""
        body: Body = json.loads(self.cluster.kubectl("get", *args, "-o", "json"))
        return body

    def names(self, kind: str, *args: str) -> set[str]:
        """Names of all objects of a kind."""
        return {item["metadata"]["name"] for item in self.get(kind, *args)["items"]}

    def declared(self) -> int:
        """How many pods the example is to have."""
        return int(self.get("workloads.roadstead.dev", "whoami", "--namespace=default")["spec"]["runtime"]["replicaCount"])

    def pods(self) -> dict[str, int]:
        """The example's pods by uid, with their restarts."""
        found = self.get("pods", "--namespace=default", "--selector=roadstead.dev/workload=whoami")["items"]
        return {pod["metadata"]["uid"]: sum(c["restartCount"] for c in pod["status"].get("containerStatuses", ())) for pod in found}

    def gateway_pods(self) -> set[str]:
        """Names of the gateway's pods."""
        return self.names("pods", f"--namespace={NAMESPACE}", "--selector=app.kubernetes.io/component=gateway")

    def wait_running(self, count: int) -> None:
        """Wait until the example runs with so many pods; on failure, tell what the cluster and the operator say."""
        try:
            wait_for(lambda: self.state() == "running" and len(self.pods()) == count, f"the example to run with {count} pods", 90)
        except AssertionError as late:
            described = self.cluster.kubectl("describe", "workloads.roadstead.dev,pods", "--namespace=default", check=False)
            selector = "--selector=app.kubernetes.io/component=operator"
            logs = self.cluster.kubectl("logs", f"--namespace={NAMESPACE}", selector, "--prefix", "--tail=100", check=False)
            raise AssertionError(f"{late}\n{described}\n{logs}") from None

    @property
    def local(self) -> Everyday:
        """The cluster as the demo's parts know it."""
        return Everyday(Engine.LOCAL, self.cluster.kubeconfig)

    @property
    def gateway(self) -> str:
        """Where the gateway's Service answers."""
        return f"http://{asking.address(self.local, 'roadstead-gateway', NAMESPACE)}"

    def endpoint(self, kind: str, id: str) -> str:
        """URL at the gateway's Service."""
        return f"{self.gateway}/api/v2/endpoints/{kind}/{id}/"

    def through_the_gateway(self) -> str:
        """What the example answers to a call by its id."""
        url = self.endpoint("workloads", object_id("workloads", "default", "whoami"))
        return asking.answer(self.local, url, workload="whoami", token=asking.caller(self.local)).body

    def total_requests(self) -> int | None:
        """How many requests to the Deployment in front of the example the API tells of; None while it is not known."""
        url = f"http://{asking.address(self.local, 'roadstead-api', NAMESPACE)}/api/v2/console/deployments/{FRONT}/stats/"
        headers = {"Authorization": f"Bearer {asking.caller(self.local)}"}
        answer = httpx.get(url, params={"slowRequestsThreshold": "200"}, headers=headers, timeout=30)
        assert answer.status_code == 200, answer.text
        found: int | None = answer.json()["metrics"]["totalRequests"]
        return found

    def pod_names(self) -> set[str]:
        """Names of the example's pods."""
        return self.names("pods", "--namespace=default", "--selector=roadstead.dev/workload=whoami")

    def state(self) -> str:
        """State of the example."""
        return str(self.get("workloads.roadstead.dev", "whoami", "--namespace=default").get("status", {}).get("state", ""))


@contextmanager
def chart_world(home: Path) -> Iterator[World]:
    """An empty cluster that knows the operator's and the example's image."""
    if problems := preflight.missing():
        pytest.skip("this machine can't run containers: " + "; ".join(problems))
    with full_cluster() as cluster:
        operator = cluster.push_image(images.operator_image(), "roadstead/roadstead")
        whoami = cluster.push_image(images.whoami_image(), "roadstead/whoami")
        envoy = cluster.push_image(images.envoy_image(), "roadstead/envoy")
        yield World(cluster, operator, whoami, envoy, home)


def apply_example(world: World) -> None:
    """A Workload of two pods, its Artifact and a Deployment in front of it."""
    artifact = yaml.safe_load((EXAMPLE / "artifact.yaml").read_text())
    artifact["spec"]["containerGroups"][0]["containers"][0]["imageUri"] = world.whoami
    workload = yaml.safe_load((EXAMPLE / "workload.yaml").read_text())
    front = {**raw_deployment("whoami", "whoami"), "metadata": {"name": "whoami"}}
    objects = yaml.safe_dump_all([front, artifact, workload])  # in this order, since a Deployment's importance is that of the pods too
    world.cluster.kubectl("apply", "--server-side", "--namespace=default", "-f", "-", input=objects)


def serve_example(world: World) -> None:
    """Install what earlier tests of this module haven't, and return when the example is answered through the gateway."""
    if "roadstead-gateway" not in world.names("deployments.apps", f"--namespace={NAMESPACE}"):
        world.deploy("install", "--create-namespace")
    if not world.pods():
        apply_example(world)
    world.wait_running(world.declared())
    answer = world.through_the_gateway()
    assert any(name in answer for name in world.pod_names()), answer
