"""How requests reach the API server: connections, credentials, retries, and the fence.

Retries live here only where repeating is harmless and soon worth it: no connection, a connection lost under a call that may be
repeated, 429, 503. Three tries, then the caller's work queue takes over: it knows what else has changed meanwhile.
A *fence* can be put before every write (each try anew), so that a leader whose term lapsed while it waited writes nothing more. It is
asked twice: before anything is done, and when a connection is there and the next step is to send.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

import aiohttp
import orjson
from aiohttp import BytesPayload, ClientTimeout
from aiohttp.abc import AbstractStreamWriter

from roadstead.kube.backoff import backoff
from roadstead.kube.config import ClusterConfig
from roadstead.kube.errors import ApiError, Fenced, ServerError, TooManyRequests, Unauthorized, Unreachable, error_of_response
from roadstead.kube.resource import Body
from roadstead.kube.stream import split_lines

Verb: TypeAlias = Literal["get", "list", "watch", "apply", "create", "patch", "update", "delete"]

JSON: Final = "application/json"
TRIES: Final = 3
LONGEST_PAUSE_SECONDS: Final = 10.0
"""A longer Retry-After is left to the caller, who has other work to do meanwhile."""
_CONNECT_SECONDS: Final = 10.0
_READS: Final = frozenset({"get", "list", "watch"})


@dataclass(frozen=True, slots=True)
class Request:
    """One call, ready to be sent as often as it takes."""

    verb: Verb
    plural: str
    method: str
    path: str
    query: Mapping[str, str]
    data: bytes | None = None
    content_type: str = JSON
    bearer: str | None = field(default=None, repr=False)
    """Somebody else's token, in whose name the call is made; None: our own."""
    accept: str = JSON

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


TLS_CLOSING_SECONDS: Final = 0.1


class _FencedBody(BytesPayload):
    """A body that isn't sent, nor the headers before it, which aiohttp keeps back for it, if the fence has come down meanwhile."""

    def __init__(self, data: bytes, fence: Callable[[], None]) -> None:
        super().__init__(data)
        self.held_back: Fenced | None = None
        self._fence = fence

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        try:
            self._fence()
        except Fenced as error:
            self.held_back = error
            raise
        await super().write_with_length(writer, content_length)


class Transport:
    """A pool of connections to one API server, between ``open()`` and ``close()``."""

    def __init__(
        self,
        config: ClusterConfig,
        *,
        user_agent: str,
        max_in_flight: int,
        fence: Callable[[], None] | None,
        timeout_seconds: float,
        silence_seconds: float,
        retry_base_seconds: float,
    ) -> None:
        self.calls: Counter[tuple[str, str, int]] = Counter()
        self._config = config
        self._fence = fence
        self._slots = asyncio.Semaphore(max_in_flight)
        self._retry_base = retry_base_seconds
        self._timeout = ClientTimeout(total=timeout_seconds, sock_connect=_CONNECT_SECONDS)
        self._stream_timeout = ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS, sock_read=silence_seconds)
        # "identity": compressing big lists costs the server more than a cluster's network gains.
        self._headers = {"User-Agent": user_agent, "Accept-Encoding": "identity"}
        self._session: aiohttp.ClientSession | None = None

    def open(self) -> None:
        # No limit of connections: watches hold theirs for ever and must not starve the calls, which `_slots` bounds.
        connector = aiohttp.TCPConnector(limit=0, ssl=self._config.ssl or True, keepalive_timeout=30)
        self._session = aiohttp.ClientSession(connector=connector, headers=self._headers)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None
            if self._config.ssl is not None:
                # TLS connections end a little after the session, and a loop that closes first leaves them open
                # (aiohttp documentation, "Graceful Shutdown"; https://github.com/aio-libs/aiohttp/issues/1925).
                await asyncio.sleep(TLS_CLOSING_SECONDS)

    async def call(self, request: Request, *, repeatable: bool) -> Body:
        """The answer's JSON. Raises ApiError, or whatever the fence raises."""
        failures = 0
        while True:
            token = self._config.bearer()
            try:
                return await self._try(request)
            except ApiError as error:
                failures += 1
                lent = request.bearer is not None and isinstance(error, Unauthorized)  # somebody else's token: nothing to read anew
                if lent or failures >= TRIES or not self._worth_repeating(error, repeatable, token):
                    raise
                pause = max(error.retry_after or 0.0, backoff(failures, base=self._retry_base, cap=LONGEST_PAUSE_SECONDS))
                if pause > LONGEST_PAUSE_SECONDS:
                    raise
            # Out of the slot: who waits holds nobody up.
            await asyncio.sleep(pause)

    async def lines(self, request: Request) -> AsyncGenerator[bytes, None]:
        """The lines of an endless answer; not retried. Raises ApiError, Unreachable also for silence and a line cut short."""
        code = 0
        try:
            async with self._send(request, self._stream_timeout) as response:
                code = response.status
                if code != 200:
                    raise error_of_response(code, response.headers, await response.read())
                async for line in split_lines(response.content):
                    yield line
        except Unauthorized:
            self._config.reread()  # the caller comes back
            raise
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            self._distrusted(error)
            raise Unreachable(f"{request} broke off: {error!r}") from error
        finally:
            self.calls[request.verb, request.plural, code] += 1

    def _worth_repeating(self, error: ApiError, repeatable: bool, token: str | None) -> bool:
        match error:
            case TooManyRequests():
                return True
            case Unreachable():
                return repeatable or not error.sent
            case ServerError():
                return repeatable and error.status == 503
            case Unauthorized():
                return self._config.renewed(token)
        return False

    def _distrusted(self, error: Exception) -> None:
        """The server's certificate is of an authority that we don't know: perhaps the bundle has been exchanged since it was read."""
        if isinstance(error, aiohttp.ClientConnectorCertificateError):
            self._config.reread()

    async def _try(self, request: Request) -> Body:
        async with self._slots:
            body: bytes | _FencedBody | None = request.data
            if self._fence is not None and request.verb not in _READS:
                self._fence()
                body = _FencedBody(request.data or b"", self._fence)
            code = 0
            try:
                async with self._send(request, self._timeout, body) as response:
                    payload = await response.read()
                    code = response.status
                    if code >= 300:
                        raise error_of_response(code, response.headers, payload)
                    answer: Body = orjson.loads(payload)
                    return answer
            except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
                self._distrusted(error)
                raise Unreachable(f"{request}: {error}", sent=False) from error
            except (aiohttp.ClientError, TimeoutError, OSError, orjson.JSONDecodeError) as error:
                if isinstance(body, _FencedBody) and body.held_back is not None:
                    raise body.held_back from error
                raise Unreachable(f"{request}: {error!r}") from error
            finally:
                self.calls[request.verb, request.plural, code] += 1

    def _send(
        self, request: Request, timeout: ClientTimeout, body: bytes | BytesPayload | None = None
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        if self._session is None:
            raise RuntimeError("ApiClient is used outside of its context")
        headers = {"Accept": request.accept}
        if request.data is not None:
            headers["Content-Type"] = request.content_type
        token = request.bearer or self._config.bearer()
        if token:
            headers["Authorization"] = f"Bearer {token}"
        return self._session.request(
            request.method,
            self._config.url + request.path,
            params=request.query,
            data=body,
            headers=headers,
            timeout=timeout,
            allow_redirects=False,
            server_hostname=self._config.server_name,
        )
