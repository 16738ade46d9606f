"""Liveness and readiness over HTTP.

Live: no watch has been silent for too long and the event loop turns. Ready: caches are filled, whether this replica leads or not.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from roadstead.controller.controller import Controller

SILENT_SECONDS = 180.0
"""Bookmarks come once a minute; a watch without a word for three has been lost."""


class Health:
    """What the probes ask. ``filled`` is set by the process when every cache has been filled once."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        self.filled = False

    def problem(self) -> str | None:
        """A sentence on what is wrong with a filled process, or None."""
        now = time.monotonic()
        for reflector in self._controller.mirrors.reflectors:
            if self.filled and reflector.present and now - reflector.last_heard > SILENT_SECONDS:
                return f"the watch of {reflector.resource.plural} has been silent for {now - reflector.last_heard:.0f} s"
        return None

    async def livez(self, _: web.Request) -> web.Response:
        problem = self.problem()
        return web.Response(text=problem or "ok", status=503 if problem else 200)

    async def readyz(self, _: web.Request) -> web.Response:
        return web.Response(text="ok" if self.filled else "caches are being filled", status=200 if self.filled else 503)

    def routes(self) -> list[web.RouteDef]:
        """The probes' paths."""
        return [web.get("/livez", self.livez), web.get("/readyz", self.readyz)]


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
