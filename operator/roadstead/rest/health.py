"""Liveness and readiness of the API. Live: no watch is silent. Ready: live, caches are filled, it listens, and isn't about to end."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web

from roadstead.lag import LoopLag
from roadstead.probes import late, silent
from roadstead.rest.cache import Cache


class Health:
    """What the probes ask. ``listens`` says whether requests are taken; ``leaving`` is set when the process is about to end."""

    def __init__(self, cache: Cache, lag: LoopLag, listens: Callable[[], bool]) -> None:
        self._cache = cache
        self._listens = listens
        self._lag = lag
        self.leaving = False

    def unready(self) -> str | None:
        """Why no request should come here, in a sentence."""
        if self.leaving:
            return "about to end"
        if not self._cache.filled:
            return "caches are being filled"
        if not self._listens():  # the first thing that is done with full caches
            return "about to listen"
        return late(self._lag) or silent(self._cache.reflectors)

    async def livez(self, _: web.Request) -> web.Response:
        problem = silent(self._cache.reflectors)
        return web.Response(text=problem or "ok", status=503 if problem else 200)

    async def readyz(self, _: web.Request) -> web.Response:
        problem = self.unready()
        return web.Response(text=problem or "ok", status=503 if problem else 200)

    def routes(self) -> list[web.RouteDef]:
        """The probes' paths."""
        return [web.get("/livez", self.livez), web.get("/readyz", self.readyz)]
