"""SIGKILL right before and right after each of the operator's API writes; what the next process makes of it.

The oracle is a run without a kill: children, replica count and status must come out the same, apart from times and identities, and once
they have, nobody writes any more: not the process that finished the work, nor any that is started later.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from hack.cluster import keda
from hack.cluster.control import ControlCluster, control_cluster
from roadstead.controller.artifacts import PAUSE_SECONDS
from tests.build import cpu_autoscaling, http_autoscaling, raw_artifact, raw_container, raw_workload
from tests.clusters import (
    NAMESPACE,
    add_fake_nodes,
    apply,
    audit_position,
    get,
    install_crds,
    install_rbac,
    operator_access,
    running_operator,
    wait_admission,
    wait_for,
    writes,
)
from tests.conftest import LONG
from tests.support.played_keda import played_keda
from tests.support.proxy import Proxy, Trap, proxied
from tests.world import condition, here, patch, pod_uids, status

pytestmark = pytest.mark.timeout(3600 if LONG else 300)
Body = dict[str, Any]
When = Literal["before", "after"]
SILENT_SECONDS = 5.0
MOST_WRITES = 30
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
TOLD = ("workloads/status", "artifacts/status", "events")
"""Of these writes there may be more or fewer: one serves as many changes as there were since the last."""


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


@pytest.fixture(scope="module")
def cluster() -> Iterator[ControlCluster]:
    """A cluster of this module's own, since in all others there are no ScaledObjects."""
    with control_cluster(kwok=True) as running:
        install_crds(running)
        keda.install_crds(running)
        install_rbac(running)
        add_fake_nodes(running, 2)
        wait_admission(running)
        with played_keda(running):
            yield running


@pytest.fixture(scope="module")
def victim(cluster: ControlCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victim]:
    with proxied(cluster, operator_access(cluster), tmp_path_factory.mktemp("proxy")) as proxy:
        victim = Victim(cluster, proxy)
        with victim.stack:
            victim.start()
            yield victim


def other_image() -> Body:
    return raw_artifact("other", [raw_container(imageUri="registry.test/other@sha256:" + "1" * 64)], status="registered")


def ready(count: int) -> Callable[[Body], bool]:
    return lambda seen: seen.get("state") == "running" and seen.get("readyReplicas") == count


def ready_without_metrics(count: int) -> Callable[[Body], bool]:
    """And it is told that the HPA gets no metrics, of which this cluster has none: the HPA says so when it first looks."""
    return lambda seen: ready(count)(seen) and condition(seen, "AutoscalerReady").get("status") == "False"


def state(name: str) -> Callable[[Body], bool]:
    return lambda seen: seen.get("state") == name


def scaled_by(kind: str, count: int) -> Callable[[Body], bool]:
    return lambda seen: ready(count)(seen) and (seen.get("scaler") or {}).get("kind") == kind


def creating(**spec: Any) -> Callable[[ControlCluster, str], None]:
    return lambda cluster, namespace: apply(cluster, here(namespace, raw_workload(**spec)))


def changing(**spec: Any) -> Callable[[ControlCluster, str], None]:
    return lambda cluster, namespace: patch(cluster, "workloads.roadstead.dev", "chat", namespace, **spec)


MODEL = raw_artifact(status="registered")
ON_HTTP = http_autoscaling("httpRequestsInFlight", low=2)
INLINE = {"containerGroups": [{"containers": [raw_container()]}]}
SCENARIOS = [
    Scenario(
        "creation with an HPA", (MODEL,), creating(runtime=cpu_autoscaling(low=2)), ready_without_metrics(2), ((1, "after"), (4, "before"))
    ),
    Scenario("creation with a count", (MODEL,), creating(runtime={"replicaCount": 3}), ready(3), ()),
    Scenario("creation with an inline artifact", (), creating(inline=INLINE), ready(1), ()),
    Scenario("creation at zero", (MODEL,), creating(suspend=True), state("stopped"), ((1, "after"),)),
    Scenario("scaling", (MODEL, raw_workload(runtime={"replicaCount": 1})), changing(runtime={"replicaCount": 3}), ready(3), ()),
    Scenario(
        "count to HPA",
        (MODEL, raw_workload(runtime={"replicaCount": 2})),
        creating(runtime=cpu_autoscaling(low=2)),
        lambda seen: ready_without_metrics(2)(seen) and (seen.get("scaler") or {}).get("kind") == "HorizontalPodAutoscaler",
        (),
    ),
    Scenario(
        "HPA to count",
        (MODEL, raw_workload(runtime=cpu_autoscaling(low=2))),
        creating(runtime={"replicaCount": 3}),
        ready(3),
        (),
    ),
    Scenario(
        "HPA to ScaledObject",
        (MODEL, raw_workload(runtime=cpu_autoscaling(low=2))),
        creating(runtime=ON_HTTP),
        lambda seen: scaled_by("ScaledObject", 2)(seen) and condition(seen, "AutoscalerReady").get("status") == "True",
        (),
    ),
    Scenario(
        "ScaledObject to HPA",
        (MODEL, raw_workload(runtime=ON_HTTP)),
        creating(runtime=cpu_autoscaling(low=2)),
        lambda seen: scaled_by("HorizontalPodAutoscaler", 2)(seen) and ready_without_metrics(2)(seen),
        ((1, "after"),),
    ),
    Scenario(
        "count to ScaledObject",
        (MODEL, raw_workload(runtime={"replicaCount": 2})),
        creating(runtime=ON_HTTP),
        lambda seen: scaled_by("ScaledObject", 2)(seen) and condition(seen, "AutoscalerReady").get("status") == "True",
        (),
    ),
    Scenario("ScaledObject to count", (MODEL, raw_workload(runtime=ON_HTTP)), creating(runtime={"replicaCount": 3}), ready(3), ()),
    Scenario("stop with a ScaledObject", (MODEL, raw_workload(runtime=ON_HTTP)), changing(suspend=True), state("stopped"), ()),
    Scenario(
        "image",
        (MODEL, other_image(), raw_workload(runtime={"replicaCount": 2})),
        changing(artifactRef={"name": "other"}),
        lambda seen: ready(2)(seen) and seen["artifact"]["name"] == "other" and seen.get("updatedReplicas") == 2,
        ((1, "after"),),
    ),
    Scenario("stop", (MODEL, raw_workload(runtime={"replicaCount": 2})), changing(suspend=True), state("stopped"), ((1, "after"),)),
    Scenario("start", (MODEL, raw_workload(runtime={"replicaCount": 2}, suspend=True)), changing(suspend=False), ready(2), ()),
    Scenario(
        "soft deletion",
        (MODEL, raw_workload(runtime={"replicaCount": 2})),
        changing(deleted=True),
        state("stopped"),
        (),
    ),
]


@pytest.mark.parametrize(
    "scenario", [pytest.param(each, id=each.name, marks=() if each.moments else pytest.mark.long) for each in SCENARIOS]
)
def test_a_kill_around_any_write_changes_nothing(cluster: ControlCluster, victim: Victim, scenario: Scenario) -> None:
    undisturbed = carried_out(victim, scenario, None)
    sure = [entry for entry in undisturbed.writes if entry[1] not in TOLD]
    every = ((count, when) for count in range(1, MOST_WRITES) for when in ("before", "after"))
    last = 0
    with ThreadPoolExecutor() as looking:
        silence = []
        for count, when in every if LONG else scenario.moments:
            run = carried_out(victim, scenario, (count, when))
            silence.append(looking.submit(written_soon, cluster, run.namespace, run.position))
            assert run.world == undisturbed.world, f"killed {when} write {count}"
            if not run.killed:
                assert LONG, f"there was no write {count} to be killed at: {run.writes}"
                break  # fewer writes than that
            last = count
        assert [each.result() for each in silence] == [[] for _ in silence]
    print(f"{scenario.name}: killed at {last} writes at most, {len(undisturbed.writes)} undisturbed, {len(sure)} of them for sure")
    assert last >= (len(sure) if LONG else 1), f"killed at {last} writes only, of {undisturbed.writes}"


def written_soon(cluster: ControlCluster, namespace: str, position: int) -> list[tuple[str, str, str, int]]:
    """What is written within the silence after that place of the audit log."""
    time.sleep(SILENT_SECONDS)
    return writes(cluster, position, namespace)


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
