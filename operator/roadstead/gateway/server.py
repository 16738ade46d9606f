"""``roadstead gateway``: wires mirrors, Envoy's configuration, permission, waking, counts and KEDA's scaler, and runs until told to stop.

The end loses no request: readiness goes first, so that load balancers look elsewhere; then Envoy asks its clients to reconnect and
finishes what is under way, for which this process goes on authorising; what it counted is handed to its peers and to disk.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from contextlib import AsyncExitStack

import uvloop

from roadstead import __version__, descriptors, heap
from roadstead.gateway.admin import Admin
from roadstead.gateway.exposition import Exposition
from roadstead.gateway.health import Health
from roadstead.gateway.http import listening
from roadstead.gateway.ledger.history import MINUTES
from roadstead.gateway.parts import Parts
from roadstead.gateway.waking import Answer
from roadstead.kube.client import ApiClient
from roadstead.kube.config import load
from roadstead.lag import LoopLag
from roadstead.lifetime import ended, only_told, ready_or_stopped, until
from roadstead.listener import metrics_route, served
from roadstead.logs import configure
from roadstead.settings import GatewaySettings
from roadstead.tls import Certificates

log = logging.getLogger(__name__)
LOOPBACK = "127.0.0.1"
IN_FLIGHT = 256
"""Reviews under way at once."""
ENDING = Answer(503, "the gateway ends; try again", 1.0)


def run(settings: GatewaySettings) -> None:
    """Serve in this process until SIGTERM or SIGINT. Raises when one of its parts ends beyond repair."""
    configure(settings.log_format, settings.log_level)
    descriptors.raise_limit()
    uvloop.run(serve(settings))


async def serve(settings: GatewaySettings) -> None:
    """As ``run``, in a running loop."""
    identity = settings.identity or f"{socket.gethostname()}-{os.getpid()}"
    if settings.minute_seconds != GatewaySettings().minute_seconds:
        log.warning("An hour of counts lasts %g s: this is for tests only", settings.minute_seconds * MINUTES)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with AsyncExitStack() as stack:
        config = load(settings.kubeconfig, settings.context)
        client = await stack.enter_async_context(ApiClient(config, user_agent=f"roadstead-gateway/{__version__}", max_in_flight=IN_FLIGHT))
        admin = await stack.enter_async_context(Admin(settings.admin_port))
        certificates = Certificates(settings.certificates) if settings.certificates is not None else None
        parts = Parts(settings, identity, client, admin, certificates)
        lag = LoopLag(parts.metrics.lagged)
        health = Health(parts.mirrors, admin, lag)
        await stack.enter_async_context(served(health.routes(), settings.health_port))
        await stack.enter_async_context(
            served([metrics_route(parts.metrics.registry), Exposition(parts.ledger).route()], settings.metrics_port)
        )
        heap.fills()
        tasks = {name: asyncio.create_task(loop, name=name) for name, loop in parts.mirrors.loops().items()}
        tasks["lag"] = asyncio.create_task(lag.run(), name="lag")
        try:
            if await ready_or_stopped(parts.mirrors.wait_filled(), stop, tasks):
                heap.is_full()
                if certificates is not None:
                    asked = listening(parts.guests, None, settings.peer_authoriser_port, certificates)
                    await stack.enter_async_context(asked)
                await stack.enter_async_context(parts.control)
                tasks |= {name: asyncio.create_task(loop, name=name) for name, loop in parts.loops().items()}
                if await ready_or_stopped(parts.attached(), stop, tasks):
                    await stack.enter_async_context(listening(parts.authoriser, LOOPBACK, settings.authoriser_port))
                    log.info("Configures Envoy and authorises")
                    health.listening = await ready_or_stopped(parts.counted(), stop, tasks)
                    await until(stop, tasks)
                only_told(tasks)
                health.leaving = True
                parts.control.leave()
                log.info("Told to stop; new requests are taken for another %g s", settings.drain_seconds)
                await asyncio.sleep(settings.drain_seconds)
                await admin.drain()
                await admin.drained(settings.drain_limit_seconds)
                parts.waking.answer_all(ENDING)
                await ended(tasks.pop("checkpoint"))  # it writes to the file that is written for the last time now
                await parts.close()
        finally:
            await ended(*tasks.values())
