"""``roadstead api``: wires mirrors, reviews, application and listeners, and runs until told to stop.

The end loses no request: first readiness goes, so that load balancers look elsewhere, and answers ask clients to reconnect; then no
connection is taken any more, and what is under way is finished.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import Iterator
from contextlib import AsyncExitStack

import uvicorn
import uvloop

from roadstead import __version__, descriptors, heap
from roadstead.access.callers import Callers
from roadstead.access.rights import Rights
from roadstead.access.verdicts import Keeping
from roadstead.kube.client import ApiClient
from roadstead.kube.config import load
from roadstead.lag import LoopLag
from roadstead.lifetime import ended, ready_or_stopped, until
from roadstead.listener import metrics_route, served
from roadstead.logs import configure
from roadstead.rest.app import build
from roadstead.rest.cache import Cache
from roadstead.rest.context import Api
from roadstead.rest.edge import Edge
from roadstead.rest.figures import GatewayFigures
from roadstead.rest.health import Health
from roadstead.rest.keda import Keda
from roadstead.rest.metrics import Metrics
from roadstead.rest.operators import Operators
from roadstead.rest.pages import Proxies
from roadstead.rest.prometheus import Prometheus
from roadstead.rest.protocol import Protocol
from roadstead.rest.reads import Reads
from roadstead.rest.statistics import Statistics
from roadstead.rest.store import Store
from roadstead.settings import ApiSettings

log = logging.getLogger(__name__)
IN_FLIGHT = 256
"""Calls of the API server under way at once for callers; a Workload's creation takes three."""
KEEP_ALIVE_SECONDS = 75


def run(settings: ApiSettings) -> None:
    """Serve in this process until SIGTERM or SIGINT. Raises when one of its parts ends beyond repair."""
    configure(settings.log_format, settings.log_level)
    descriptors.raise_limit()
    uvloop.run(serve(settings))


class Server(uvicorn.Server):
    """uvicorn's, without its signal handlers: the end is ours to order."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(settings: ApiSettings) -> None:
    """As ``run``, in a running loop."""
    agent = f"roadstead-api/{__version__}"
    own_config = load(settings.kubeconfig, settings.context)
    callers_config = load(settings.kubeconfig, settings.context, credentials=False)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with AsyncExitStack() as stack:
        own = await stack.enter_async_context(ApiClient(own_config, user_agent=agent, max_in_flight=IN_FLIGHT))
        # Its calls may outlast their requests (Store.through), so the time of a request is no limit of theirs.
        lent = await stack.enter_async_context(ApiClient(callers_config, user_agent=agent, max_in_flight=IN_FLIGHT))
        metrics = Metrics()
        api = assembled(settings, own, lent, metrics)
        stack.push_async_callback(api.statistics.close)
        edge = Edge(build(api), settings=settings, callers=api.callers, proxies=api.proxies, metrics=metrics)
        lag = LoopLag(metrics.lagged)
        server = Server(config(settings, edge))
        health = Health(api.cache, lag, lambda: server.started)
        await stack.enter_async_context(served(health.routes(), settings.health_port))
        await stack.enter_async_context(served([metrics_route(metrics.registry)], settings.metrics_port))
        heap.fills()
        tasks = {name: asyncio.create_task(loop_, name=name) for name, loop_ in api.cache.loops().items()}
        tasks["operators"] = asyncio.create_task(api.operators.run())
        tasks["lag"] = asyncio.create_task(lag.run())
        try:
            if await ready_or_stopped(api.cache.wait_filled(), stop, tasks):
                heap.is_full()
                tasks["server"] = asyncio.create_task(server.serve(), name="server")
                await until(stop, tasks)
                health.leaving = edge.draining = True
                log.info("Told to stop; takes requests for another %g s", settings.drain_seconds)
                await asyncio.sleep(settings.drain_seconds)
                server.should_exit = True
                await tasks["server"]
                await api.store.settled()
        finally:
            await ended(*tasks.values())


def assembled(settings: ApiSettings, own: ApiClient, lent: ApiClient, metrics: Metrics) -> Api:
    """The parts of one process. ``lent`` is a client without credentials, for calls with the callers' own."""
    cache = Cache(own)
    metrics.watch(cache, (own, lent))
    keeping = Keeping(settings.verdict_seconds, settings.refusal_seconds, lambda: float(cache.platform.gateway.stale_verdicts_seconds))
    callers = Callers(own, settings.audience, keeping)
    rights = Rights(own, keeping)
    return Api(
        settings=settings,
        cache=cache,
        callers=callers,
        rights=rights,
        reads=Reads(rights, metrics.missed),
        store=Store(lent, own, callers, rights),
        operators=Operators(own, settings.namespace),
        keda=Keda(own),
        statistics=Statistics(GatewayFigures(settings.gateway, settings.certificates), _prometheus(settings)),
        proxies=Proxies.of(settings.trusted_proxies),
    )


def _prometheus(settings: ApiSettings) -> Prometheus | None:
    if not settings.prometheus:
        return None
    return Prometheus(settings.prometheus, settings.prometheus_token_file, settings.prometheus_ca_file, settings.prometheus_labels)


def config(settings: ApiSettings, app: Edge) -> uvicorn.Config:
    """uvicorn's settings. It believes no X-Forwarded header: ``pages`` does, of trusted proxies."""
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        loop="none",
        http=Protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=round(settings.request_seconds) + 1,
    )
