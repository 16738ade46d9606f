"""The gateway as the Helm chart runs it: its pods roll, one of its processes is killed, its autoscaler adds a pod; no request fails."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from hack.cluster import asking
from hack.cluster.metrics_server import metrics_server
from roadstead import series
from tests.clusters import wait_for
from tests.support.release import FRONT, NAMESPACE, World, chart_world, serve_example

GATEWAY = "deployment/roadstead-gateway"
FEWEST, MOST = 2, 3
"""Pods of the gateway that its autoscaler may choose from."""
pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A cluster of this module's own, since other tests rely on a release that stays."""
    with chart_world(tmp_path_factory.mktemp("helm")) as made:
        yield made


def test_no_request_fails_while_the_gateways_pods_roll(world: World) -> None:
    """Through the Service's address: Kubernetes' own proxy, the drain and the order of the containers in a pod have a part in it."""
    serve_example(world)

    def rolled_out() -> None:
        world.cluster.kubectl("rollout", "status", GATEWAY, f"--namespace={NAMESPACE}", "--timeout=180s")

    before, known = world.gateway_pods(), counted(world)
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
    assert counted(world) == known + len(answers)


def test_no_request_fails_while_a_gateways_process_is_killed(world: World) -> None:
    """By SIGKILL, so that what only it knew is lost: no more than it was told since its last word to the others."""
    serve_example(world)
    wait_for(lambda: len(world.gateway_pods()) == FEWEST, "pods that drain to be gone", 60)
    (pod, *_), known = sorted(world.gateway_pods()), counted(world)
    with asked_again_and_again(world) as answers:
        wait_many_more(answers)
        kill_process(pod)
        wait_for(lambda: gateway_restarts(world, pod) == 1, "the kubelet to start it again", 60)
        world.cluster.kubectl("wait", "--for=condition=Ready", f"pod/{pod}", f"--namespace={NAMESPACE}", "--timeout=60s")
        wait_many_more(answers)
    print(Counter(answers))
    assert set(answers) == {"200"}
    print(f"{known + len(answers)} requests, of which {counted(world)} are known")
    assert len(answers) / 2 < counted(world) - known <= len(answers)


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


def counted(world: World) -> int:
    """How many requests to the Deployment the API tells of, as soon as that is known and nothing is added any more."""
    counts = [world.total_requests()]

    def rested() -> bool:
        time.sleep(2)  # Envoys tell of requests every second, and the processes each other twice as often
        counts.append(world.total_requests())
        return counts[-1] is not None and counts[-1] == counts[-2]

    wait_for(rested, "a count that rests")
    assert counts[-1] is not None
    return counts[-1]
