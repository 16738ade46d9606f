"""Signs of life of kopf's watches, for probes and metrics: kopf itself tells nobody how long a stream has been silent.

They are seen where its requests pass through our session: an answer, and each piece of a stream, bookmarks among them. So is that a watch
begins with a list again, as it does when it has been away for too long to go on: what was deleted meanwhile kopf never hears of.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp

from roadstead.kube.resource import Resource

Handler = Callable[[aiohttp.ClientRequest], Awaitable[aiohttp.ClientResponse]]
REFUSED: Final = 400


@dataclass(slots=True)
class Pulse:
    """Of the watch of one kind, all in monotonic seconds, as a Reflector tells of itself. ``present`` while anybody watches."""

    resource: Resource
    present: bool = False
    last_heard: float = field(default_factory=time.monotonic)
    last_failed: float = field(default_factory=time.monotonic)

    def beat(self) -> None:
        """The API server has said something."""
        self.last_heard = time.monotonic()


class Pulses:
    """Of several kinds. ``middleware`` is for the session by which they are watched."""

    def __init__(self, resources: Iterable[Resource]) -> None:
        self.listed = asyncio.Event()
        """A list has been read since this was last cleared: what was deleted before it will not be told."""
        self._by_path = {resource.path(None): Pulse(resource) for resource in resources}

    @property
    def all(self) -> list[Pulse]:
        """One of each kind."""
        return list(self._by_path.values())

    def begin(self) -> None:
        """The watches are about to begin; until now nobody could be heard of."""
        for pulse in self.all:
            pulse.beat()
            pulse.present = True

    def end(self) -> None:
        """They have ended, and begin anew when the API server answers: however long it is away, that is no silence of theirs."""
        for pulse in self.all:
            pulse.present = False

    async def middleware(self, request: aiohttp.ClientRequest, handler: Handler) -> aiohttp.ClientResponse:
        """Note what comes of a list or a watch."""
        pulse = self._by_path.get(request.url.path)
        if pulse is None:
            return await handler(request)
        try:
            response = await handler(request)
        except (aiohttp.ClientError, TimeoutError):
            pulse.last_failed = time.monotonic()
            raise
        if response.status >= REFUSED:
            pulse.last_failed = time.monotonic()
        else:
            pulse.beat()
            if "watch" not in request.url.query:
                self.listed.set()
            response.content = _Heard(response.content, pulse.beat)  # type: ignore[assignment]
        return response


class _Heard:
    """A response's content that tells of each piece of it as it is read."""

    def __init__(self, content: aiohttp.StreamReader, heard: Callable[[], None]) -> None:
        self._content = content
        self._heard = heard

    def __getattr__(self, name: str) -> Any:
        return getattr(self._content, name)

    async def iter_chunked(self, size: int) -> AsyncIterator[bytes]:
        async for piece in self._content.iter_chunked(size):
            self._heard()
            yield piece
