"""Scaling on what the gateway counts, the whole way: real requests, Envoy, load reports, KEDA, its HPA, real pods; and from zero.

KEDA and the gateway speak by mutual TLS, as the chart has it. The gateway takes a second for a minute, so that an hour can pass; that the
real hour is exact is shown in tests/unit/gateway/test_ledger.py.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import httpx
import pytest

from hack.cluster import images, preflight
from hack.cluster.full import full_cluster
from hack.cluster.keda import keda
from hack.cluster.metrics_server import metrics_server
from tests.bench.document import write
from tests.bench.measure import scaled, share
from tests.build import autoscaling, raw_deployment
from tests.clusters import apply, audit_position, get, install_crds, install_rbac, operator_access, running_operator, wait_for, writes
from tests.support.gateways import CERTIFICATES, SCALER_HOST, certificates, figure, gateway_access, running_gateway, scaler_authentication
from tests.support.rest import account
from tests.support.sampler import sampling
from tests.support.scaled_pods import World, ask_and_leave, burst, held_back, hourly, in_flight, platform, told_count, told_metric, workload
from tests.world import asleep, condition, gateway, here, new_namespace, room, status, wait_state

pytestmark = pytest.mark.timeout(420)
Body = dict[str, Any]
COMMAND = "ROADSTEAD_LONG=1 pytest tests/e2e/test_gateway_scaling.py -k twenty"
PHASES = ("decide", "schedule", "pull", "start", "ready", "total")
AWAY_SECONDS = 15.0
"""Longer than cooldown and stabilisation."""
MINUTE_SECONDS, HOUR_SECONDS = 1.0, 60.0
"""As the gateway counts here."""
BURNING = """
import runpy, threading, time

def burn():
    while True:
        until = time.thread_time() + 0.01
        while time.thread_time() < until:
            pass
        time.sleep(0.25)

threading.Thread(target=burn, daemon=True).start()
runpy.run_path("/app/whoami.py", run_name="__main__")
"""
"""The example's server, which takes some four fifths of its CPU without being asked anything."""
WAKE_SECONDS, RETRY_SECONDS = 6, 60
"""Platform's, in the test of a wake that fails: the back-off is still on when KEDA has given up and the operator says so."""
WOKEN = 'roadstead_gateway_cold_start_seconds_count{phase="total"}'


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    if problems := preflight.missing():
        pytest.skip("this machine can't run containers: " + "; ".join(problems))
    with full_cluster() as cluster:
        image = cluster.push_image(images.whoami_image(), "roadstead/whoami")
        install_crds(cluster)
        install_rbac(cluster, "--set=platform.gateway.fastPath=true")
        folder = certificates(cluster.state / CERTIFICATES, SCALER_HOST)
        options = {"certificates": folder, "ROADSTEAD_MINUTE_SECONDS": str(MINUTE_SECONDS)}
        with keda(cluster) as running, running_gateway(cluster, gateway_access(cluster), **options) as one:
            scaler_authentication(cluster, folder)
            platform(cluster, one)
            gateway(cluster, ready=True)
            with running_operator(cluster, operator_access(cluster)):
                made = World(cluster, image, running, one)
                yield made
                write_table(made.woken)


@pytest.fixture
def namespace(world: World) -> Iterator[str]:
    with new_namespace(world.cluster) as name:
        yield name


def write_table(rows: dict[bool, str]) -> None:
    """Put the table of this run into the document, if all of it was run."""
    if set(rows) == {False, True}:
        head = ["woken by", *(f"{phase}, p50 / p95 / max, s" for phase in ("replicas ≥ 1", *PHASES))]
        lines = [f"| {' | '.join(head)} |", f"| --- |{' ---: |' * (len(head) - 1)}", rows[False], rows[True], ""]
        write("wakes-real", COMMAND, "\n".join(lines))


def test_from_zero_to_many_and_back(world: World, namespace: str) -> None:
    """Concurrency: the first caller leaves, the next one finds a pod; load makes replicas; without any it falls asleep again."""
    workload(world, namespace, "chat", runtime=autoscaling("httpRequestsConcurrency", 4, 0, 3))
    token = account(world.cluster, namespace, "caller", "roadstead-invoke")
    wait_for(lambda: asleep(world.cluster, namespace, "chat"), "zero", 90)
    woken = figure(world.gateway, WOKEN)
    ask_and_leave(world, namespace, token)
    wait_for(lambda: status(world.cluster, namespace, "chat").get("readyReplicas") == 1, "a pod for nobody", 60)
    wait_for(lambda: figure(world.gateway, WOKEN) == woken + 1, "word of a wake that went on to its end")
    answer = httpx.get(world.url(namespace, "chat"), headers={"Authorization": f"Bearer {token}"}, timeout=90)
    assert answer.status_code == 200, answer.text
    with in_flight(world.url(namespace, "chat"), token, 12) as failed:
        world.wait_replicas(namespace, "chat", 3, 3)
        wait_for(lambda: status(world.cluster, namespace, "chat").get("readyReplicas") == 3, "three ready pods", 60)
        wait_for(lambda: told_metric(world, namespace) == "httpRequestsConcurrency", "word on the metric", 60)
    assert not failed, failed[:5]
    wait_for(lambda: asleep(world.cluster, namespace, "chat"), "zero again", 120)
    made = get(world.cluster, "scaledobjects.keda.sh", "chat", namespace) or {}
    assert [trigger["metadata"]["enableTLS"] for trigger in made["spec"]["triggers"]] == ["true"]


@pytest.mark.long
@pytest.mark.parametrize("who", ["the process that counts", "KEDA"])
def test_never_down_while_busy_because_somebody_is_away(world: World, namespace: str, who: str) -> None:
    """What isn't known scales nothing down: neither while it is away, longer than cooldown and stabilisation, nor when it comes back."""
    workload(world, namespace, "chat", runtime=autoscaling("httpRequestsConcurrency", 4, 0, 3))
    token = account(world.cluster, namespace, "caller", "roadstead-invoke")
    wait_for(lambda: asleep(world.cluster, namespace, "chat"), "zero", 90)
    # More than three pods' worth, so that the moment between two requests is none with less.
    with in_flight(world.url(namespace, "chat"), token, 16) as failed:
        wait_for(lambda: status(world.cluster, namespace, "chat").get("readyReplicas") == 3, "three ready pods", 90)
        with sampling(world.cluster, namespace) as sampler:
            if who == "KEDA":
                world.keda.stop()
            else:
                world.gateway.kill_process()
            time.sleep(AWAY_SECONDS)
            if who == "KEDA":
                world.keda.start()
            else:
                world.gateway.start_process()
                world.gateway.wait_ready()
            time.sleep(AWAY_SECONDS)
    assert {sample.wanted for sample in sampler.samples} == {3}, sampler.story()
    # Without a sibling nobody is there to say who may call; KEDA is in no request's way.
    assert not [each for each in failed if who == "KEDA" or not each.startswith("503")], failed[:5]
    wait_for(lambda: asleep(world.cluster, namespace, "chat"), "zero again", 120)


@pytest.mark.long
def test_a_wake_that_fails_is_told_and_tried_again(world: World, namespace: str, request: pytest.FixtureRequest) -> None:
    """Gateway, KEDA and operator together: there is no room, which nobody's calling changes, and later there is."""
    platform(world.cluster, world.gateway, wakeLimitSeconds=WAKE_SECONDS, retrySeconds=RETRY_SECONDS)
    request.addfinalizer(lambda: platform(world.cluster, world.gateway))
    request.addfinalizer(lambda: room(world.cluster, there=True))
    workload(world, namespace, "chat", runtime=autoscaling("httpRequestsConcurrency", 4, 0, 3))
    token = account(world.cluster, namespace, "caller", "roadstead-invoke")
    wait_for(lambda: asleep(world.cluster, namespace, "chat"), "zero", 90)
    room(world.cluster, there=False)

    def call() -> httpx.Response:
        return httpx.get(world.url(namespace, "chat"), headers={"Authorization": f"Bearer {token}"}, timeout=90)

    ask_and_leave(world, namespace, token)
    waiting = wait_state(world.cluster, namespace, "submitted")
    assert set(waiting["lastWake"]) == {"at"}
    assert world.replicas(namespace, "chat") == 1

    def failed_wake() -> Body | None:
        answer = call()  # held until its time is over, and from then on told at once
        assert answer.status_code == 503, answer.text
        found = status(world.cluster, namespace, "chat")
        return found if found.get("state") == "errored" else None

    failed = wait_for(failed_wake, "errored, though somebody calls all the time", 90, pause=0.5)
    assert failed is not None
    assert condition(failed, "Stalled")["reason"] == "WakeFailed"
    assert "has no node" in failed["message"]
    assert (failed["lastWake"]["succeeded"], failed["lastWake"]["message"]) == (False, failed["message"])
    refused = wait_for(lambda: found if failed["message"] in (found := call()).text else None, "the operator's own word", 5)
    assert refused is not None
    assert (refused.status_code, refused.json()["detail"]) == (503, failed["message"])
    assert 1 <= int(refused.headers["retry-after"]) <= RETRY_SECONDS
    assert world.replicas(namespace, "chat") == 0

    room(world.cluster, there=True)
    time.sleep(int(refused.headers["retry-after"]))
    answer = wait_for(lambda: found if (found := call()).status_code == 200 else None, "the one that tries", 10, pause=1)
    assert answer is not None
    assert "total=" in answer.headers["x-roadstead-cold-start"]
    assert "lastWake" not in wait_state(world.cluster, namespace, "running")
    assert condition(status(world.cluster, namespace), "Stalled").get("status") != "True"
    wait_for(lambda: asleep(world.cluster, namespace, "chat"), "zero again", 120)


@pytest.mark.long
def test_in_flight_up_and_down_between_the_bounds(world: World, namespace: str) -> None:
    """More requests at once, more pods, up to the maximum and no further, though there is work for four; without any it is the minimum."""
    workload(world, namespace, "chat", runtime=autoscaling("httpRequestsInFlight", 4, 1, 3))
    token = account(world.cluster, namespace, "caller", "roadstead-invoke")
    wait_for(lambda: status(world.cluster, namespace, "chat").get("readyReplicas") == 1, "a ready pod", 90)
    with sampling(world.cluster, namespace) as sampler:
        with in_flight(world.url(namespace, "chat"), token, 16) as failed:
            wait_for(lambda: status(world.cluster, namespace, "chat").get("readyReplicas") == 3, "three ready pods", 120)
            sampler.phase = "at the maximum"
            wait_for(lambda: told_metric(world, namespace) == "httpRequestsInFlight", "word on the metric", 60)
            wait_for(lambda: held_back(world, namespace, 3), "the HPA to look at three pods and want more", 60)
            sampler.phase = "down"
        assert not failed, failed[:5]
        world.wait_replicas(namespace, "chat", 1, 1, 120)
    assert (sampler.least("at the maximum"), sampler.most("at the maximum")) == ((3, 3), 3)
    assert {sample.wanted for sample in sampler.samples} <= {1, 2, 3}


@pytest.mark.long
def test_the_hour_slides(world: World, namespace: str) -> None:
    """Two bursts: each counts from when it comes, to the request, until its hour has passed, and no less; the later one stays longer."""
    workload(world, namespace, "chat", runtime=autoscaling("httpRequestsPerHour", 30, 1, 3))
    token = account(world.cluster, namespace, "caller", "roadstead-invoke")
    wait_for(lambda: status(world.cluster, namespace, "chat").get("readyReplicas") == 1, "a ready pod", 90)
    with sampling(world.cluster, namespace) as sampler, hourly(world, namespace) as count:
        wait_for(lambda: sampler.samples, "the first look")
        time.sleep((0.45 - time.time()) % MINUTE_SECONDS)  # amid a minute of the gateway's: half of one early or late would show
        first = burst(world.url(namespace, "chat"), token, 55)
        world.wait_replicas(namespace, "chat", 2, 2)
        wait_for(lambda: told_count(world, namespace) == 55, "word of 55 requests")
        wait_for(lambda: time.monotonic() > first + HOUR_SECONDS / 3, "time between the bursts", HOUR_SECONDS)
        second = burst(world.url(namespace, "chat"), token, 40)
        world.wait_replicas(namespace, "chat", 3, 3)
        wait_for(lambda: told_count(world, namespace) == 95, "word of both")
        assert time.monotonic() < first + HOUR_SECONDS, "too slow to see both within an hour"
        wait_for(lambda: count() < 95, "the first to be forgotten", HOUR_SECONDS)
        assert time.monotonic() >= first + HOUR_SECONDS
        wait_for(lambda: told_count(world, namespace) == 40, "word of the second only", HOUR_SECONDS)
        wait_for(lambda: count() < 40, "the second to be forgotten", HOUR_SECONDS)
        assert time.monotonic() >= second + HOUR_SECONDS
        world.wait_replicas(namespace, "chat", 1, 1, 2 * HOUR_SECONDS)
        wait_for(lambda: told_count(world, namespace) == 0, "word of none")
    changes = [(after.wanted, after.at) for before, after in pairwise(sampler.samples) if before.wanted != after.wanted]
    assert [wanted for wanted, _ in changes] == [2, 3, 2, 1], sampler.story()
    assert changes[2][1] >= first + HOUR_SECONDS, sampler.story()
    assert changes[3][1] >= second + HOUR_SECONDS, sampler.story()


@pytest.mark.long
def test_what_comes_through_a_deployment_counts_for_its_workload(world: World, namespace: str) -> None:
    workload(world, namespace, "chat", runtime=autoscaling("httpRequestsConcurrency", 4, 0, 3))
    apply(world.cluster, here(namespace, raw_deployment("front", "chat")))
    token = account(world.cluster, namespace, "caller", "roadstead-invoke")
    wait_for(lambda: asleep(world.cluster, namespace, "chat"), "zero", 90)
    first = httpx.get(world.url(namespace, "front", "deployments"), headers={"Authorization": f"Bearer {token}"}, timeout=90)
    assert (first.status_code, "total=" in first.headers.get("x-roadstead-cold-start", "")) == (200, True), first.text
    with in_flight(world.url(namespace, "front", "deployments"), token, 12) as failed:
        world.wait_replicas(namespace, "chat", 3, 3)
    assert not failed, failed[:5]
    wait_for(lambda: asleep(world.cluster, namespace, "chat"), "zero again", 120)


@pytest.mark.long
@pytest.mark.parametrize("fast", [False, True], ids=["KEDA", "fast path"])
def test_twenty_wake_at_once(world: World, namespace: str, request: pytest.FixtureRequest, fast: bool) -> None:
    """Everybody is answered; how long everything but the container's own start took goes into a table."""
    platform(world.cluster, world.gateway, fastPath=fast)
    request.addfinalizer(lambda: platform(world.cluster, world.gateway))
    names = [f"w{number:02d}" for number in range(20)]
    for name in names:
        workload(world, namespace, name, runtime=autoscaling("httpRequestsConcurrency", 4, 0, 1))
    token = account(world.cluster, namespace, "caller", "roadstead-invoke")
    for name in names:
        wait_for(lambda name=name: asleep(world.cluster, namespace, name), f"{name} at zero", 240)

    # One client, made before the clock starts: each takes some 20 ms of CPU to load its certificates.
    with httpx.Client(headers={"Authorization": f"Bearer {token}"}, timeout=180) as client, ThreadPoolExecutor(len(names)) as pool:
        mark, began = audit_position(world.cluster), time.time()
        answers = list(pool.map(client.get, [world.url(namespace, name) for name in names]))
    assert {answer.status_code for answer in answers} == {200}
    # Told by the API server: KEDA's write of the same count hides the gateway's in managedFields.
    written = writes(world.cluster, mark, namespace, "roadstead-gateway")
    by_gateway = {name for _, resource, name, code in written if (resource, code) == ("deployments/scale", 200)}
    assert bool(by_gateway) == fast
    phases = [dict(part.split("=") for part in answer.headers["x-roadstead-cold-start"].split(";")) for answer in answers]
    # The log tells of a request when it is over, which may be after its effect.
    wait_for(lambda: scaled(world.cluster, mark).keys() >= set(names), "the audit log to tell of all")
    stored = scaled(world.cluster, mark)
    figures: list[list[float]] = [[stored[name] - began for name in names]]
    # "ready" holds the server's own start and its probe too: Envoy's part of it can't be told apart.
    figures += [[float(each[phase]) for each in phases if phase in each] for phase in PHASES]
    by = f"the gateway itself ({len(by_gateway)}) and KEDA" if fast else "KEDA"
    told = [" / ".join(f"{share(values, part):.2f}" for part in (0.5, 0.95, 1)) if values else "–" for values in figures]
    world.woken[fast] = f"| {' | '.join([by, *told])} |"
    print(world.woken[fast])


@pytest.mark.long
def test_cpu_and_requests_together(world: World, namespace: str) -> None:
    """One HPA with both: what asks for more wins, be it requests to pods that burn nothing, or pods that burn and aren't asked."""

    def measured() -> set[str]:
        found = json.loads(world.cluster.kubectl("get", "hpa", "-n", namespace, "-o", "json"))["items"]
        metrics = [metric for hpa in found for metric in hpa.get("status", {}).get("currentMetrics") or ()]
        cpu = {"cpu" for metric in metrics if (metric.get("resource") or {}).get("current", {}).get("averageUtilization") is not None}
        return cpu | {"requests" for metric in metrics if (metric.get("external") or {}).get("current", {}).get("averageValue") is not None}

    def serve(name: str, cpu_target: int, *entrypoint: str) -> None:
        cpu = {"scalingMetric": "cpuAverageUtilization", "target": cpu_target, "minCount": 1, "maxCount": 3}
        requests = {"scalingMetric": "httpRequestsInFlight", "target": 4, "minCount": 1, "maxCount": 3}
        runtime = {"autoscaling": {"enabled": True, "policies": [cpu, requests]}}
        workload(world, namespace, name, runtime=runtime, entrypoint=entrypoint)

    with metrics_server(world.cluster):
        serve("chat", 90)
        token = account(world.cluster, namespace, "caller", "roadstead-invoke")
        wait_for(lambda: status(world.cluster, namespace, "chat").get("readyReplicas") == 1, "a ready pod", 90)
        wait_for(lambda: measured() == {"cpu", "requests"}, "both to be measured", 120)
        with in_flight(world.url(namespace, "chat"), token, 12) as failed:
            world.wait_replicas(namespace, "chat", 3, 3, 120)
            wait_for(lambda: told_metric(world, namespace) == "httpRequestsInFlight", "word on the metric", 60)
        assert not failed, failed[:5]
        world.wait_replicas(namespace, "chat", 1, 1, 150)
        serve("burner", 30, "/usr/bin/python3", "-c", BURNING)
        world.wait_replicas(namespace, "burner", 3, 3, 150)
        wait_for(lambda: told_metric(world, namespace, "burner") == "cpuAverageUtilization", "word on the metric", 60)
