"""``roadstead operator``: wires kopf's watches, the mirrors, the queue and the Lease, and runs until told to stop."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
from contextlib import AsyncExitStack

import kopf
import uvloop

from roadstead import __version__
from roadstead.controller.controller import Controller
from roadstead.kube.client import ApiClient
from roadstead.kube.config import load
from roadstead.kube.errors import ApiError, NotFound
from roadstead.kube.events import Recorder
from roadstead.kube.lease import Elector
from roadstead.operator import watches
from roadstead.operator.health import Health, served
from roadstead.operator.logs import configure
from roadstead.operator.metrics import Metrics
from roadstead.settings import Settings

log = logging.getLogger(__name__)
WAIT_SECONDS = 5.0
FIRST_SWEEP_SECONDS = 15.0


def run(settings: Settings) -> None:
    """Run the operator in this process until SIGTERM or SIGINT. Raises when the Lease is lost or a watch dies beyond repair."""
    configure(settings)
    uvloop.run(serve(settings))


async def serve(settings: Settings) -> None:
    """As ``run``, in a running loop."""
    config = load(settings.kubeconfig, settings.context)
    agent = f"roadstead-operator/{__version__}"
    identity = settings.identity or f"{socket.gethostname()}-{os.getpid()}"
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with AsyncExitStack() as stack:
        unfenced = await stack.enter_async_context(ApiClient(config, user_agent=agent))
        leadership = Leadership()
        elector = Elector(
            unfenced,
            namespace=settings.namespace,
            name="roadstead-operator",
            identity=identity,
            on_started=leadership.gained,
            on_stopped=leadership.lost,
            lease_seconds=settings.lease_seconds,
            renew_deadline_seconds=settings.renew_deadline_seconds,
            retry_seconds=settings.retry_seconds,
        )
        client = await stack.enter_async_context(ApiClient(config, user_agent=agent, fence=elector.fence))
        recorder = Recorder(client, controller="roadstead.dev/operator", instance=identity)
        metrics = Metrics()
        controller = Controller(client, recorder, metrics.reconciled)
        metrics.watch(controller, elector, (client, unfenced))
        health = Health(controller)
        await stack.enter_async_context(served(health.routes(), settings.health_port))
        await stack.enter_async_context(served(metrics.routes(), settings.metrics_port))
        # kopf takes tasks that appear after its start for its own and cancels them, so ours are started before it.
        tasks = [
            asyncio.create_task(coroutine, name=name)
            for name, coroutine in {
                "controller": controller.run(settings.workers),
                "elector": elector.run(),
                "events": recorder.run(),
                "start": _start(controller, leadership, health),
                "sweep": _sweep(controller, settings),
            }.items()
        ]
        try:
            await _until_stopped(stop, tasks, controller, config_registry=watches.registry(controller.objects.saw, config))
        finally:
            # What is being reconciled is finished before the Lease is given away, so that two leaders never overlap.
            controller.queue.close()
            for name in ("controller", "elector"):
                await _cancelled(*(task for task in tasks if task.get_name() == name))
            await _cancelled(*tasks)


async def _cancelled(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class Leadership:
    """Opens the queue while this replica leads *and* its caches are filled; on gaining the Lease everything is looked at once."""

    def __init__(self) -> None:
        self._leading = False
        self._controller: Controller | None = None

    def gained(self) -> None:
        self._leading = True
        if self._controller is not None:
            self._controller.enqueue_all()
            self._controller.queue.open()

    def lost(self) -> None:
        self._leading = False
        if self._controller is not None:
            self._controller.queue.close()

    def watch(self, controller: Controller) -> None:
        """The caches are filled: from now on leadership alone decides."""
        self._controller = controller
        if self._leading:
            self.gained()


async def _until_stopped(
    stop: asyncio.Event, tasks: list[asyncio.Task[None]], controller: Controller, *, config_registry: kopf.OperatorRegistry
) -> None:
    """Run kopf beside our tasks; the first of them that ends for another reason than a stop takes the process down with it."""
    kopf_stop = asyncio.Event()
    watching = asyncio.create_task(
        kopf.operator(registry=config_registry, settings=watches.settings(), clusterwide=True, stop_flag=kopf_stop), name="kopf"
    )
    stopped = asyncio.create_task(stop.wait(), name="stop")
    once = {task for task in tasks if task.get_name() == "start"}
    waiting = {watching, stopped, *tasks}
    try:
        while waiting:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in done - once:
                if task is not stopped:
                    task.result()
                return
            for task in done:
                task.result()
    finally:
        stopped.cancel()
        kopf_stop.set()
        await asyncio.wait({watching}, timeout=5)
        watching.cancel()
        await asyncio.gather(watching, stopped, return_exceptions=True)


async def _start(controller: Controller, leadership: Leadership, health: Health) -> None:
    """Fill every cache, then open the queue while this replica leads. Nothing is written before that."""
    while True:
        try:
            await controller.fill()
            break
        except NotFound:
            log.warning("Waiting for the custom resource definitions of roadstead.dev; `roadstead crds apply` installs them")
        except ApiError as error:
            log.warning("Waiting for the API server: %s", error)
        await asyncio.sleep(WAIT_SECONDS)
    await controller.mirrors.wait_synced()
    gc.collect()
    gc.freeze()
    health.filled = True
    log.info("Caches are filled")
    leadership.watch(controller)


async def _sweep(controller: Controller, settings: Settings) -> None:
    """Look for missed deletions every so often, and at everything once in a long while."""
    pause, since = FIRST_SWEEP_SECONDS, 0.0
    while True:
        await asyncio.sleep(pause)
        try:
            await controller.sweep()
        except ApiError as error:
            log.warning("The sweep for missed deletions failed and will be repeated: %s", error)
        since += pause
        pause = settings.sweep_seconds
        if since >= settings.resync_seconds:
            controller.enqueue_all()
            since = 0.0
