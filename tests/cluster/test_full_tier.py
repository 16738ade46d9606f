"""The full tier leaves nothing behind: after ``down``, and after a kill -9 of ``up`` at any moment followed by ``down``."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from hack.cluster import images, preflight
from hack.cluster.console import ClusterError
from hack.cluster.full import FullCluster, down, full_cluster, start_cluster, sweep, up
from hack.cluster.processes import wait_until
from hack.cluster.slot import COUNT, MASKED, Slot, claim

pytestmark = [pytest.mark.usefixtures("container_machine"), pytest.mark.timeout(600)]
REPOSITORY_ROOT = Path(__file__).parents[2]
KILLS = 20 if os.environ.get("ROADSTEAD_LONG") else 3
UP_SECONDS = 6.0
START = """
import sys
from hack.cluster.full import up
from hack.cluster.slot import Slot
up(Slot(int(sys.argv[1])))
"""
HOLD = """
import sys, time
from hack.cluster.full import full_cluster
from hack.cluster.slot import Slot
with full_cluster(Slot(int(sys.argv[1]))):
    print("ready", flush=True)
    time.sleep(120)
"""


def traces(slot: Slot) -> list[str]:
    """Everything of the slot that can be seen on this machine: processes, mounts, links, routes, cgroups, files."""
    found = [f"cgroup {folder}" for folder in slot.cgroup_folders() if folder.exists()]
    found += [f"state {slot.state}"] if slot.state.exists() else []
    found += [f"mount {line}" for line in Path("/proc/self/mountinfo").read_text().splitlines() if f"{slot.state}" in line]
    links = json.loads(subprocess.run(["ip", "-json", "link"], capture_output=True, check=True).stdout)
    found += [f"link {link['ifname']}" for link in links if link["ifname"] == slot.host_link]
    routes = json.loads(subprocess.run(["ip", "-json", "route"], capture_output=True, check=True).stdout)
    ours = {slot.pods, slot.node_network, slot.services}
    found += [f"route {route['dst']}" for route in routes if route["dst"] in ours]
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
            groups = (process / "cgroup").read_text()
        except OSError:
            continue
        inside = f"/{slot.cgroup}/" in groups or groups.rstrip().endswith(f"/{slot.cgroup}")
        if inside or any(f"{slot.state}/" in word for word in words):
            found.append(f"process {process.name} {' '.join(words)}")
    return found


@pytest.fixture
def slot() -> Iterator[Slot]:
    """The last one: who looks for a free one takes the lowest, and would keep this test waiting for the length of its own."""
    last = Slot(COUNT - 1)
    down(last)
    yield last
    down(last)


@pytest.fixture(scope="module")
def cluster() -> Iterator[FullCluster]:
    with full_cluster() as running:
        yield running


def test_pods_services_and_dns_are_real(cluster: FullCluster) -> None:
    image = cluster.push_image(images.whoami_image(), "whoami")
    cluster.kubectl("create", "deployment", "whoami", f"--image={image}", "--replicas=2")
    cluster.kubectl("expose", "deployment", "whoami", "--port=80", "--target-port=8080")
    cluster.kubectl("rollout", "status", "deployment/whoami", "--timeout=60s")
    address = cluster.kubectl("get", "service", "whoami", "-o", "jsonpath={.spec.clusterIP}")
    pods = set(cluster.kubectl("get", "pods", "-l", "app=whoami", "-o", "jsonpath={.items[*].metadata.name}").split())
    answered: set[str] = set()

    def everyone_answered() -> bool:
        try:
            with urllib.request.urlopen(f"http://{address}/", timeout=2) as answer:
                answered.add(json.load(answer)["hostname"])
        except OSError:
            return False
        return answered == pods

    wait_until(everyone_answered, "an answer of both pods through the Service", 30)
    script = "import urllib.request; print(urllib.request.urlopen('http://whoami.default.svc/inside').status)"
    assert cluster.kubectl("exec", "deployment/whoami", "--", "python3", "-c", script).strip() == "200"


def test_the_node_has_gpus_also_after_a_kubelet_restart(cluster: FullCluster) -> None:
    def gpus() -> str:
        return cluster.kubectl("get", "nodes", "-o", r"jsonpath={.items[0].status.allocatable.nvidia\.com/gpu}")

    assert gpus() == "8"
    cluster.stop_component("kubelet")
    cluster.start_component("kubelet")
    time.sleep(5)  # the restarted kubelet takes them back before they are offered again
    wait_until(lambda: gpus() == "8", "the GPUs to come back", 40)
    labels = json.loads(cluster.kubectl("get", "nodes", "-o", "json"))["items"][0]["metadata"]["labels"]
    assert labels["nvidia.com/gpu.product"] == "NVIDIA-A100-SXM4-80GB"


def test_an_ended_component_is_started_again(cluster: FullCluster) -> None:
    cluster.restart_apiserver()
    assert cluster.kubectl("get", "namespaces", "-o", "name")


def test_up_twice_is_harmless_and_down_leaves_nothing(slot: Slot) -> None:
    up(slot)
    first = slot.supervisor
    up(slot)
    assert slot.supervisor == first
    assert {line.split()[0] for line in traces(slot)} >= {"cgroup", "state", "link", "route", "process"}
    down(slot)
    assert traces(slot) == []
    down(slot)


@pytest.mark.long
def test_up_replaces_a_cluster_whose_supervisor_died(slot: Slot) -> None:
    up(slot)
    supervisor = slot.supervisor
    assert supervisor is not None
    supervisor.end(grace_seconds=0)
    up(slot)
    assert slot.supervisor != supervisor
    assert FullCluster.of(slot).ready()


@pytest.mark.parametrize("attempt", range(KILLS))
def test_kill_of_up_then_down_leaves_nothing(slot: Slot, attempt: int) -> None:
    moment = random.Random(f"{attempt} of {KILLS}").uniform(0.0, UP_SECONDS)
    starter = subprocess.Popen([sys.executable, "-c", START, str(slot.number)], cwd=REPOSITORY_ROOT, stderr=subprocess.DEVNULL)
    time.sleep(moment)
    starter.kill()
    starter.wait()
    down(slot)
    assert traces(slot) == [], f"killed after {moment:.2f} s"


@pytest.mark.long
def test_kill_of_up_then_up_starts_afresh(slot: Slot) -> None:
    starter = subprocess.Popen([sys.executable, "-c", START, str(slot.number)], cwd=REPOSITORY_ROOT, stderr=subprocess.DEVNULL)
    time.sleep(2)
    starter.kill()
    starter.wait()
    assert up(slot).ready()


def test_a_killed_caller_takes_its_cluster_along_and_the_sweep_takes_the_rest(slot: Slot) -> None:
    caller = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(slot.number)], cwd=REPOSITORY_ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    with caller:
        assert caller.stdout is not None
        caller.stdout.readline()
        supervisor = slot.supervisor
        assert supervisor is not None
        caller.kill()
    wait_until(lambda: not supervisor.alive, "the supervisor to die with its caller", 10)
    sweep()
    assert traces(slot) == []


def test_a_start_that_fails_says_why_and_leaves_nothing(slot: Slot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "missing", lambda: ["overlayfs can't be mounted"])
    with claim(slot) as lock, pytest.raises(ClusterError, match="overlayfs"):
        start_cluster(slot, lock, dies_with_caller=True)
    assert traces(slot) == []
    assert all(not folder.is_mount() for folder in MASKED[1:])
