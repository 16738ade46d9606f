"""``roadstead operator``: wires kopf's watches, the mirrors, the queue and the Lease, and runs until told to stop.

Start-up waits for whatever isn't there yet. The end goes backwards: no key is handed out any more, what is being reconciled is
finished, its Events are stored, the Lease is given back, and only then everything else stops.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from contextlib import AsyncExitStack

import uvloop

from roadstead import __version__
from roadstead.controller.controller import OURS, Controller
from roadstead.kube.client import ApiClient
from roadstead.kube.config import load
from roadstead.kube.events import Recorder
from roadstead.kube.lease import Elector
from roadstead.lag import LoopLag
from roadstead.lifetime import ended, until
from roadstead.listener import served
from roadstead.logs import configure, set_level
from roadstead.names import OPERATOR_LEASE
from roadstead.operator.health import Health
from roadstead.operator.leadership import Leadership
from roadstead.operator.metrics import Metrics
from roadstead.operator.pulse import Pulses
from roadstead.operator.startup import Startup
from roadstead.settings import Settings


def run(settings: Settings) -> None:
    """Run the operator in this process until SIGTERM or SIGINT. Raises when one of its parts ends beyond repair."""
    configure(settings.log_format, settings.log_level)
    uvloop.run(serve(settings))


async def serve(settings: Settings) -> None:
    """As ``run``, in a running loop."""
    config = load(settings.kubeconfig, settings.context)
    identity = settings.identity or f"{socket.gethostname()}-{os.getpid()}"
    agent = f"roadstead-operator/{__version__} ({identity})"
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def heed_signals() -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)

    heed_signals()
    async with AsyncExitStack() as stack:
        unfenced = await stack.enter_async_context(ApiClient(config, user_agent=agent))
        leadership = Leadership()
        elector = Elector(
            unfenced,
            namespace=settings.namespace,
            name=OPERATOR_LEASE,
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
        controller = Controller(
            client,
            recorder,
            gateway=(settings.namespace, settings.gateway_service),
            reconciled=metrics.reconciled,
            waited=metrics.waited,
            settings_in_force=lambda platform: set_level(platform.logging.level or settings.log_level),
        )
        pulses = Pulses(OURS.values())
        metrics.watch(controller, elector, (client, unfenced), pulses.all)
        lag = LoopLag(metrics.lagged)
        health = Health(controller, pulses.all, lag)
        await stack.enter_async_context(served(health.routes(), settings.health_port))
        await stack.enter_async_context(served(metrics.routes(), settings.metrics_port))
        startup = Startup(controller, leadership, health, pulses, settings)
        parts = {
            "elector": elector.run(),
            "events": recorder.run(),
            "controller": startup.reconcile(),
            "open": startup.open(),
            "watches": startup.watch(config, heed_signals),
            "sweep": startup.sweep(),
            "lag": lag.run(),
        }
        tasks = {name: asyncio.create_task(coroutine, name=name) for name, coroutine in parts.items()}
        try:
            await until(stop, tasks)
        finally:
            # Under 5 s also when the API server hangs: 3 s for what is being reconciled, 0.5 s for Events, 1 s for the Lease, and 0.1 s for
            # the connections of each client.
            controller.queue.close()
            tasks["watches"].cancel()
            await ended(tasks["controller"])
            await recorder.flush()
            await ended(tasks["elector"])
            await ended(*tasks.values())
