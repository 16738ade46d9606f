"""ScaledObjects with the real KEDA (operator, adapter, admission webhooks) and an external scaler of the tests' own.

The cluster is this module's own, since in all others there is no KEDA.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from hack.cluster import beside
from hack.cluster.console import ClusterError
from hack.cluster.control import ControlCluster, control_cluster
from hack.cluster.keda import Keda, keda
from hack.cluster.keda import install_crds as install_keda_crds
from tests.bench.measure import requests
from tests.build import cpu_autoscaling, http_autoscaling, raw_artifact, raw_container, raw_workload
from tests.clusters import (
    add_fake_nodes,
    apply,
    audit_position,
    declare_platform,
    get,
    install_crds,
    install_rbac,
    operator_access,
    running_operator,
    wait_for,
    writes,
)
from tests.support.sampler import sampling
from tests.support.scaler import Scaler, external_scaler
from tests.world import condition, gateway, here, new_namespace, patch, quiet, room, status

pytestmark = pytest.mark.timeout(180)
COOLDOWN_SECONDS = 3
KEDA, FLOW = "keda-operator", "scaling-bookkeeping"
Body = dict[str, Any]


@dataclass(frozen=True)
class World:
    """A cluster where the operator runs and KEDA doesn't yet; its Platform names the tests' scaler."""

    cluster: ControlCluster
    scaler: Scaler

    def scaled_object(self, namespace: str) -> Body | None:
        return get(self.cluster, "scaledobjects.keda.sh", "chat", namespace)

    def replicas(self, namespace: str) -> int | None:
        found = get(self.cluster, "deployments.apps", "chat", namespace)
        return None if found is None else int(found["spec"]["replicas"])

    def wait_replicas(self, namespace: str, count: int, seconds: float = 30) -> None:
        wait_for(lambda: self.replicas(namespace) == count, f"{count} replicas", seconds)

    def ready_pods(self, namespace: str) -> int:
        return int(status(self.cluster, namespace).get("readyReplicas", 0))


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with control_cluster(kwok=True, extra_apiserver_flags=beside.AGGREGATION_FLAGS) as cluster, external_scaler() as scaler:
        install_crds(cluster)
        install_rbac(cluster)
        add_fake_nodes(cluster, 2)
        scaling = {"cooldownSeconds": COOLDOWN_SECONDS, "pollingIntervalSeconds": 1, "scaleDownStabilizationSeconds": 0}
        declare_platform(cluster, scaling=scaling, gateway={"scalerAddress": scaler.address})
        with running_operator(cluster, operator_access(cluster)):
            yield World(cluster, scaler)


@pytest.fixture(scope="module")
def running_keda(world: World) -> Iterator[Keda]:
    """KEDA, known to the operator: it looks every ten seconds."""
    with keda(world.cluster) as running:
        (log,) = world.cluster.state.glob("operator-*.log")
        wait_for(lambda: "ScaledObject is there" in log.read_text(), "the operator to notice KEDA")
        yield running


@pytest.fixture
def namespace(world: World) -> Iterator[str]:
    with new_namespace(world.cluster) as name:
        yield name


def test_keda_absent_then_appearing(world: World, namespace: str, request: pytest.FixtureRequest) -> None:
    """Without KEDA the pods run and the status says what to install; when it comes, no operator is restarted."""
    apply(
        world.cluster,
        here(namespace, raw_artifact()),
        here(namespace, raw_workload(runtime=http_autoscaling("httpRequestsInFlight", low=2))),
    )
    wait_for(lambda: world.ready_pods(namespace) == 2, "two ready pods")
    said = condition(status(world.cluster, namespace), "AutoscalerReady")
    assert (said["status"], said["reason"]) == ("False", "KedaMissing")
    assert "needs KEDA" in said["message"]
    assert get(world.cluster, "hpa", "chat", namespace) is None
    with sampling(world.cluster, namespace) as sampler:
        request.getfixturevalue("running_keda")
        wait_for(lambda: world.scaled_object(namespace), "the ScaledObject", 30)
        wait_for(lambda: condition(status(world.cluster, namespace), "AutoscalerReady").get("status") == "True", "KEDA's word")
    assert {sample.wanted for sample in sampler.samples} == {2}, sampler.story()


@pytest.mark.usefixtures("running_keda")
class TestWithKeda:
    def test_the_webhooks_are_there(self, world: World, namespace: str) -> None:
        apply(world.cluster, here(namespace, raw_artifact()), here(namespace, raw_workload(runtime=http_autoscaling())))
        made = wait_for(lambda: world.scaled_object(namespace), "the ScaledObject")
        second = {**made, "metadata": {"name": "second", "namespace": namespace}}
        with pytest.raises(ClusterError, match="is already managed by"):
            apply(world.cluster, second)

    def test_what_is_written_about_counts_has_a_flow_of_its_own(self, world: World, namespace: str) -> None:
        """All that ``examples/keda-values.yaml`` means to wait, and nothing else: neither the counts nor any child."""
        before, begun = at_rest(world.cluster, FLOW)
        apply(world.cluster, here(namespace, raw_artifact()), here(namespace, raw_workload(runtime=http_autoscaling())))
        world.wait_replicas(namespace, 0)
        wait_for(lambda: bookkeeping(world.cluster, before) == dispatched(world.cluster, FLOW) - begun > 0, "as many as were written")
        assert requests(world.cluster, before, KEDA)["update deployments/scale"]

    def test_proven_then_to_zero_then_woken(self, world: World, namespace: str) -> None:
        """A new version runs once; one cooldown later it may go; a push brings it back, demand brings more, and then it goes again."""
        apply(world.cluster, here(namespace, raw_artifact()), here(namespace, raw_workload(runtime=http_autoscaling())))
        made = wait_for(lambda: world.scaled_object(namespace), "the ScaledObject")
        assert made["spec"]["minReplicaCount"] == 1
        wait_for(lambda: status(world.cluster, namespace).get("proven"), "the proof")
        proven = time.monotonic()
        world.wait_replicas(namespace, 0)
        assert time.monotonic() - proven >= COOLDOWN_SECONDS - 1.5  # the proof's time is in whole seconds
        spec = (world.scaled_object(namespace) or {})["spec"]
        assert (spec["minReplicaCount"], spec["cooldownPeriod"], spec["pollingInterval"]) == (0, COOLDOWN_SECONDS, 1)
        wait_for(lambda: world.ready_pods(namespace) == 0, "no pods")
        quiet(world.cluster)
        scaler = status(world.cluster, namespace)["scaler"]
        assert (scaler["kind"], scaler["replicas"], scaler["why"]) == ("ScaledObject", 0, "No demand for the length of the cooldown")

        with sampling(world.cluster, namespace) as sampler:
            wait_for(lambda: sampler.samples, "the first look")
            pushed = time.monotonic()
            world.scaler.demand(namespace, "chat", 5)
            woken = wait_for(lambda: next((s.at for s in sampler.samples if s.wanted), 0.0), "the wake", pause=0.01) - pushed
            print(f"woken {woken * 1000:.0f} ms after the push")
            scaler = wait_for(lambda: explained(world, namespace, 1), "the word on the wake")
            assert scaler["why"] == "Woken by demand"
            world.scaler.demand(namespace, "chat", 25)
            world.wait_replicas(namespace, 3, 60)
            scaler = wait_for(lambda: explained(world, namespace, 3), "the word on the step")
            assert (scaler["kind"], scaler["metric"], scaler["value"], scaler["target"]) == (
                "ScaledObject",
                "httpRequestsConcurrency",
                "25",
                "10",
            )
            assert scaler["why"] == "Scaled from 1 to 3: httpRequestsConcurrency was 25, above its target of 10"
            hpa = get(world.cluster, "hpa", "keda-hpa-chat", namespace) or {}
            assert scaler["when"] == hpa["status"]["lastScaleTime"]
            wait_for(lambda: world.ready_pods(namespace) == 3, "three ready pods")
            quiet(world.cluster)
            before = audit_position(world.cluster)
            world.scaler.demand(namespace, "chat", 27)  # the HPA reads another value; the count stays
            wait_for(lambda: _reading(world, namespace) == "9", "the HPA's next look", 60)
            assert writes(world.cluster, before, namespace) == []
            assert explained(world, namespace, 3) == scaler
            world.scaler.demand(namespace, "chat", 0)
            world.wait_replicas(namespace, 0, 60)
        assert woken < 2
        assert world.scaler.seen[namespace, "chat"] == {
            "scalerAddress": world.scaler.address,
            "workloadId": status(world.cluster, namespace)["id"],
            "namespace": namespace,
            "name": "chat",
            "metric": "httpRequestsConcurrency",
            "target": "10",
        }

        # Another version has to show that it runs, although nobody asks for it.
        apply(world.cluster, here(namespace, raw_artifact(containers=[raw_container(imageUri="registry.test/whoami:2")])))
        world.wait_replicas(namespace, 1)
        wait_for(lambda: world.ready_pods(namespace) == 1, "the new version's pod")
        world.wait_replicas(namespace, 0)

    def test_a_wake_that_fails_and_one_that_succeeds(self, world: World, namespace: str) -> None:
        """At zero it runs, while its first request would wake it; what was in the way of a wake stands there until another succeeds."""

        def said(state: str, words: str) -> Body | None:
            found = status(world.cluster, namespace)
            return found if found.get("state") == state and words in found["message"] else None

        gateway(world.cluster, ready=True)
        apply(world.cluster, here(namespace, raw_artifact()), here(namespace, raw_workload(runtime=http_autoscaling())))
        wait_for(lambda: said("running", "Scaled to zero; its first request wakes it"), "it to be asleep", 60)
        quiet(world.cluster)
        room(world.cluster, there=False)
        try:
            world.scaler.demand(namespace, "chat", 1)
            assert set((wait_for(lambda: said("submitted", "has no node"), "the wake"))["lastWake"]) == {"at"}
            world.scaler.demand(namespace, "chat", 0)
            failed = wait_for(lambda: said("errored", "has no node"), "its failure", 60)
            assert condition(failed, "Ready")["reason"] == "WakeFailed"
            quiet(world.cluster)
            assert status(world.cluster, namespace) == failed, "KEDA's looks at rest change nothing"
            world.scaler.demand(namespace, "chat", 1)
            wait_for(lambda: said("submitted", "has no node"), "the next wake")
        finally:
            room(world.cluster, there=True)
        wait_for(lambda: said("running", "1 of 1 replicas ready"), "its success")
        world.scaler.demand(namespace, "chat", 0)
        found = wait_for(lambda: said("running", "Scaled to zero; its first request wakes it"), "it to be asleep again", 60)
        assert "lastWake" not in found

    def test_nothing_is_written_at_rest(self, world: World, namespace: str) -> None:
        """KEDA updates what we applied (finalizer, empty structures): that is no drift."""
        runtime = http_autoscaling("httpRequestsInFlight", low=2)
        runtime["autoscaling"]["policies"].append({"scalingMetric": "cpuAverageUtilization", "target": 50, "minCount": 2, "maxCount": 4})
        apply(world.cluster, here(namespace, raw_artifact()), here(namespace, raw_workload(runtime=runtime)))
        wait_for(lambda: world.ready_pods(namespace) == 2, "two ready pods")
        made = wait_for(lambda: world.scaled_object(namespace), "the ScaledObject")
        assert len(made["spec"]["triggers"]) == 2
        quiet(world.cluster)
        generation = (world.scaled_object(namespace) or {})["metadata"]["generation"]
        quiet(world.cluster)
        assert (world.scaled_object(namespace) or {})["metadata"]["generation"] == generation <= 2

    def test_a_scaler_that_cannot_be_asked_takes_nothing_away(self, world: World, namespace: str) -> None:
        """The status says so, and the pods stay, for more than a cooldown."""
        world.scaler.demand(namespace, "chat", 15)
        apply(world.cluster, here(namespace, raw_artifact()), here(namespace, raw_workload(runtime=http_autoscaling())))
        wait_for(lambda: (world.scaled_object(namespace) or {"spec": {}})["spec"].get("minReplicaCount") == 0, "the minimum to fall")
        world.wait_replicas(namespace, 2, 60)
        world.scaler.down(True)
        try:
            wait_for(lambda: condition(status(world.cluster, namespace), "AutoscalerReady").get("status") == "False", "the word on it")
            time.sleep(COOLDOWN_SECONDS + 2)
            assert world.replicas(namespace) == 2
        finally:
            world.scaler.down(False)
        wait_for(lambda: condition(status(world.cluster, namespace), "AutoscalerReady").get("status") == "True", "its end")
        world.scaler.demand(namespace, "chat", 0)
        world.wait_replicas(namespace, 0)

    def test_stop_and_start(self, world: World, namespace: str) -> None:
        """Stopping wins over demand, also while something is wrong (no artifact), and starting needs none."""
        world.scaler.demand(namespace, "chat", 15)
        apply(world.cluster, here(namespace, raw_artifact()), here(namespace, raw_workload(runtime=http_autoscaling(low=1))))
        world.wait_replicas(namespace, 2, 60)
        with sampling(world.cluster, namespace) as sampler:
            world.cluster.kubectl("delete", "rsa", "model", "-n", namespace)
            patch(world.cluster, "rsw", "chat", namespace, suspend=True)
            world.wait_replicas(namespace, 0)
            sampler.phase = "stopped"
            wait_for(lambda: status(world.cluster, namespace)["state"] == "stopped", "the state")
            assert (explained(world, namespace, 0) or {})["why"] == "spec.suspend"
            time.sleep(COOLDOWN_SECONDS)
            kept = world.scaled_object(namespace)
            assert kept is not None
            assert kept["metadata"]["annotations"]["autoscaling.keda.sh/paused-replicas"] == "0"
            apply(world.cluster, here(namespace, raw_artifact()))
            sampler.phase = "starting"
            patch(world.cluster, "rsw", "chat", namespace, suspend=False)
            world.wait_replicas(namespace, 2, 60)  # by way of one, for as long as KEDA takes to look
        assert sampler.most("stopped") == 0, sampler.story()
        world.scaler.demand(namespace, "chat", 0)

    @pytest.mark.long
    def test_switching_never_blips(self, world: World, namespace: str) -> None:
        """fixed → HPA → ScaledObject → fixed → stop → start …: never below what both sides ask for, and one owner at most."""
        world.scaler.demand(namespace, "chat", 25)  # three replicas
        fixed, cpu, http = {"replicaCount": 3}, cpu_autoscaling(low=2, high=5), http_autoscaling("httpRequestsInFlight", low=2)
        apply(world.cluster, here(namespace, raw_artifact()), here(namespace, raw_workload(runtime=fixed)))
        wait_for(lambda: world.ready_pods(namespace) == 3, "three ready pods")
        with sampling(world.cluster, namespace) as sampler:

            def switch(phase: str, runtime: Body, scalers: tuple[str, ...], **more: Any) -> None:
                sampler.phase = phase
                apply(world.cluster, here(namespace, raw_workload(runtime=runtime, **more)))
                wait_for(lambda: sampler.samples[-1].scalers == scalers, f"{phase}: {scalers}")
                time.sleep(3)

            switch("fixed to HPA", cpu, ("HPA chat",))
            switch("HPA to ScaledObject", http, ("HPA keda-hpa-chat", "SO chat"))
            switch("ScaledObject to fixed", fixed, ())
            switch("fixed to ScaledObject", http, ("HPA keda-hpa-chat", "SO chat"))
            switch("ScaledObject to HPA", cpu, ("HPA chat",))
            switch("HPA to fixed", fixed, ())
            switch("stop", fixed, (), suspend=True)
            switch("start", fixed, (), suspend=False)
            wait_for(lambda: sampler.samples[-1].ready == 3, "three ready again")
            sampler.phase = "at random"
            chance = random.Random(7)
            for _ in range(30):
                apply(world.cluster, here(namespace, raw_workload(runtime=chance.choice((fixed, cpu, http)))))
                time.sleep(chance.choice((0, 0.05, 0.2, 0.6)))
            switch("at random", fixed, ())
        for phase in {sample.phase for sample in sampler.samples} - {"stop", "start"}:
            assert sampler.least(phase) == (3, 3), f"{phase}\n{sampler.story()}"
            assert sampler.most(phase) == 3, f"{phase}\n{sampler.story()}"
        for sample in sampler.samples:
            assert sum(scaler.startswith("HPA") for scaler in sample.scalers) <= 1, sampler.story()
            assert not {"HPA chat", "SO chat"} <= set(sample.scalers), sampler.story()
        assert sampler.most("stop") == 3

    def test_without_a_running_keda(self, world: World, namespace: str, running_keda: Keda) -> None:
        """KEDA's kinds are there, KEDA isn't: nothing takes over from a ScaledObject that can't go, but stopping works at once."""
        runtime = http_autoscaling("httpRequestsInFlight", low=2)
        apply(world.cluster, here(namespace, raw_artifact()), here(namespace, raw_workload(runtime=runtime)))
        wait_for(lambda: world.ready_pods(namespace) == 2, "two ready pods")
        wait_for(lambda: get(world.cluster, "hpa", "keda-hpa-chat", namespace), "KEDA's HPA")
        running_keda.stop("keda-operator", "keda-webhooks")
        try:
            apply(world.cluster, here(namespace, raw_workload(runtime={"replicaCount": 4})))
            wait_for(lambda: "deletionTimestamp" in (world.scaled_object(namespace) or {})["metadata"], "the deletion")
            pending = wait_for(lambda: _pending(world, namespace), "the word on it", 25)
            assert "waits for ScaledObject chat to be gone" in pending
            assert world.replicas(namespace) == 2
            patch(world.cluster, "rsw", "chat", namespace, suspend=True)
            world.wait_replicas(namespace, 0)
            patch(world.cluster, "rsw", "chat", namespace, suspend=False)
        finally:
            running_keda.start("keda-operator", "keda-webhooks")
        world.wait_replicas(namespace, 4)
        wait_for(lambda: get(world.cluster, "hpa", "keda-hpa-chat", namespace) is None, "the end of KEDA's HPA")
        wait_for(lambda: not _pending(world, namespace), "the word to be taken back")


@pytest.mark.long
def test_kedas_kinds_vanish_and_return(world: World, namespace: str, running_keda: Keda) -> None:
    """The last test of this module. Nothing falls below its minimum, what was at zero runs, and no operator is restarted."""
    low = 2
    world.scaler.demand(namespace, "chat", 25)
    http = {"chat": http_autoscaling("httpRequestsInFlight", low=low), "asleep": http_autoscaling()}
    apply(world.cluster, here(namespace, raw_artifact(status="registered")))
    apply(world.cluster, *(here(namespace, raw_workload(name, runtime=runtime)) for name, runtime in http.items()))
    said = lambda name: condition(status(world.cluster, namespace, name), "AutoscalerReady")  # noqa: E731
    wait_for(lambda: status(world.cluster, namespace).get("readyReplicas") == 3, "three ready pods", 60)
    wait_for(lambda: status(world.cluster, namespace, "asleep").get("proven"), "the other's proof")
    wait_for(lambda: status(world.cluster, namespace, "asleep")["replicas"] == 0, "the other to be at zero", 60)
    with sampling(world.cluster, namespace) as sampler, sampling(world.cluster, namespace, "asleep") as other:
        world.cluster.kubectl("delete", "crd", "scaledobjects.keda.sh", "--wait=false")
        for name in http:
            wait_for(lambda name=name: said(name).get("reason") == "KedaMissing", f"{name}: the word on it", 90)
        wait_for(lambda: sampler.samples[-1].wanted == low, "the minimum", 60)
        wait_for(lambda: other.samples[-1].ready == 1, "a pod for the one that nobody could wake", 60)
        assert said("chat")["status"] == "False"
        install_keda_crds(world.cluster)
        sampler.phase = "back"
        for name in http:
            wait_for(lambda name=name: said(name).get("status") == "True", f"{name}: KEDA's word", 90)
        world.wait_replicas(namespace, 3, 60)
        wait_for(lambda: other.samples[-1].wanted == 0, "the other to be at zero again", 90)
    assert sampler.least("", "back")[0] == low, sampler.story()
    assert sampler.least("", "back")[1] >= low, sampler.story()
    world.scaler.demand(namespace, "chat", 0)


def _pending(world: World, namespace: str) -> str:
    said = condition(status(world.cluster, namespace), "UpToDate")
    return str(said.get("message", "")) if said.get("status") == "False" else ""


def explained(world: World, namespace: str, count: int) -> Body | None:
    """status.scaler, once it is about that count."""
    scaler: Body = status(world.cluster, namespace).get("scaler") or {}
    return scaler if scaler.get("replicas") == count else None


def bookkeeping(cluster: ControlCluster, since: int) -> int:
    """How many requests since that position in the audit log only told what had been done."""
    kedas, ours = requests(cluster, since, KEDA), requests(cluster, since)
    told = ("patch scaledobjects/status", "update scaledobjects/status", "create events", "patch events")
    return sum(kedas[what] for what in told) + ours["patch workloads/status"]


def dispatched(cluster: ControlCluster, flow: str) -> int:
    """How many requests of a FlowSchema's the API server has begun to work at."""
    begin = f'apiserver_flowcontrol_dispatched_requests_total{{flow_schema="{flow}",'
    lines = cluster.kubectl("get", "--raw", "/metrics").splitlines()
    return sum(int(float(line.rpartition(" ")[2])) for line in lines if line.startswith(begin))


def at_rest(cluster: ControlCluster, flow: str) -> tuple[int, int]:
    """A place in the audit log, and how many had been dispatched of that FlowSchema, between which there was none."""

    def look() -> tuple[int, int] | None:
        before, count = audit_position(cluster), dispatched(cluster, flow)
        time.sleep(2)
        return (before, count) if dispatched(cluster, flow) == count and bookkeeping(cluster, before) == 0 else None

    return wait_for(look, "what other tests left behind to be told", 60)


def _reading(world: World, namespace: str) -> str | None:
    """The value that KEDA's HPA has read last."""
    seen = (get(world.cluster, "hpa", "keda-hpa-chat", namespace) or {}).get("status") or {}
    return next((str(metric["external"]["current"]["averageValue"]) for metric in seen.get("currentMetrics") or ()), None)
