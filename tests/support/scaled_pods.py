"""Real pods that are scaled on what the gateway counts: the cluster, what callers do, and what KEDA's HPA is told."""

from __future__ import annotations

import asyncio
import http.client
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import grpc
import httpx
from kubernetes.utils.quantity import parse_quantity

from hack.cluster.full import FullCluster
from hack.cluster.keda import Keda
from roadstead.api.identity import object_id
from roadstead.gateway.scaler.protocol import MESSAGES, SERVICE
from tests.build import raw_whoami
from tests.clusters import apply, declare_platform, get, wait_for
from tests.support.gateways import CERTIFICATES, SCALER_HOST, Replica, figure
from tests.world import condition, here, status

Body = dict[str, Any]
LEFT = 'roadstead_gateway_held_requests_lost_total{reason="client_left"}'
SCALING = {"cooldownSeconds": 8, "pollingIntervalSeconds": 2, "scaleDownStabilizationSeconds": 5}


@dataclass(frozen=True)
class World:
    """A cluster with real pods, KEDA, the operator and a gateway."""

    cluster: FullCluster
    image: str
    keda: Keda
    gateway: Replica
    woken: dict[bool, str] = field(default_factory=dict)
    """The table's rows on many that wake at once, without the fast path and with it."""

    def replicas(self, namespace: str, name: str) -> int:
        found = get(self.cluster, "deployments.apps", name, namespace)
        return -1 if found is None else int(found["spec"].get("replicas") or 0)

    def wait_replicas(self, namespace: str, name: str, few: int, many: int, seconds: float = 90) -> None:
        wait_for(lambda: few <= self.replicas(namespace, name) <= many, f"{few} to {many} replicas of {name}", seconds, pause=0.5)

    def url(self, namespace: str, name: str, kind: str = "workloads") -> str:
        return f"{self.gateway.url}/api/v2/endpoints/{kind}/{object_id(kind, namespace, name)}/"


def platform(cluster: FullCluster, one: Replica, **more: Any) -> None:
    address = f"{SCALER_HOST}:{one.ports['scaler']}"
    declare_platform(cluster, gateway={"scalerAddress": address, "scalerAuthentication": "roadstead-scaler", **more}, scaling=SCALING)


def workload(world: World, namespace: str, name: str, *, runtime: Body, entrypoint: tuple[str, ...] = ()) -> None:
    made = raw_whoami(name, world.image, runtime=runtime)
    if entrypoint:
        made["spec"]["artifact"]["containerGroups"][0]["containers"][0]["entrypoint"] = list(entrypoint)
    apply(world.cluster, here(namespace, made))


def ask_and_leave(world: World, namespace: str, token: str) -> None:
    """A caller of a Workload at zero who is held, and then closes the connection."""
    url = urlsplit(world.url(namespace, "chat"))
    left = figure(world.gateway, LEFT)
    connection = http.client.HTTPConnection(url.netloc, timeout=30)
    connection.request("GET", url.path, headers={"Authorization": f"Bearer {token}"})
    wait_for(lambda: figure(world.gateway, "roadstead_gateway_held_requests") == 1, "it to be held")
    connection.close()
    wait_for(lambda: figure(world.gateway, LEFT) == left + 1, "word that it has left")


def told_metric(world: World, namespace: str, name: str = "chat") -> str:
    """What the Workload says it is scaled on; the HPA writes the count before its reasons."""
    return str(status(world.cluster, namespace, name).get("scaler", {}).get("metric", ""))


def told_count(world: World, namespace: str) -> int:
    """What the HPA was told last, in all; -1 while it has been told nothing."""
    seen = (get(world.cluster, "horizontalpodautoscalers.autoscaling", "keda-hpa-chat", namespace) or {}).get("status", {})
    external = [metric["external"] for metric in seen.get("currentMetrics") or () if metric.get("type") == "External"]
    return round(parse_quantity(external[0]["current"]["averageValue"]) * seen["currentReplicas"]) if external else -1


def held_back(world: World, namespace: str, maximum: int) -> bool:
    """Whether the HPA has found so many pods, and would have more if it might."""
    seen = (get(world.cluster, "horizontalpodautoscalers.autoscaling", "keda-hpa-chat", namespace) or {}).get("status", {})
    limited = condition(seen, "ScalingLimited")
    counts = (seen.get("currentReplicas"), seen.get("desiredReplicas"))
    return counts == (maximum, maximum) and (limited.get("status"), limited.get("reason")) == ("True", "TooManyReplicas")


@contextmanager
def hourly(world: World, namespace: str) -> Iterator[Callable[[], int]]:
    """How many requests of the last hour the gateway tells of now, asked as KEDA does."""
    folder = world.cluster.state / CERTIFICATES
    credentials = grpc.ssl_channel_credentials(*((folder / name).read_bytes() for name in ("ca.crt", "client.key", "client.crt")))
    made = get(world.cluster, "scaledobjects.keda.sh", "chat", namespace) or {}
    ref = MESSAGES["ScaledObjectRef"](name="chat", namespace=namespace, scalerMetadata=made["spec"]["triggers"][0]["metadata"])
    question = MESSAGES["GetMetricsRequest"](scaledObjectRef=ref, metricName="s0-requests").SerializeToString()
    with grpc.secure_channel(f"{SCALER_HOST}:{world.gateway.ports['scaler']}", credentials) as channel:
        ask = channel.unary_unary(f"/{SERVICE}/GetMetrics", response_deserializer=MESSAGES["GetMetricsResponse"].FromString)
        yield lambda: round(ask(question, timeout=10).metricValues[0].metricValueFloat)


def burst(url: str, token: str, count: int) -> float:
    """So many requests, one after the other, all answered; returns when the first began (time.monotonic)."""
    began = time.monotonic()
    with httpx.Client(headers={"Authorization": f"Bearer {token}"}, timeout=30) as client:
        assert {client.get(url).status_code for _ in range(count)} == {200}
    return began


@contextmanager
def in_flight(url: str, token: str, count: int) -> Iterator[list[str]]:
    """So many requests at any time, each of two seconds. What fails is told."""
    failed: list[str] = []
    stop = threading.Event()

    async def ask(session: aiohttp.ClientSession) -> None:
        while not stop.is_set():
            try:
                async with session.get(f"{url}?seconds=2", headers={"Authorization": f"Bearer {token}"}) as answer:
                    if answer.status != 200:
                        failed.append(f"{answer.status} {await answer.text()}")
                        await asyncio.sleep(0.2)
            except (aiohttp.ClientError, TimeoutError) as error:
                failed.append(repr(error))
                await asyncio.sleep(0.2)

    async def run() -> None:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(120)) as session:
            session._retry_connection = False
            await asyncio.gather(*(ask(session) for _ in range(count)))

    thread = threading.Thread(target=lambda: asyncio.run(run()), daemon=True)
    thread.start()
    try:
        yield failed
    finally:
        stop.set()
        thread.join(130)
