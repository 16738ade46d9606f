"""The Helm chart on a cluster with real pods: install, upgrade, uninstall, and what each must leave alone."""

from __future__ import annotations

import json
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml

from hack.cluster import asking, demo, from_zero, keda_pods
from tests.clusters import wait_for
from tests.support.release import CHART, FRONT, NAMESPACE, ROOT, Body, World, apply_example, chart_world

CRDS = {f"{plural}.roadstead.dev" for plural in ("artifacts", "workloads", "deployments", "platforms")}
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A cluster of this module's own, since other tests rely on a release that stays."""
    with chart_world(tmp_path_factory.mktemp("helm")) as made:
        yield made


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
    wait_for(lambda: over_rest(world, capsys)["status"] == "running", "the API to hear of it too")
    assert over_rest(world, capsys)["name"] == "Who am I"
    answer = world.through_the_gateway()
    assert any(name in answer for name in world.pod_names()), answer

    # Each Envoy has the process beside it, and those of all pods by the name of the headless Service; so does the API, for statistics.
    gateways = world.get("pods", f"--namespace={NAMESPACE}", "--selector=app.kubernetes.io/component=gateway")["items"]
    processes = {("127.0.0.1", 0), *((pod["status"]["podIP"], 1) for pod in gateways)}
    for part in ("authoriser", "control"):
        wait_for(lambda part=part: helpers(world, gateways[0]["metadata"]["name"], part) == processes, f"all that are {part}")
    assert call_front(world, 5) == Counter({200: 5})
    wait_for(lambda: world.total_requests() == 5, "word of five requests")

    # An upgrade that changes nothing, and operators that start anew, write nothing.
    wait_for(lambda: "2 of 2 replicas ready" in message(world), "both pods to be ready", 60)
    versions, certificates = rested_versions(world), certificates_version(world)
    world.deploy("upgrade")
    world.cluster.kubectl("rollout", "restart", "deployment/roadstead-operator", f"--namespace={NAMESPACE}")
    world.cluster.kubectl("rollout", "status", "deployment/roadstead-operator", f"--namespace={NAMESPACE}", "--timeout=120s")
    wait_for(lambda: leader(world) in operator_pods(world), "one of them to lead")
    assert rested_versions(world) == versions
    assert certificates_version(world) == certificates

    # The upgrade brings the CRDs first, by a Job whose rights end with it, and restarts nobody's pods.
    description = crd_description(world)
    older = [{"op": "replace", "path": "/spec/versions/0/schema/openAPIV3Schema/description", "value": "older"}]
    world.cluster.kubectl("patch", "crd", "workloads.roadstead.dev", "--type=json", f"--patch={json.dumps(older)}")
    world.deploy("upgrade", "--set=operator.logLevel=debug", "--set=platform.pods.runAsUser=20000")
    assert crd_description(world) == description
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
    assert crd_description(world) == "newer"
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


def crd_description(world: World) -> str:
    """What the Workload CRD says of itself."""
    crd = world.get("customresourcedefinitions.apiextensions.k8s.io", "workloads.roadstead.dev")
    return str(crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["description"])


def object_versions(world: World) -> dict[str, str]:
    """The resourceVersions of the example's objects; every write moves one."""
    kinds = "workloads.roadstead.dev,artifacts.roadstead.dev,deployments.apps,services"
    found = world.get(kinds, "--namespace=default")["items"]
    return {f"{body['kind']}/{body['metadata']['name']}": body["metadata"]["resourceVersion"] for body in found}


def rested_versions(world: World) -> dict[str, str]:
    """The same when nothing has been written for five seconds."""
    versions = object_versions(world)
    for _ in range(12):
        time.sleep(5)
        before, versions = versions, object_versions(world)
        if before == versions:
            return versions
    raise AssertionError(f"something is always written: {versions}")


def leader(world: World) -> str:
    """The pod that holds the Lease; empty if none does."""
    lease = world.get("leases", "roadstead-operator", f"--namespace={NAMESPACE}")
    return str(lease["spec"].get("holderIdentity") or "").rpartition("_")[0]


def operator_pods(world: World) -> set[str]:
    """Names of the operator's pods that aren't going."""
    found = world.get("pods", f"--namespace={NAMESPACE}", "--selector=app.kubernetes.io/component=operator")["items"]
    return {pod["metadata"]["name"] for pod in found if "deletionTimestamp" not in pod["metadata"]}


def over_rest(world: World, capsys: pytest.CaptureFixture[str]) -> Body:
    """The example as the demo's call through the API's Service shows it."""
    capsys.readouterr()
    demo.show_over_rest(world.local, f"http://{asking.address(world.local, 'roadstead-api', NAMESPACE)}")
    command, _, answer = capsys.readouterr().out.partition("\n")
    assert command.startswith("$ curl ")
    found: Body = json.loads(answer)
    return found


def helpers(world: World, pod: str, cluster: str) -> set[tuple[str, int]]:
    """Whom the Envoy of a gateway's pod can turn to for that: addresses of the healthy ones, and their priority."""
    script = "import sys, urllib.request as u; print(u.urlopen(sys.argv[1]).read().decode())"
    ask = ("python3", "-c", script, "http://127.0.0.1:9901/clusters?format=json")
    told = json.loads(world.cluster.kubectl("exec", pod, f"--namespace={NAMESPACE}", "--container=gateway", "--", *ask))
    (found,) = (each for each in told["cluster_statuses"] if each["name"] == cluster)
    healthy = [host for host in found["host_statuses"] if host["health_status"] == {"eds_health_status": "HEALTHY"}]
    return {(host["address"]["socket_address"]["address"], host.get("priority", 0)) for host in healthy}


def certificates_version(world: World) -> str:
    """The resourceVersion of the Secret with the gateway's certificates."""
    return str(world.get("secret", "roadstead-gateway-tls", f"--namespace={NAMESPACE}")["metadata"]["resourceVersion"])


def message(world: World) -> str:
    """What the example's status says in a sentence."""
    return str(world.get("workloads.roadstead.dev", "whoami", "--namespace=default").get("status", {}).get("message", ""))


def call_front(world: World, count: int) -> Counter[int]:
    """Call the example by the Deployment in front of it, so many times; returns the statuses of the answers."""
    url, token = world.endpoint("deployments", FRONT), asking.caller(world.local)
    with httpx.Client(headers={"Authorization": f"Bearer {token}"}, timeout=60) as client:
        return Counter(client.get(url).status_code for _ in range(count))
