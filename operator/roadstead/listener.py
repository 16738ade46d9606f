"""The small listeners beside a process's own work: probes and metrics, each on a port of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import prometheus_client as prometheus
from aiohttp import web


@asynccontextmanager
async def served(routes: list[web.RouteDef], port: int) -> AsyncIterator[None]:
    """Serve the routes on all addresses while the context lasts; port 0 serves nothing."""
    if port == 0:
        yield
        return
    app = web.Application()
    app.add_routes(routes)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, port=port).start()
        yield
    finally:
        await asyncio.shield(runner.cleanup())


def metrics_route(registry: prometheus.CollectorRegistry) -> web.RouteDef:
    """``/metrics`` of a registry, in the form that the scraper asks for."""

    async def metrics(request: web.Request) -> web.Response:
        encoder, content_type = prometheus.exposition.choose_encoder(request.headers.get("Accept", ""))
        return web.Response(body=encoder(registry), headers={"Content-Type": content_type})

    return web.get("/metrics", metrics)
