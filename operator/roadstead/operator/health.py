"""Liveness and readiness over HTTP.

Live: what a restart may cure hasn't happened: a watch that is silent, a key that no worker takes. (An API server that can't be reached
is no such thing: a restart would only lose what is known.) Ready: live, caches are filled,
whether this replica leads or not, the event loop turns in time, and no worker hangs: the others go on, so a restart would cost more
than it cures.
"""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web

from roadstead.controller.controller import Controller
from roadstead.lag import LoopLag
from roadstead.operator.pulse import Pulse
from roadstead.probes import late, silent

WAITING_SECONDS = 600.0
"""Even a burst of thousands is through by then; a key that still waits has workers that hang."""
HELD_SECONDS = 600.0
"""Every call of a reconcile has a time-out, and the first that fails ends it."""


class Health:
    """What the probes ask. ``filled`` is set by the process when every cache has been filled once."""

    def __init__(self, controller: Controller, pulses: Sequence[Pulse], lag: LoopLag) -> None:
        self._controller = controller
        self._pulses = pulses
        self._lag = lag
        self.filled = False

    def problem(self) -> str | None:
        """A sentence on what is wrong with a filled process, or None."""
        if not self.filled:
            return None
        if (waits := self._controller.queue.oldest_age_seconds) > WAITING_SECONDS:
            return f"an object has waited {waits:.0f} s to be reconciled"
        return silent((*self._controller.mirrors.reflectors, *self._pulses))

    async def livez(self, _: web.Request) -> web.Response:
        problem = self.problem()
        return web.Response(text=problem or "ok", status=503 if problem else 200)

    async def readyz(self, _: web.Request) -> web.Response:
        problem = self.problem() if self.filled else "caches are being filled"
        problem = problem or self._hangs() or late(self._lag)
        return web.Response(text=problem or "ok", status=503 if problem else 200)

    def _hangs(self) -> str | None:
        """Whether a worker has held its object for too long, in a sentence."""
        held = self._controller.queue.longest_held_seconds
        return f"a worker has reconciled one object for {held:.0f} s" if held > HELD_SECONDS else None

    def routes(self) -> list[web.RouteDef]:
        """The probes' paths."""
        return [web.get("/livez", self.livez), web.get("/readyz", self.readyz)]
