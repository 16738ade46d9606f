"""A Prometheus that scrapes the gateway: asked for what the gateway itself doesn't know, or doesn't know any more.

Its HTTP API (``/api/v1/query``), which Thanos, Mimir and VictoriaMetrics have too. No answer is no error here: it is said once in the log,
and the caller then knows nothing from here.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

import aiohttp
import orjson

from roadstead import __version__
from roadstead.counts import Figures
from roadstead.rest import promql
from roadstead.rest.promql import Span

log = logging.getLogger(__name__)
T = TypeVar("T")
ANSWER_SECONDS: Final = 10.0
"""For a question, with the time it waits for others."""
AT_ONCE: Final = 4
"""Questions side by side: each may have to read millions of samples."""
LARGEST_BYTES: Final = 1_048_576
"""An answer is some thirty numbers."""
QUIET_SECONDS: Final = 60.0
"""Between two words about it in the log."""
TLS_CLOSING_SECONDS: Final = 0.1


class Prometheus:
    """``url`` is the one that ``/api/v1/query`` is added to. The files are read for each question, so that a renewal takes no restart.

    ``labels`` are those that the series have besides their own. Close it at the end.
    """

    def __init__(
        self, url: str, token: Path | None = None, authority: Path | None = None, labels: tuple[tuple[str, str], ...] = ()
    ) -> None:
        self._url = f"{url.rstrip('/')}/api/v1/query"
        self._token = token
        self._authority = authority
        self._labels = labels
        self._trusted: tuple[bytes, ssl.SSLContext] | None = None
        self._session: aiohttp.ClientSession | None = None
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._problem: str | None = None
        self._quiet_until = 0.0

    async def figures(self, key: str, span: Span) -> Figures | None:
        """What was counted at an endpoint; None if that isn't known. ``start`` and ``end`` are of the part of the span that is."""
        found, latencies = await asyncio.gather(
            self._asked(promql.counted(key, span, self._labels), span, lambda answer: promql.figures(answer, span)),
            self._asked(promql.timed(key, span, self._labels), span, promql.latencies),
        )
        return None if found is None else found.model_copy(update={"latencies": latencies})

    async def last_request(self, key: str, span: Span) -> float | None:
        """When the endpoint got its last request in a span; None if that isn't known, or there was none."""
        return await self._asked(promql.requested(key, span, self._labels), span, promql.last_request)

    async def close(self) -> None:
        """Ask nothing any more."""
        if self._session is not None:
            await self._session.close()
            if self._url.startswith("https:"):
                await asyncio.sleep(TLS_CLOSING_SECONDS)  # as in kube/transport.py

    async def _asked(self, expression: str, span: Span, read: Callable[[bytes], T | None]) -> T | None:
        try:
            async with asyncio.timeout(ANSWER_SECONDS), self._turns:
                found = read(await self._answer(expression, span.end))
            problem = None
        except TimeoutError:
            problem = f"no answer within {ANSWER_SECONDS:g} s"
        except (aiohttp.ClientError, OSError, ValueError) as error:
            problem = str(error) or type(error).__name__
        self._say(problem)
        return found if problem is None else None

    def _say(self, problem: str | None) -> None:
        """Once, not at each question; nor whenever a question that takes too long follows one that doesn't."""
        now = asyncio.get_running_loop().time()
        if problem != self._problem and now >= self._quiet_until:
            log.log(logging.INFO if problem is None else logging.WARNING, "Figures of Prometheus: %s", problem or "it answers again")
            self._problem, self._quiet_until = problem, now + QUIET_SECONDS

    async def _answer(self, expression: str, at: float) -> bytes:
        if self._session is None:
            self._session = aiohttp.ClientSession(headers={"User-Agent": f"roadstead-api/{__version__}"})
        headers = {} if self._token is None else {"Authorization": f"Bearer {self._token.read_text().strip()}"}
        # Thanos would rather leave something out than fail; others don't know the word.
        form = {"query": expression, "time": f"{at:.3f}", "timeout": f"{ANSWER_SECONDS:g}s", "partial_response": "false"}
        # A redirect would get the token.
        async with self._session.post(self._url, data=form, headers=headers, ssl=self._tls(), allow_redirects=False) as response:
            content = bytearray()
            async for chunk in response.content.iter_chunked(65_536):
                content += chunk
                if len(content) > LARGEST_BYTES:
                    raise ValueError(f"an answer of more than {LARGEST_BYTES} bytes")
            if response.status != 200:
                raise ValueError(f"code {response.status}{_why(bytes(content))}")
            return bytes(content)

    def _tls(self) -> ssl.SSLContext | bool:
        if self._authority is None:
            return True
        content = self._authority.read_bytes()
        if self._trusted is None or self._trusted[0] != content:
            self._trusted = content, ssl.create_default_context(cafile=str(self._authority))
        return self._trusted[1]


def _why(content: bytes) -> str:
    """What Prometheus says of an error of its own."""
    try:
        said = orjson.loads(content)
        return f": {said['error'][:200]}"
    except (ValueError, KeyError, TypeError):
        return ""
