"""Cold starts while a gateway process is away or has just come back: no request is let through to what its Envoy doesn't know yet.

An Envoy asks for its configuration and for permission by two connections, which may lead to two processes at such a time. Here what the
sibling tells an Envoy is late, so that a permission by anybody else comes too early.
"""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import httpx
import pytest

from hack.cluster.control import ControlCluster, free_ports
from tests.clusters import wait_for
from tests.support.gateways import PORTS, Replica, certificates, gateway_access, replica
from tests.support.place import Place
from tests.support.pods import Pod, pod

LATE_SECONDS = 1.0


@dataclass
class Relay:
    """Passes on what comes at a port of its own; what is said back by the other side as late as ``late_seconds`` says."""

    port: int
    target: int
    late_seconds: float = 0.0

    async def serve(self, running: Future[Callable[[], object]]) -> None:
        """Until what ``running`` gets is called, from any thread."""
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        server = await asyncio.start_server(self._connected, "127.0.0.1", self.port)
        running.set_result(lambda: loop.call_soon_threadsafe(stop.set))
        await stop.wait()
        server.close()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.close()
            return
        await asyncio.gather(self._pass(reader, back, late=False), self._pass(there, writer, late=True), return_exceptions=True)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, late: bool) -> None:
        try:
            while data := await reader.read(65536):
                if late and self.late_seconds:
                    await asyncio.sleep(self.late_seconds)
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()


@contextmanager
def relaying(target: int) -> Iterator[Relay]:
    relay = Relay(free_ports(1)[0], target)
    running: Future[Callable[[], object]] = Future()
    thread = threading.Thread(target=lambda: asyncio.run(relay.serve(running)), daemon=True)
    thread.start()
    stop = running.result(10)
    try:
        yield relay
    finally:
        stop()
        thread.join(10)


@dataclass(frozen=True)
class Pair:
    """Two replicas; ``relay`` is the way from the first one's Envoy to the second one's process."""

    first: Replica
    second: Replica
    relay: Relay


@pytest.fixture(scope="module")
def pair(cluster: ControlCluster) -> Iterator[Pair]:
    names = ("gateway-0", "gateway-1")
    ports = [dict(zip(PORTS, free_ports(len(PORTS)), strict=True)) for _ in names]
    folder, access = certificates(cluster.state / "gateway-certificates"), gateway_access(cluster)
    with ExitStack() as stack:
        relay = stack.enter_context(relaying(ports[1]["peer"]))
        seen = [{**ports[1], "peer": relay.port}, ports[0]]
        made = [
            replica(cluster, access, name, ports=mine, peer_ports=(other,), certificates=folder)
            for name, mine, other in zip(names, ports, seen, strict=True)
        ]
        for one in made:
            stack.callback(one.stop)
            one.start_process()
            one.start_envoy()
        for one in made:
            one.wait_ready()
        yield Pair(made[0], made[1], relay)


@pytest.fixture
def served() -> Iterator[Pod]:
    with pod() as one:
        yield one


def configured(one: Replica) -> bool:
    """Whether its Envoy is connected to anybody who configures it."""
    said = httpx.get(f"http://127.0.0.1:{one.ports['admin']}/stats?filter=^control_plane.connected_state$", timeout=5).text
    return said.strip().endswith(": 1")


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class ColdStarts:
    """Requests for Workloads at zero, each of which gets a ready pod as soon as a gateway holds the request."""

    def __init__(self, place: Place, served: Pod, pool: ThreadPoolExecutor) -> None:
        self._place, self._served, self._pool = place, served, pool
        self._asked: list[Future[httpx.Response]] = []

    def one(self) -> None:
        name = self._place.workload()
        self._asked.append(self._pool.submit(httpx.get, self._place.url(name), headers=self._place.headers, timeout=60))
        time.sleep(0.3)
        self._place.pods(name, self._served)

    def answers(self) -> list[tuple[int, str]]:
        """Status of each, and what was said with those that aren't 200."""
        found = [one.result() for one in self._asked]
        return [(answer.status_code, "" if answer.status_code == 200 else answer.text) for answer in found]


@pytest.mark.long
def test_cold_starts_while_a_process_starts_anew(cluster: ControlCluster, namespace: str, pair: Pair, served: Pod) -> None:
    place = Place(cluster, namespace, pair.first)
    with ThreadPoolExecutor(40) as pool:
        starts = ColdStarts(place, served, pool)
        starts.one()
        pair.first.kill_process()
        time.sleep(2)
        wait_for(lambda: configured(pair.first), "the Envoy to be configured by the sibling")
        pair.relay.late_seconds = LATE_SECONDS
        pair.first.start_process()
        wait_for(lambda: listens(pair.first.ports["control"]), "the process to have filled its mirrors", 30, 0.02)
        deadline = time.monotonic() + 8
        while time.monotonic() < deadline:
            starts.one()
        pair.relay.late_seconds = 0
        assert set(starts.answers()) == {(200, "")}
    pair.first.wait_ready()


@pytest.mark.long
def test_cold_starts_when_a_process_has_just_gone(cluster: ControlCluster, namespace: str, pair: Pair, served: Pod) -> None:
    place = Place(cluster, namespace, pair.first)
    with ThreadPoolExecutor(40) as pool:
        starts = ColdStarts(place, served, pool)
        for _ in range(3):
            starts.one()
            pair.first.kill_process()
            for _ in range(4):
                starts.one()
            pair.first.start_process()
            pair.first.wait_ready()
        assert set(starts.answers()) == {(200, "")}
