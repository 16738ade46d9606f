"""What lasts or is large, on real pods: the openai client, bodies of 1 GiB, and long answers when their pods have to go.

The latter are taken away or replaced in the middle of events, WebSockets, uploads and calls of gRPC. A pod that goes serves on for
DRAIN_SECONDS, then gets SIGTERM and its grace. What is shown here outlasts the drain: every answer goes on for a while after SIGTERM,
says so, and ends in order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

import grpc
import httpx
import pytest

from hack.cluster import images, preflight
from hack.cluster.full import FullCluster, full_cluster
from tests.build import raw_deployment, raw_workload
from tests.clusters import apply, install_crds, install_rbac, operator_access, running_operator, wait_for
from tests.support import grpc_streamer, streamer, web_pod
from tests.support.callers import ways
from tests.support.gateways import Replica, gateway_access, running_gateway
from tests.support.large_bodies import transfer
from tests.support.openai_client import converse
from tests.support.rest import account
from tests.support.streams import Kind, Stream, Streams, streaming
from tests.world import active_workload, here, new_namespace, patch, status

pytestmark = [pytest.mark.timeout(600), pytest.mark.long]
Body = dict[str, Any]
NAME, FRONT = "streams", "front"
REPLICAS = 3
LARGE_MIB = 1024
MOST = 10 * REPLICAS
"""How many streams of a kind may be opened until each pod has one: the less busy of any two gets the next."""


@dataclass(frozen=True)
class World:
    """A cluster with real pods, the operator and a gateway; an image with Python, and one with grpcio and aiohttp too."""

    cluster: FullCluster
    image: str
    full_image: str
    gateway: Replica


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    if problems := preflight.missing():
        pytest.skip("this machine can't run containers: " + "; ".join(problems))
    with full_cluster() as cluster:
        image = cluster.push_image(images.whoami_image(), "roadstead/whoami")
        full_image = cluster.push_image(images.operator_image(), "roadstead/roadstead")
        install_crds(cluster)
        install_rbac(cluster)
        with running_gateway(cluster, gateway_access(cluster)) as one, running_operator(cluster, operator_access(cluster)):
            yield World(cluster, image, full_image, one)


@pytest.fixture
def namespace(world: World) -> Iterator[str]:
    with new_namespace(world.cluster) as name:
        yield name


@pytest.fixture(scope="module")
def web(world: World) -> Iterator[tuple[list[str], str]]:
    """One pod of web_pod.py: its Workload's and its Deployment's path, without a slash at the end, and a caller's token."""
    with new_namespace(world.cluster) as namespace:
        # What is large comes through one CPU in seconds, and doesn't fit into its memory.
        serve(world, namespace, container(world.full_image, web_pod, cpu=1), 1)
        token = account(world.cluster, namespace, "caller", "roadstead-invoke")
        yield [path.rstrip("/") for path in ways(namespace, NAME, FRONT)], token


def pods(world: World, namespace: str) -> set[str]:
    """Names of the pods that are there, also of those that are going."""
    return set(world.cluster.kubectl("get", "pods", "-n", namespace, "-l", f"roadstead.dev/workload={NAME}", "-o", "name").split())


def container(image: str, server: ModuleType, *, cpu: float = 0.1, **more: Any) -> Body:
    """One that runs the text of a module, and is ready as soon as that answers."""
    port = getattr(server, "READY_PORT", server.PORT)
    probe = {"path": "/readyz", "port": port, "initialDelaySeconds": 0, "periodSeconds": 1, "timeoutSeconds": 5}
    return {
        "imageUri": image,
        "entrypoint": ["/usr/bin/python3", "-c", "import os; exec(os.environ['SERVER'])"],
        "environmentVars": [{"name": "SERVER", "value": Path(server.__file__ or "").read_text()}],
        "resourceRequest": {"cpu": cpu, "memory": "128Mi"},
        "readinessProbe": probe,
        **more,
    }


def serve(world: World, namespace: str, one: Body, replicas: int) -> None:
    """Ready pods of a container, and a Deployment in front of them."""
    inline = {"status": "registered", "containerGroups": [{"containers": [one]}]}
    # The Deployment's importance is the pods' too: if it came later they would be replaced at once.
    apply(world.cluster, here(namespace, raw_deployment(FRONT, NAME)))
    wait_for(lambda: status(world.cluster, namespace, FRONT, "rsd"), "the operator to know the Deployment")
    apply(world.cluster, here(namespace, raw_workload(NAME, inline=inline, runtime={"replicaCount": replicas})))
    wait_for(lambda: status(world.cluster, namespace, NAME).get("readyReplicas") == replicas, "ready pods", 120)
    wait_for(lambda: active_workload(world.cluster, namespace, FRONT) == NAME, "the Deployment to have its Workload", 60)


def scales_down(world: World, namespace: str) -> None:
    """Three become one."""
    patch(world.cluster, "rsw", NAME, namespace, runtime={"replicaCount": 1})


def rolls(world: World, namespace: str) -> None:
    """A new version takes the place of all."""
    patch(world.cluster, "rsw", NAME, namespace, restartedAt="2026-11-25T12:00:00Z")


def open_everywhere(streams: Streams, urls: list[str], names: set[str], kinds: Collection[Kind]) -> None:
    """Of each kind until every pod carries one; uploads, which are told only at their end where they went, as many."""
    for kind in kinds:
        if kind is Kind.UPLOAD:
            for number in range(2 * len(names)):
                streams.open(kind, urls[number % len(urls)])
            continue
        opened: list[Stream] = []
        while {each.pod for each in opened} != names:
            assert len(opened) < MOST, f"{kind}: {Counter(each.pod for each in opened)} of {names}"
            one = streams.open(kind, urls[len(opened) % len(urls)])
            wait_for(lambda one=one: one.lines or one.ended, f"the first of {kind}", 60)
            assert not one.ended, one.flaw()
            opened.append(one)


def finish(url: str, token: str, *, calls: bool) -> None:
    """Tell the one pod that is left."""
    if not calls:
        answer = httpx.get(f"{url}finish", headers={"Authorization": f"Bearer {token}"}, timeout=60)
        assert answer.status_code == 200, answer.text
        return
    where = urlsplit(url)
    with grpc.insecure_channel(where.netloc) as channel:
        call = channel.unary_unary(f"{where.path}test.Lines/Finish")
        assert call(b"", metadata=(("authorization", f"Bearer {token}"),), timeout=60) == b"{}"


def test_the_openai_client_streams(world: World, web: tuple[list[str], str]) -> None:
    """From the Workload, and from the Deployment in front of it."""
    paths, token = web
    for path in paths:
        converse(f"{world.gateway.url}{path}", token)


def test_large_bodies(world: World, web: tuple[list[str], str]) -> None:
    """They pass, and neither Envoy nor the gateway's process grows; their container has less memory than that."""
    paths, token = web
    for path in paths:
        transfer(world.gateway, path, token, LARGE_MIB)


@pytest.mark.parametrize("kinds", [(Kind.EVENTS, Kind.SOCKET, Kind.UPLOAD), (Kind.CALL,)], ids=["HTTP", "gRPC"])
@pytest.mark.parametrize(("cause", "staying"), [(scales_down, 1), (rolls, 0)])
def test_long_answers_arrive_whole(
    world: World, namespace: str, cause: Callable[[World, str], None], staying: int, kinds: tuple[Kind, ...]
) -> None:
    """Half of them come to the Workload itself, half by a Deployment in front of it."""
    calls = Kind.CALL in kinds
    one = container(world.full_image, grpc_streamer, protocol="h2c") if calls else container(world.image, streamer)
    serve(world, namespace, one, REPLICAS)
    before = pods(world, namespace)
    names = {name.removeprefix("pod/") for name in before}
    token = account(world.cluster, namespace, "caller", "roadstead-invoke")
    urls = [f"{world.gateway.url}{path}" for path in ways(namespace, NAME, FRONT)]
    with streaming(token) as streams:
        open_everywhere(streams, urls, names, kinds)
        told = [each for each in streams.opened if each.kind is not Kind.UPLOAD]
        cause(world, namespace)
        wait_for(lambda: len({each.pod for each in told if not each.ended}) <= staying, "the streams of pods that go to end", 180)
        streams.hurry()
        wait_for(lambda: len(before & pods(world, namespace)) == staying, "the pods to be gone", 120)
        if staying:
            finish(urls[0], token, calls=calls)
        wait_for(lambda: all(each.ended for each in streams.opened), "all streams to end", 120)
    gone = names - {name.removeprefix("pod/") for name in pods(world, namespace)}
    assert len(gone) == REPLICAS - staying
    for kind in kinds:
        ended = [each for each in streams.opened if each.kind is kind]
        outlasted = [each for each in ended if each.outlasted]
        after = sum(line["terminating"] for each in ended for line in each.lines)
        print(f"{cause.__name__}: {len(ended)} of {kind}, {len(outlasted)} of them beyond SIGTERM, {after} lines after it")
    assert not [flaw for each in streams.opened if (flaw := each.flaw())]
    # Without this the streams would show nothing: those of pods that have gone were there when SIGTERM came, and only those.
    assert {each.pod for each in told if each.outlasted} == gone
    assert all(each.outlasted == (each.pod in gone) for each in told)
    uploaded = {each.pod for each in streams.opened if each.kind is Kind.UPLOAD and each.outlasted}
    assert bool(uploaded) == (Kind.UPLOAD in kinds)
    assert uploaded <= gone
