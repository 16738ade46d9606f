"""The Helm chart on a cluster with real pods: install, upgrade, uninstall, and what each must leave alone."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from hack.cluster import asking, demo, from_zero, images, keda_pods, preflight
from hack.cluster.everyday import Engine, Everyday
from hack.cluster.full import FullCluster, full_cluster
from hack.cluster.helm import helm
from hack.cluster.metrics_server import metrics_server
from roadstead import series
from roadstead.api.identity import object_id
from tests.build import raw_deployment
from tests.clusters import wait_for

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "roadstead"
EXAMPLE = ROOT / "examples" / "whoami"
NAMESPACE = "roadstead-system"
GATEWAY = "deployment/roadstead-gateway"
FEWEST, MOST = 2, 3
"""Pods of the gateway that its autoscaler may choose from."""
FRONT = object_id("deployments", "default", "whoami")
"""Id of the Deployment in front of the example."""
CRDS = {f"{plural}.roadstead.dev" for plural in ("artifacts", "workloads", "deployments", "platforms")}
Body = dict[str, Any]
pytestmark = pytest.mark.timeout(600)


@dataclass(frozen=True)
class World:
    """A cluster of this module's own, since other tests rely on a release that stays; and the images in its registry."""

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

    def crd_description(self) -> str:
        """What the Workload CRD says of itself."""
        crd = self.get("customresourcedefinitions.apiextensions.k8s.io", "workloads.roadstead.dev")
        return str(crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["description"])

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

    def versions(self) -> dict[str, str]:
        """The resourceVersions of the example's objects; every write moves one."""
        kinds = "workloads.roadstead.dev,artifacts.roadstead.dev,deployments.apps,services"
        found = self.get(kinds, "--namespace=default")["items"]
        return {f"{body['kind']}/{body['metadata']['name']}": body["metadata"]["resourceVersion"] for body in found}

    def rested_versions(self) -> dict[str, str]:
        """The same when nothing has been written for five seconds."""
        versions = self.versions()
        for _ in range(12):
            time.sleep(5)
            before, versions = versions, self.versions()
            if before == versions:
                return versions
        raise AssertionError(f"something is always written: {versions}")

    def leader(self) -> str:
        """The pod that holds the Lease; empty if none does."""
        lease = self.get("leases", "roadstead-operator", f"--namespace={NAMESPACE}")
        return str(lease["spec"].get("holderIdentity") or "").rpartition("_")[0]

    def operator_pods(self) -> set[str]:
        """Names of the operator's pods that aren't going."""
        found = self.get("pods", f"--namespace={NAMESPACE}", "--selector=app.kubernetes.io/component=operator")["items"]
        return {pod["metadata"]["name"] for pod in found if "deletionTimestamp" not in pod["metadata"]}

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

    def over_rest(self, capsys: pytest.CaptureFixture[str]) -> Body:
        """The example as the demo's call through the API's Service shows it."""
        capsys.readouterr()
        demo.show_over_rest(self.local, f"http://{asking.address(self.local, 'roadstead-api', NAMESPACE)}")
        command, _, answer = capsys.readouterr().out.partition("\n")
        assert command.startswith("$ curl ")
        found: Body = json.loads(answer)
        return found

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

    def counted(self) -> int:
        """The same, as soon as it is known and nothing is added any more."""
        counts = [self.total_requests()]

        def rested() -> bool:
            time.sleep(2)  # Envoys tell of requests every second, and the processes each other twice as often
            counts.append(self.total_requests())
            return counts[-1] is not None and counts[-1] == counts[-2]

        wait_for(rested, "a count that rests")
        assert counts[-1] is not None
        return counts[-1]

    def helpers(self, pod: str, cluster: str) -> set[tuple[str, int]]:
        """Whom the Envoy of a gateway's pod can turn to for that: addresses of the healthy ones, and their priority."""
        script = "import sys, urllib.request as u; print(u.urlopen(sys.argv[1]).read().decode())"
        ask = ("python3", "-c", script, "http://127.0.0.1:9901/clusters?format=json")
        told = json.loads(self.cluster.kubectl("exec", pod, f"--namespace={NAMESPACE}", "--container=gateway", "--", *ask))
        (found,) = (each for each in told["cluster_statuses"] if each["name"] == cluster)
        healthy = [host for host in found["host_statuses"] if host["health_status"] == {"eds_health_status": "HEALTHY"}]
        return {(host["address"]["socket_address"]["address"], host.get("priority", 0)) for host in healthy}

    def pod_names(self) -> set[str]:
        """Names of the example's pods."""
        return self.names("pods", "--namespace=default", "--selector=roadstead.dev/workload=whoami")

    def certificates(self) -> str:
        """The resourceVersion of the Secret with the gateway's certificates."""
        return str(self.get("secret", "roadstead-gateway-tls", f"--namespace={NAMESPACE}")["metadata"]["resourceVersion"])

    def message(self) -> str:
        """What the example's status says in a sentence."""
        return str(self.get("workloads.roadstead.dev", "whoami", "--namespace=default").get("status", {}).get("message", ""))

    def state(self) -> str:
        """State of the example."""
        return str(self.get("workloads.roadstead.dev", "whoami", "--namespace=default").get("status", {}).get("state", ""))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """An empty cluster that knows the operator's and the example's image."""
    if problems := preflight.missing():
        pytest.skip("this machine can't run containers: " + "; ".join(problems))
    with full_cluster() as cluster:
        operator = cluster.push_image(images.operator_image(), "roadstead/roadstead")
        whoami = cluster.push_image(images.whoami_image(), "roadstead/whoami")
        envoy = cluster.push_image(images.envoy_image(), "roadstead/envoy")
        yield World(cluster, operator, whoami, envoy, tmp_path_factory.mktemp("helm"))


def apply_example(world: World) -> None:
    artifact = yaml.safe_load((EXAMPLE / "artifact.yaml").read_text())
    artifact["spec"]["containerGroups"][0]["containers"][0]["imageUri"] = world.whoami
    workload = yaml.safe_load((EXAMPLE / "workload.yaml").read_text())
    front = {**raw_deployment("whoami", "whoami"), "metadata": {"name": "whoami"}}
    objects = yaml.safe_dump_all([front, artifact, workload])  # in this order, since a Deployment's importance is that of the pods too
    world.cluster.kubectl("apply", "--server-side", "--namespace=default", "-f", "-", input=objects)


def call_front(world: World, count: int) -> Counter[int]:
    """Call the example by the Deployment in front of it, so many times; returns the statuses of the answers."""
    url, token = world.endpoint("deployments", FRONT), asking.caller(world.local)
    with httpx.Client(headers={"Authorization": f"Bearer {token}"}, timeout=60) as client:
        return Counter(client.get(url).status_code for _ in range(count))


def with_newer_crds(folder: Path) -> Path:
    """A copy of the chart as if of a later version."""
    chart = folder / "roadstead"
    shutil.copytree(CHART, chart)
    for file in (chart / "crds").glob("*.yaml"):
        crd = yaml.safe_load(file.read_text())
        crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["description"] = "newer"
        file.write_text(yaml.safe_dump(crd))
    return chart


def test_install_upgrade_uninstall_and_install_again(world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    notes = world.deploy("install", "--create-namespace")
    assert "kubectl get workloads.roadstead.dev" in notes
    assert set(world.names("customresourcedefinitions.apiextensions.k8s.io")) >= CRDS
    assert world.names("platforms.roadstead.dev") == {"default"}
    for component in ("operator", "api", "gateway"):
        assert world.get("deployments.apps", f"roadstead-{component}", f"--namespace={NAMESPACE}")["status"]["readyReplicas"] == 2

    # Nobody here has the GPU for the other example, but the API server checks every field of it.
    accepted = world.cluster.kubectl(
        "apply", "--server-side", "--dry-run=server", "--validate=strict", "-k", str(ROOT / "examples" / "vllm-llama")
    )
    assert accepted.count("serverside-applied (server dry run)") == 3

    # Every operator pod goes in the middle of it; nothing else is done, and the example runs all the same.
    apply_example(world)
    world.cluster.kubectl("delete", "pods", f"--namespace={NAMESPACE}", "--selector=app.kubernetes.io/component=operator", "--wait=false")
    world.wait_running(2)
    before = world.pods()
    assert {"name": "Who am I", "status": "running"}.items() <= world.over_rest(capsys).items()
    answer = world.through_the_gateway()
    assert any(name in answer for name in world.pod_names()), answer

    # Each Envoy has the process beside it, and those of all pods by the name of the headless Service; so does the API, for statistics.
    gateways = world.get("pods", f"--namespace={NAMESPACE}", "--selector=app.kubernetes.io/component=gateway")["items"]
    processes = {("127.0.0.1", 0), *((pod["status"]["podIP"], 1) for pod in gateways)}
    for part in ("authoriser", "control"):
        wait_for(lambda part=part: world.helpers(gateways[0]["metadata"]["name"], part) == processes, f"all that are {part}")
    assert call_front(world, 5) == Counter({200: 5})
    wait_for(lambda: world.total_requests() == 5, "word of five requests")

    # An upgrade that changes nothing, and operators that start anew, write nothing.
    wait_for(lambda: "2 of 2 replicas ready" in world.message(), "both pods to be ready", 60)
    versions, certificates = world.rested_versions(), world.certificates()
    world.deploy("upgrade")
    world.cluster.kubectl("rollout", "restart", "deployment/roadstead-operator", f"--namespace={NAMESPACE}")
    world.cluster.kubectl("rollout", "status", "deployment/roadstead-operator", f"--namespace={NAMESPACE}", "--timeout=120s")
    wait_for(lambda: world.leader() in world.operator_pods(), "one of them to lead")
    assert world.rested_versions() == versions
    assert world.certificates() == certificates

    # The upgrade brings the CRDs first, by a Job whose rights end with it, and restarts nobody's pods.
    description = world.crd_description()
    older = [{"op": "replace", "path": "/spec/versions/0/schema/openAPIV3Schema/description", "value": "older"}]
    world.cluster.kubectl("patch", "crd", "workloads.roadstead.dev", "--type=json", f"--patch={json.dumps(older)}")
    world.deploy("upgrade", "--set=operator.logLevel=debug", "--set=platform.pods.runAsUser=20000")
    assert world.crd_description() == description
    assert world.names("jobs.batch", f"--namespace={NAMESPACE}") == set()
    assert "roadstead-crds" not in world.names("clusterroles.rbac.authorization.k8s.io")
    assert "roadstead-certs-hook" not in world.names("roles.rbac.authorization.k8s.io", f"--namespace={NAMESPACE}")
    assert world.get("platforms.roadstead.dev", "default")["spec"]["pods"]["runAsUser"] == 20000
    assert (world.state(), world.pods()) == ("running", before)

    # Without the operator everything it made stays, and so do the kinds.
    world.helm("uninstall", "roadstead", "--wait", "--timeout=120s")
    assert not {"roadstead-operator", "roadstead-api", "roadstead-gateway"} & world.names("deployments.apps", f"--namespace={NAMESPACE}")
    assert "roadstead-operator" not in world.names("clusterroles.rbac.authorization.k8s.io")
    assert set(world.names("customresourcedefinitions.apiextensions.k8s.io")) >= CRDS
    assert {"roadstead-critical", "roadstead-low"} <= world.names("priorityclasses.scheduling.k8s.io")
    assert world.pods() == before

    # Another version takes up what was left behind, its CRDs meet no conflict, and what was declared meanwhile is carried out.
    world.cluster.kubectl("scale", "workloads.roadstead.dev/whoami", "--namespace=default", "--replicas=3")
    world.deploy("install", chart=with_newer_crds(tmp_path))
    assert world.crd_description() == "newer"
    world.wait_running(3)
    assert before.items() <= world.pods().items()


def test_a_workload_sleeps_wakes_for_a_request_and_sleeps_again(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """As the demo shows it: KEDA in pods of its own, which speaks to the gateway by mutual TLS."""
    keda_pods.install(world.cluster)
    world.deploy(
        "upgrade" if "roadstead-operator" in world.names("deployments.apps", f"--namespace={NAMESPACE}") else "install",
        "--create-namespace",
        "--set=keda.enabled=true",
        *from_zero.HURRY,
    )
    if not world.pods():  # an earlier test of this module may have left it, scaled by hand
        apply_example(world)
    from_zero.declare(world.local, world.whoami)
    world.wait_running(world.declared())
    capsys.readouterr()

    from_zero.show(world.local, world.gateway)

    shown = capsys.readouterr().out
    header = next(line for line in shown.splitlines() if line.startswith(from_zero.HEADER))
    phases = dict(part.split("=") for part in header.partition(": ")[2].split(";"))
    assert {"ready", "total"} <= set(phases)
    assert sum(float(seconds) for phase, seconds in phases.items() if phase != "total") == pytest.approx(float(phases["total"]), abs=0.01)
    assert world.get("scaledobject", "whoami-on-demand", "--namespace=default")["spec"]["triggers"][0]["authenticationRef"] == {
        "name": "roadstead-scaler",
        "kind": "ClusterTriggerAuthentication",
    }


@pytest.mark.long
def test_no_request_fails_while_the_gateways_pods_roll(world: World) -> None:
    """Through the Service's address: Kubernetes' own proxy, the drain and the order of the containers in a pod have a part in it."""
    serve_example(world)

    def rolled_out() -> None:
        world.cluster.kubectl("rollout", "status", GATEWAY, f"--namespace={NAMESPACE}", "--timeout=180s")

    before, known = world.gateway_pods(), world.counted()
    with asked_again_and_again(world) as answers:
        wait_many_more(answers)
        world.cluster.kubectl("rollout", "restart", GATEWAY, f"--namespace={NAMESPACE}")
        rolled_out()
        world.cluster.kubectl("delete", "pod", sorted(world.gateway_pods() - before)[0], f"--namespace={NAMESPACE}")
        rolled_out()
        wait_many_more(answers)
    assert not before & world.gateway_pods()
    print(Counter(answers))
    assert set(answers) == {"200"}
    wait_for(lambda: world.total_requests() == known + len(answers), f"word of {known} and {len(answers)} requests")


@pytest.mark.long
def test_no_request_fails_while_a_gateways_process_is_killed(world: World) -> None:
    """By SIGKILL, so that what only it knew is lost: no more than it was told since its last word to the others."""
    serve_example(world)
    wait_for(lambda: len(world.gateway_pods()) == FEWEST, "pods that drain to be gone", 60)
    (pod, *_), known = sorted(world.gateway_pods()), world.counted()
    with asked_again_and_again(world) as answers:
        wait_many_more(answers)
        kill_process(pod)
        wait_for(lambda: gateway_restarts(world, pod) == 1, "the kubelet to start it again", 60)
        world.cluster.kubectl("wait", "--for=condition=Ready", f"pod/{pod}", f"--namespace={NAMESPACE}", "--timeout=60s")
        wait_many_more(answers)
    print(Counter(answers))
    assert set(answers) == {"200"}
    print(f"{known + len(answers)} requests, of which {world.counted()} are known")
    assert len(answers) / 2 < world.counted() - known <= len(answers)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_the_gateway_scales_by_its_cpu(world: World, tmp_path: Path) -> None:
    """Its HPA has figures of Envoy, a sidecar, and the pod that it adds carries its share. No upgrade changes the number of pods.

    Neither does the one that turns it on: Kubernetes takes a number that isn't declared any more for 1.
    """
    serve_example(world)
    former = tmp_path / "values.yaml"
    former.write_text(world.helm("get", "values", "roadstead", "--output=yaml"))
    small = (f"--values={former}", f"--set=gateway.replicas={FEWEST},gateway.envoy.resources.requests.cpu=20m")
    scaling = {"enabled": "true", "maxReplicas": MOST, "cpuUtilization": 50}
    scaled = (*small, *(f"--set=gateway.autoscaling.{name}={value}" for name, value in scaling.items()))
    world.deploy("upgrade", *small)
    wait_for(lambda: len(world.gateway_pods()) == FEWEST, "former pods of the gateway to be gone", 60)
    before, unscaled = world.gateway_pods(), gateway_generation(world)
    try:
        with asked_again_and_again(world) as answers:
            for _ in range(2):  # the HPA has no figures yet and changes nothing, so that it is only the chart that could
                world.deploy("upgrade", *scaled)
            assert gateway_generation(world) == unscaled
            with metrics_server(world.cluster):
                wait_for(lambda: (utilization(world) or 0) > 0, "figures of Envoy's CPU", 180)
                wait_for(lambda: ready_gateways(world) == MOST, "more pods of the gateway", 300)
                added = world.gateway_pods() - before

                def shared() -> bool:
                    """Who comes now makes a new connection, to any of the pods."""
                    with asked_again_and_again(world) as more:
                        wait_many_more(more)
                    answers.extend(more)
                    return carried(world, added) > 0

                wait_for(shared, "requests to the pods that were added", 120)
                generation = gateway_generation(world)
                world.deploy("upgrade", *scaled)
                wait_many_more(answers)
                assert (gateway_generation(world), ready_gateways(world)) == (generation, MOST)
                print(Counter(answers), utilization(world), carried(world, added))
        assert before <= world.gateway_pods()
        assert set(answers) == {"200"}
    finally:  # the number is the HPA's by now, and Helm takes nothing from anybody unless told to
        world.deploy("upgrade", f"--values={former}", "--force-conflicts")


def kill_process(pod: str) -> None:
    """SIGKILL to the process beside Envoy, which alone has been told the pod's name."""
    told = f"ROADSTEAD_IDENTITY={pod}".encode()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has just ended
            if told in (process / "environ").read_bytes().split(b"\0"):
                found.append(int(process.name))
    (pid,) = found
    os.kill(pid, signal.SIGKILL)


def gateway_restarts(world: World, pod: str) -> int:
    """How often the process beside Envoy was started again."""
    statuses = world.get("pod", pod, f"--namespace={NAMESPACE}")["status"]["containerStatuses"]
    return int(next(each["restartCount"] for each in statuses if each["name"] == "gateway"))


def utilization(world: World) -> int | None:
    """Percent of Envoy's request, as the HPA has been told; None while it says that it can't scale on that."""
    status = world.get("hpa", "roadstead-gateway", f"--namespace={NAMESPACE}").get("status", {})
    active = any((each["type"], each["status"]) == ("ScalingActive", "True") for each in status.get("conditions") or ())
    told = [metric["containerResource"] for metric in status.get("currentMetrics") or () if metric["type"] == "ContainerResource"]
    return told[0]["current"].get("averageUtilization") if active and told else None


def ready_gateways(world: World) -> int:
    return int(world.get(GATEWAY, f"--namespace={NAMESPACE}").get("status", {}).get("readyReplicas", 0))


def gateway_generation(world: World) -> int:
    """Moved by every change of the Deployment's spec, be it of its replicas."""
    return int(world.get(GATEWAY, f"--namespace={NAMESPACE}")["metadata"]["generation"])


def carried(world: World, pods: set[str]) -> int:
    """Requests that these pods of the gateway have counted, each its own."""
    found = [world.get("pod", name, f"--namespace={NAMESPACE}") for name in sorted(pods)]
    texts = [httpx.get(f"http://{pod['status']['podIP']}:8080/metrics/endpoints", timeout=30).text for pod in found]
    lines = [line for text in texts for line in text.splitlines() if line.startswith(f"{series.REQUESTS}{{")]
    return sum(int(line.rpartition(" ")[2]) for line in lines)


def serve_example(world: World) -> None:
    """Install what earlier tests of this module haven't, and return when the example is answered through the gateway."""
    if "roadstead-gateway" not in world.names("deployments.apps", f"--namespace={NAMESPACE}"):
        world.deploy("install", "--create-namespace")
    if not world.pods():
        apply_example(world)
    world.wait_running(world.declared())
    answer = world.through_the_gateway()
    assert any(name in answer for name in world.pod_names()), answer


def wait_many_more(answers: list[str]) -> None:
    """Return after so many answers more that each client has had some."""
    known = len(answers)
    wait_for(lambda: len(answers) > known + 200, "two hundred answers more", 60)


@contextmanager
def asked_again_and_again(world: World) -> Iterator[list[str]]:
    """Eight clients call the Deployment for the length of the block; the list has the status of each answer, or what came instead."""
    url, headers = world.endpoint("deployments", FRONT), {"Authorization": f"Bearer {asking.caller(world.local)}"}
    over, answers = threading.Event(), list[str]()

    def ask() -> None:
        with httpx.Client(headers=headers, timeout=60) as client:
            while not over.wait(0.02):
                try:
                    answers.append(str(client.get(url).status_code))
                except httpx.HTTPError as error:
                    answers.append(repr(error))

    with ThreadPoolExecutor(8) as pool:
        clients = [pool.submit(ask) for _ in range(8)]
        try:
            yield answers
        finally:
            over.set()
        for each in clients:
            each.result()
