"""Scaling with real pods: an HPA fed by metrics-server, KEDA, and the count of pods through every change of who owns it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from hack.cluster import images, preflight
from hack.cluster.full import FullCluster, full_cluster
from hack.cluster.keda import keda
from hack.cluster.metrics_server import metrics_server
from tests.build import cpu_autoscaling, http_autoscaling, raw_artifact, raw_workload
from tests.clusters import apply, declare_platform, get, install_crds, install_rbac, operator_access, running_operator, wait_for
from tests.support.sampler import sampling
from tests.support.scaler import Scaler, external_scaler
from tests.world import condition, here, new_namespace, status, told

pytestmark = pytest.mark.timeout(300)
BURN = ["/usr/bin/python3", "-c", "while True: pass"]
Body = dict[str, Any]


@dataclass(frozen=True)
class World:
    """A cluster with real pods, metrics-server, KEDA and the operator; two references to the same image."""

    cluster: FullCluster
    scaler: Scaler
    image: str
    other_image: str

    def ready_pods(self, namespace: str) -> int:
        return int(status(self.cluster, namespace).get("readyReplicas", 0))


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    if problems := preflight.missing():
        pytest.skip("this machine can't run containers: " + "; ".join(problems))
    with full_cluster() as cluster, external_scaler() as scaler:
        image = images.whoami_image()
        references = [cluster.push_image(image, f"roadstead/{name}") for name in ("whoami", "whoami-next")]
        install_crds(cluster)
        install_rbac(cluster)
        declare_platform(cluster, gateway={"scalerAddress": scaler.address})
        with metrics_server(cluster), keda(cluster), running_operator(cluster, operator_access(cluster)):
            yield World(cluster, scaler, *references)


@pytest.fixture
def namespace(world: World) -> Iterator[str]:
    with new_namespace(world.cluster) as name:
        yield name


def container(image: str, cpu: float = 0.05, **more: Any) -> Body:
    """A container that is ready as soon as it runs, or as soon as it answers."""
    return {"imageUri": image, "resourceRequest": {"cpu": cpu, "memory": "64Mi"}, **more}


def answering(image: str) -> Body:
    probe = {"path": "/readyz", "initialDelaySeconds": 0, "periodSeconds": 1, "timeoutSeconds": 2}
    return container(image, readinessProbe=probe)


def test_pods_that_burn_cpu_get_company(world: World, namespace: str) -> None:
    """The pod burns all that it may of its 0.2 cores, twice the target: the HPA asks for a second one. A sidecar at rest is no excuse."""
    primary = container(world.image, 0.2, name="server", primary=True, port=8080, entrypoint=BURN)
    sidecar = container(world.image, 0.1, name="idle", entrypoint=["/usr/bin/python3", "-c", "import signal; signal.pause()"])
    apply(
        world.cluster,
        here(namespace, raw_artifact(containers=[primary, sidecar])),
        here(namespace, raw_workload(runtime=cpu_autoscaling(target=50, low=1, high=2))),
    )
    wait_for(lambda: world.ready_pods(namespace) == 1, "one ready pod", 60)
    began = time.monotonic()
    wait_for(lambda: world.ready_pods(namespace) == 2, "a second ready pod", 120, 0.5)
    print(f"second pod ready {time.monotonic() - began:.0f} s after the first")
    scaler = status(world.cluster, namespace)["scaler"]
    assert (scaler["kind"], scaler["replicas"], scaler["metric"], scaler["target"]) == (
        "HorizontalPodAutoscaler",
        2,
        "cpuAverageUtilization",
        "50%",
    )
    assert float(scaler["value"].rstrip("%")) > 50
    print(scaler["why"])
    made = get(world.cluster, "hpa", "chat", namespace) or {}
    assert scaler["when"] == made["status"]["lastScaleTime"]
    assert made["spec"]["metrics"][0]["type"] == "ContainerResource"
    wait_for(lambda: condition(status(world.cluster, namespace), "AutoscalerReady").get("status") == "True", "the scaler's word", 30)
    assert told(world.cluster, namespace) == [("Normal", "Running")], "a normal start and a step don't read like failures"


@pytest.mark.long
def test_no_switch_blips(world: World, namespace: str) -> None:
    """fixed → HPA → ScaledObject → fixed → stop → start → another image, with two replicas asked for by each: never one less."""
    fixed, http = {"replicaCount": 2}, http_autoscaling("httpRequestsInFlight", low=2)
    apply(world.cluster, here(namespace, raw_artifact(containers=[answering(world.image)])))
    apply(world.cluster, here(namespace, raw_workload(runtime=fixed)))
    wait_for(lambda: world.ready_pods(namespace) == 2, "two ready pods", 60)
    with sampling(world.cluster, namespace) as sampler:

        def switch(phase: str, runtime: Body, scalers: tuple[str, ...], **more: Any) -> None:
            sampler.phase = phase
            apply(world.cluster, here(namespace, raw_workload(runtime=runtime, **more)))
            wait_for(lambda: sampler.samples and sampler.samples[-1].scalers == scalers, f"{phase}: {scalers}")
            time.sleep(6)  # more than one look of the HPA controller

        switch("fixed to HPA", cpu_autoscaling(low=2, high=4), ("HPA chat",))
        switch("HPA to ScaledObject", http, ("HPA keda-hpa-chat", "SO chat"))
        switch("ScaledObject to fixed", fixed, ())
        switch("stop", fixed, (), suspend=True)
        wait_for(lambda: status(world.cluster, namespace)["state"] == "stopped", "the stop", 60)
        switch("start", fixed, (), suspend=False)
        wait_for(lambda: world.ready_pods(namespace) == 2, "two ready pods again", 60)
        switch("steady", http, ("HPA keda-hpa-chat", "SO chat"))
        sampler.phase = "another image"
        apply(world.cluster, here(namespace, raw_artifact(containers=[answering(world.other_image)])))
        wait_for(lambda: images_of(world, namespace) == {world.other_image}, "the rollout", 60)
    for phase in {sample.phase for sample in sampler.samples} - {"", "stop", "start"}:
        chosen = [sample for sample in sampler.samples if sample.phase == phase]
        assert {sample.wanted for sample in chosen} == {2}, f"{phase}\n{sampler.story()}"
        assert min(sample.ready for sample in chosen) == 2, f"{phase}\n{sampler.story()}"
    for sample in sampler.samples:
        assert sum(scaler.startswith("HPA") for scaler in sample.scalers) <= 1, sampler.story()
        assert not {"HPA chat", "SO chat"} <= set(sample.scalers), sampler.story()
    assert sampler.most("stop", "start") == 2
    gaps = [later.at - earlier.at for earlier, later in zip(sampler.samples, sampler.samples[1:], strict=False)]
    print(f"{len(sampler.samples)} looks, {sorted(gaps)[len(gaps) // 2] * 1000:.0f} ms apart, at most {max(gaps) * 1000:.0f} ms")


def images_of(world: World, namespace: str) -> set[str]:
    """Images of all pods, the terminating ones included."""
    text = world.cluster.kubectl("get", "pods", "-n", namespace, "-o", "jsonpath={.items[*].spec.containers[0].image}")
    return set(text.split())
