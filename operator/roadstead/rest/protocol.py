"""Limits of a connection that uvicorn doesn't set with httptools: how large a request's head may be, and how long it may take."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MOST_BYTES: Final = 65_536
"""Of URL and headers together; a token of a large cluster's OIDC provider may have ten thousand."""
MOST_HEADERS: Final = 100
HEAD_SECONDS: Final = 15.0
TOO_LARGE: Final = b"HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class Protocol(HttpToolsProtocol):
    """uvicorn's, with an end to patience."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._size = 0
        self._count = 0
        self._late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._late = self.loop.call_later(HEAD_SECONDS, transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        self._in_time()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        self._size = self._count = 0
        if self._late is None:
            self._late = self.loop.call_later(HEAD_SECONDS, self.transport.close)
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._grown(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count += 1
        self._grown(len(name) + len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._in_time()
        if not self.transport.is_closing():
            super().on_headers_complete()

    def _grown(self, size: int) -> None:
        self._size += size
        if (self._size > MOST_BYTES or self._count > MOST_HEADERS) and not self.transport.is_closing():
            self.transport.write(TOO_LARGE)
            self.transport.close()

    def _in_time(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None
