"""The gateway's own scaler on a cluster's mirrors, without an Envoy: a test says what Envoy would have reported, and what time it is."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvloop

from roadstead.api.identity import object_id
from roadstead.gateway.directory import Directory
from roadstead.gateway.ledger.ledger import Ledger
from roadstead.gateway.mirrors import Mirrors
from roadstead.gateway.rpc.connection import serving
from roadstead.gateway.scaler.demand import Demand
from roadstead.gateway.scaler.service import ScalerService
from roadstead.gateway.waking import Waking
from roadstead.kube.client import ApiClient
from roadstead.kube.config import load


class NoEnvoy:
    """Takes every configuration for acknowledged."""

    def put(self, *_: object) -> None: ...

    def drop(self, *_: object) -> None: ...

    async def acknowledged(self, *_: object) -> None: ...


class ScalingGateway:
    """Runs in a thread of its own, on the loop that the process runs on."""

    def __init__(self, kubeconfig: Path) -> None:
        self.address = ""
        self.known = True
        """False: as after a restart, before peers and Envoy have reported."""
        self.shift_seconds = 0.0
        """How far its clock is ahead."""
        self.ledger: Ledger
        self._kubeconfig = kubeconfig
        self._started = threading.Event()
        self._ended: asyncio.Event
        self._loop: Any = None
        self._thread = threading.Thread(target=lambda: uvloop.run(self._serve()), daemon=True)

    def start(self) -> None:
        self._thread.start()
        assert self._started.wait(60), "the mirrors are not filled"

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(30)

    def use(self, namespace: str, name: str, in_flight: int, issued: int = 0) -> None:
        """What Envoy reports of a Workload's own endpoint."""
        self.run(lambda: self.ledger.report("envoy", f"w-{object_id('workloads', namespace, name)}", in_flight, issued, 0))

    def run(self, work: Callable[[], None]) -> None:
        """Do something in the gateway's loop, and wait until it is done."""
        done = threading.Event()
        self._loop.call_soon_threadsafe(lambda: (work(), done.set()))
        assert done.wait(10)

    async def _serve(self) -> None:
        self._loop, self._ended = asyncio.get_running_loop(), asyncio.Event()
        async with ApiClient(load(self._kubeconfig), user_agent="roadstead-gateway/test") as client:
            directory = Directory(NoEnvoy())
            self.ledger = Ledger("test", clock=lambda: time.time() + self.shift_seconds)
            self.ledger.attended_since = 0.0  # it takes the place of one that has been there for long
            Waking(directory, self.ledger)
            mirrors = Mirrors(client, directory, "default", "")
            demand = Demand(self.ledger, directory, ready=lambda: mirrors.filled and self.known, hears_all=lambda: True)
            service = ScalerService(self.ledger, demand)
            tasks = [asyncio.create_task(loop) for loop in (*mirrors.loops().values(), service.run())]
            async with serving(service.connection, "127.0.0.1", 0) as port:
                self.address = f"127.0.0.1:{port}"
                await mirrors.wait_filled()
                self._started.set()
                await self._ended.wait()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


@contextmanager
def scaling_gateway(kubeconfig: Path) -> Iterator[ScalingGateway]:
    """For the length of the ``with`` block."""
    gateway = ScalingGateway(kubeconfig)
    gateway.start()
    try:
        yield gateway
    finally:
        gateway.stop()
