"""What is asked of the Envoy beside us over its administration port: whether it serves, its figures, and to drain at the end."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

import aiohttp

log = logging.getLogger(__name__)
ASK_SECONDS: Final = 5.0
LOOK_SECONDS: Final = 0.5
SILENCES: Final = 3
"""After so many questions without an answer, one after the other, Envoy counts as gone; a busy one may fail to answer once."""
QUIET_SECONDS: Final = 1.0
LATE_SECONDS: Final = 30.0
"""Longer than a proxy on a busy node needs to learn that a pod has left."""
ACTIVE: Final = "http.gateway.downstream_rq_active"
BEGUN: Final = "http.gateway.downstream_rq_total"


class Admin:
    """Envoy's administration on loopback; enter it before use. While nobody answers there the answers are None or False."""

    def __init__(self, port: int) -> None:
        self._base = f"http://127.0.0.1:{port}"
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Admin:
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=ASK_SECONDS))
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def serves(self) -> bool:
        """Whether Envoy takes requests: its configuration has come, and it isn't about to end."""
        text = await self._ask("GET", "/ready")
        return text is not None and text.strip() == "LIVE"

    async def figures(self, filter: str) -> str | None:
        """Statistics whose names match, as JSON, with cumulative buckets of histograms."""
        return await self._ask("GET", "/stats", format="json", usedonly="", histogram_buckets="cumulative", filter=filter)

    async def load(self) -> tuple[int, int] | None:
        """Requests under way, and how many have begun so far; None if nobody says."""
        text = await self._ask("GET", "/stats", filter=f"^({ACTIVE}|{BEGUN})$")
        if text is None:
            return None
        figures = {name: int(value) for name, _, value in (line.rpartition(": ") for line in text.splitlines())}
        return figures.get(ACTIVE, 0), figures.get(BEGUN, 0)

    async def drain(self) -> None:
        """Ask clients to reconnect elsewhere, and let what is under way finish."""
        await self._ask("POST", "/drain_listeners", graceful="", skip_exit="")

    async def drained(self, limit_seconds: float) -> None:
        """Return when no request has been under way or begun for QUIET_SECONDS, or the time is over, or Envoy is gone.

        Who is asked to reconnect elsewhere may be led here again, by a proxy or a balancer that doesn't know yet that this pod leaves; at
        one moment between two of his requests nothing is under way. After LATE_SECONDS only what is under way is waited for: who still
        comes then is a balancer that looks after its backends.
        """
        clock = asyncio.get_running_loop().time
        began = rested = clock()
        load, known, silences = await self.load(), None, 0
        while clock() - began < limit_seconds:
            silences = silences + 1 if load is None else 0
            if silences == SILENCES:
                return
            if load is not None:
                active, begun = load
                if active or begun != known:
                    known, rested = begun, clock()
                if not active and (clock() - rested >= QUIET_SECONDS or clock() - began >= LATE_SECONDS):
                    return
            await asyncio.sleep(LOOK_SECONDS)
            load = await self.load()
        if load is not None and load[0]:
            log.warning("%d requests are still under way after %g s", load[0], limit_seconds)

    async def _ask(self, method: str, path: str, **query: str) -> str | None:
        if self._session is None:
            raise RuntimeError("not entered")
        try:
            async with self._session.request(method, f"{self._base}{path}", params=query) as answer:
                text = await answer.text()
                return text if answer.status == 200 else None
        except (aiohttp.ClientError, TimeoutError):
            return None
