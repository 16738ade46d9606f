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
ACTIVE: Final = "http.gateway.downstream_rq_active"


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

    async def active(self) -> int | None:
        """Requests under way; None if nobody says."""
        text = await self._ask("GET", "/stats", filter=f"^{ACTIVE}$")
        return None if text is None else int(text.rpartition(":")[2] or 0)

    async def drain(self) -> None:
        """Ask clients to reconnect elsewhere, and let what is under way finish."""
        await self._ask("POST", "/drain_listeners", graceful="", skip_exit="")

    async def drained(self, limit_seconds: float) -> None:
        """Return when no request is under way any more, or the time is over, or Envoy is gone."""
        deadline = asyncio.get_running_loop().time() + limit_seconds
        left, silences = await self.active(), 0
        while left != 0 and asyncio.get_running_loop().time() < deadline:
            silences = silences + 1 if left is None else 0
            if silences == SILENCES:
                break
            await asyncio.sleep(LOOK_SECONDS)
            left = await self.active()
        if left:
            log.warning("%d requests are still under way after %g s", left, limit_seconds)

    async def _ask(self, method: str, path: str, **query: str) -> str | None:
        if self._session is None:
            raise RuntimeError("not entered")
        try:
            async with self._session.request(method, f"{self._base}{path}", params=query) as answer:
                text = await answer.text()
                return text if answer.status == 200 else None
        except (aiohttp.ClientError, TimeoutError):
            return None
