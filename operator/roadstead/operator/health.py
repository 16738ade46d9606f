"""Liveness and readiness over HTTP.

Live: what a restart may cure hasn't happened: a watch that is silent, a key that no worker takes. (An API server that can't be reached
is no such thing: a restart would only lose what is known.) Ready: live, caches are filled,
whether this replica leads or not, and the event loop turns in time.
"""

from __future__ import annotations

import time

from aiohttp import web

from roadstead.controller.controller import Controller
from roadstead.lag import LoopLag

SILENT_SECONDS = 180.0
"""Bookmarks come once a minute; a watch without a word for three has been lost."""
WAITING_SECONDS = 600.0
"""Even a burst of thousands is through by then; a key that still waits has workers that hang."""
LATE_SECONDS = 5.0
"""An event loop so late renews no Lease in time."""


class Health:
    """What the probes ask. ``filled`` is set by the process when every cache has been filled once."""

    def __init__(self, controller: Controller, lag: LoopLag) -> None:
        self._controller = controller
        self._lag = lag
        self.filled = False

    def problem(self) -> str | None:
        """A sentence on what is wrong with a filled process, or None."""
        if not self.filled:
            return None
        now = time.monotonic()
        if (waits := self._controller.queue.oldest_age_seconds) > WAITING_SECONDS:
            return f"an object has waited {waits:.0f} s to be reconciled"
        for reflector in self._controller.mirrors.reflectors:
            silent = now - max(reflector.last_heard, reflector.last_failed)
            if reflector.present and silent > SILENT_SECONDS:
                return f"the watch of {reflector.resource.plural} has been silent for {silent:.0f} s"
        return None

    async def livez(self, _: web.Request) -> web.Response:
        problem = self.problem()
        return web.Response(text=problem or "ok", status=503 if problem else 200)

    async def readyz(self, _: web.Request) -> web.Response:
        problem = self.problem() if self.filled else "caches are being filled"
        if problem is None and (late := self._lag.worst_seconds) > LATE_SECONDS:
            problem = f"the event loop was {late:.1f} s late"
        return web.Response(text=problem or "ok", status=503 if problem else 200)

    def routes(self) -> list[web.RouteDef]:
        """The probes' paths."""
        return [web.get("/livez", self.livez), web.get("/readyz", self.readyz)]
