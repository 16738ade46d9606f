"""Liveness and readiness of the gateway. Live: no watch is silent. Ready: mirrors are filled, Envoy serves, and it isn't about to end.

Readiness says whether requests should come to this pod; Envoy's own word is part of it, since its administration listens on loopback.
"""

from __future__ import annotations

from aiohttp import web

from roadstead.gateway.admin import Admin
from roadstead.gateway.mirrors import Mirrors
from roadstead.lag import LoopLag
from roadstead.probes import late, silent


class Health:
    """What the probes ask. ``leaving`` is set when the process is about to end, ``listening`` once it takes questions and knows counts."""

    def __init__(self, mirrors: Mirrors, admin: Admin, lag: LoopLag) -> None:
        self._mirrors = mirrors
        self._admin = admin
        self._lag = lag
        self.leaving = False
        self.listening = False

    async def unready(self) -> str | None:
        """Why no request should come here, in a sentence."""
        if self.leaving:
            return "about to end"
        if not self._mirrors.filled:
            return "mirrors are being filled"
        if not self.listening:
            return "Envoy or the other replicas haven't told yet what is going on"
        if problem := late(self._lag) or silent(self._mirrors.reflectors):
            return problem
        return None if await self._admin.serves() else "Envoy doesn't serve yet"

    async def livez(self, _: web.Request) -> web.Response:
        problem = silent(self._mirrors.reflectors)
        return web.Response(text=problem or "ok", status=503 if problem else 200)

    async def readyz(self, _: web.Request) -> web.Response:
        problem = await self.unready()
        return web.Response(text=problem or "ok", status=503 if problem else 200)

    def routes(self) -> list[web.RouteDef]:
        """The probes' paths."""
        return [web.get("/livez", self.livez), web.get("/readyz", self.readyz)]
