"""A scenario carried out by an operator that is killed at one of its API writes and started again, and the world in which that ends."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from hack.cluster.control import ControlCluster
from roadstead.controller.artifacts import PAUSE_SECONDS
from tests.clusters import NAMESPACE, apply, audit_position, get, running_operator, wait_for, writes
from tests.support.proxy import Proxy, Trap, When
from tests.world import here, pod_uids, status

Body = dict[str, Any]
CHILDREN = ",".join(
    (
        "deployments.apps",
        "services",
        "horizontalpodautoscalers",
        "scaledobjects.keda.sh",
        "poddisruptionbudgets",
        "networkpolicies",
        "artifacts.roadstead.dev",
    )
)


@dataclass(frozen=True)
class Scenario:
    """A change: what there is before, the change itself, and when it has been carried out.

    ``moments`` are those that `make test` tries, as (number of the write, before or after it); a scenario that has none is left to
    `make test-long`.
    """

    name: str
    before: tuple[Body, ...]
    change: Callable[[ControlCluster, str], None]
    done: Callable[[Body], bool]
    moments: tuple[tuple[int, When], ...]


@dataclass(frozen=True)
class Run:
    """How a scenario ended: the world, the audit log's length by then, and what the operator wrote; ``killed``: and it was killed."""

    namespace: str
    world: str
    position: int
    killed: bool
    writes: list[tuple[str, str, str, int]]


@dataclass
class Victim:
    """The operator behind the proxy, killed and started again."""

    cluster: ControlCluster
    proxy: Proxy
    process: subprocess.Popen[bytes] | None = None
    stack: ExitStack = field(default_factory=ExitStack)

    def start(self) -> None:
        self.proxy.trap = None
        # What a killed leader leaves behind would be waited for; that is the election's test and not this one's.
        self.cluster.kubectl("delete", "lease", "roadstead-operator", "-n", NAMESPACE, "--ignore-not-found")
        self.process = self.stack.enter_context(running_operator(self.cluster, self.proxy.kubeconfig()))

    def arm(self, namespace: str, count: int, when: When) -> Trap:
        assert self.process is not None
        trap = self.proxy.trap = Trap(namespace, count, when, self.process.kill)
        return trap


def carried_out(victim: Victim, scenario: Scenario, moment: tuple[int, When] | None) -> Run:
    """Carry a scenario out in a namespace of its own, to its end and until the operator rests; killed at a moment, or not."""
    cluster = victim.cluster
    namespace = f"crash{uuid.uuid4().hex[:8]}"
    cluster.kubectl("create", "namespace", namespace)
    if scenario.before:
        apply(cluster, *(here(namespace, body) for body in scenario.before))
    if any(body["kind"] == "Workload" for body in scenario.before):
        wait_for(lambda: settled_status(cluster, namespace), "the state before", 60)
    rest(cluster, namespace)
    began = audit_position(cluster)
    trap = victim.arm(namespace, *moment) if moment is not None else None
    scenario.change(cluster, namespace)
    if trap is not None:
        wait_for(lambda: trap.sprung.is_set() or finished(cluster, namespace, scenario), "the kill", 60)
        trap.sprung.wait(1.5)  # status and Events come last
        if trap.sprung.is_set():
            assert victim.process is not None
            assert victim.process.wait() == -signal.SIGKILL
            victim.start()
    wait_for(lambda: finished(cluster, namespace, scenario), scenario.name, 60)
    rest(cluster, namespace)
    position = audit_position(cluster)
    killed = trap is not None and trap.sprung.is_set()
    return Run(namespace, snapshot(cluster, namespace), position, killed, writes(cluster, began, namespace))


def finished(cluster: ControlCluster, namespace: str, scenario: Scenario) -> bool:
    found = get(cluster, "workloads.roadstead.dev", "chat", namespace)
    seen = (found or {}).get("status") or {}
    return found is not None and seen.get("observedGeneration") == found["metadata"]["generation"] and scenario.done(seen)


def settled_status(cluster: ControlCluster, namespace: str) -> bool:
    seen = status(cluster, namespace)
    return seen.get("state") in ("running", "stopped") and not any(entry["type"] == "Reconciling" for entry in seen["conditions"])


def rest(cluster: ControlCluster, namespace: str) -> None:
    """Wait until the operator has written nothing in the namespace for longer than an Artifact's status may have to wait."""
    while True:
        before = audit_position(cluster)
        time.sleep(PAUSE_SECONDS + 0.5)
        if not writes(cluster, before, namespace):
            return


def snapshot(cluster: ControlCluster, namespace: str) -> str:
    """Children, pods and status as text, without what differs between two runs of the same: identities and times."""
    children = json.loads(cluster.kubectl("get", CHILDREN, "-n", namespace, "-l", "roadstead.dev/workload", "-o", "json"))["items"]
    kept = [{"kind": each["kind"], "name": each["metadata"]["name"], "spec": each.get("spec")} for each in children]
    for each in kept:
        for field_name in ("clusterIP", "clusterIPs"):
            each["spec"].pop(field_name, None)
    seen = status(cluster, namespace)
    identity = seen["id"]  # of name and namespace; KEDA's triggers have it too
    for name in ("id", "applied", "replicasDetail", "selector"):
        seen.pop(name, None)
    seen["conditions"] = [each for each in seen["conditions"] if each["type"] != "AutoscalerReady"]  # a matter of time, without metrics
    (seen.get("artifact") or {}).pop("id", None)
    (seen.get("scaler") or {}).pop("why", None)  # nobody knows why the count was changed while nobody looked, and the status says so
    pods = len(pod_uids(cluster, namespace).split())
    ever = "ScalingReplicaSet" in cluster.kubectl("get", "events", "-n", namespace, "-o", "json")  # also a pod that didn't stay
    text = json.dumps({"children": kept, "pods": pods, "pods ever": ever, "status": seen}, indent=1, sort_keys=True)
    return re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME", text.replace(namespace, "NAMESPACE").replace(identity, "IDENTITY"))
