"""HTTP/1.1 with as little between socket and decision as there can be: httptools, and one object a connection.

Envoy asks the authoriser about each request that it remembers no permission for, so each microsecond here is one of everybody's. aiohttp or
uvicorn would take ten times as long for a question without a body and an answer of a few headers. Bodies are read and thrown away.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from http import HTTPStatus
from typing import ClassVar, Final, cast

import httptools
import orjson

from roadstead.gateway.accepting import Accepted, accepting
from roadstead.tls import Certificates

log = logging.getLogger(__name__)
BACKLOG: Final = 4096
"""Held requests come in hundreds at once, each on a connection of its own."""
MOST_BYTES: Final = 65_536
"""Of URL and headers together: what Envoy lets through, and then some."""
MOST_HEADERS: Final = 200
MOST_WAITING: Final = 16
"""Requests that a connection may send on while one is being answered; Envoy sends none."""
HEAD_SECONDS: Final = 15.0
STATUS_LINES: Final = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}
CLOSING: Final = b"connection: close\r\ncontent-length: 0\r\n\r\n"


class Request:
    """The head of a request; of its headers only those that ``Connection.WANTED`` names, in lower case."""

    __slots__ = ("headers", "keep_alive", "url")

    def __init__(self, url: bytes, headers: dict[bytes, bytes], keep_alive: bool) -> None:
        self.url = url
        self.headers = headers
        self.keep_alive = keep_alive


class Connection(Accepted):
    """One connection. Requests are answered in turn, at once or later, without waiting for their bodies."""

    WANTED: ClassVar[frozenset[bytes]] = frozenset()

    def __init__(self) -> None:
        self._transport: asyncio.Transport
        self._connected = False
        """It has been made, and its handshake, if any, was a success."""
        self.certificates: Certificates | None = None
        """Whoever connects must have one of a gateway."""
        self._parser = httptools.HttpRequestParser(self)
        self._url = b""
        self._headers: dict[bytes, bytes] = {}
        self._size = self._count = self._pieces = 0
        self._in_head = self._in_body = False
        self._asked: Request | None = None
        """The one that is to be answered now."""
        self._waiting: deque[Request] = deque()
        self._late: asyncio.TimerHandle | None = None
        self._ending = False
        """Close as soon as the present request has been read and answered; take no other."""

    def answer(self, request: Request) -> None:
        """Answer, now or later, by ``reply``."""
        raise NotImplementedError

    def left(self) -> None:
        """The client has gone while an answer was due."""

    def reply(self, answer: bytes) -> None:
        """The whole answer to the request that ``answer`` was last called for. Nothing happens if the client has left."""
        asked, self._asked = self._asked, None
        if asked is None or self._transport.is_closing():
            return
        self._transport.write(answer)
        if not asked.keep_alive:
            self.end()
        elif self._waiting:
            self._begin(self._waiting.popleft())
        elif self._ending:
            self.end()

    def end(self) -> None:
        """Close as soon as nothing is due any more."""
        self._ending = True
        if self._asked is None:
            self._waiting.clear()
            if not self._in_body:
                self._transport.close()
            elif self._late is None:  # to close before all has been read could take the answer along
                self._late = asyncio.get_running_loop().call_later(HEAD_SECONDS, self._transport.close)

    def dismiss(self) -> None:
        """Close at once if an answer is due; else as soon as all is sent."""
        if not self._connected:
            return
        if self._asked is not None:
            self._transport.abort()
        else:
            self.end()

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport, self._connected = cast(asyncio.Transport, transport), True
        if self.certificates is not None:
            shown = transport.get_extra_info("peercert") or {}
            if not self.certificates.ours(name for kind, name in shown.get("subjectAltName", ()) if kind == "DNS"):
                log.warning("Somebody whose certificate is no gateway's was turned away, address=%s", transport.get_extra_info("peername"))
                self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._in_time()
        self._waiting.clear()
        if self._asked is not None:
            self._asked = None
            self.left()

    def data_received(self, data: bytes) -> None:
        if self._in_head:  # httptools gathers the pieces of a header before it shows them
            self._pieces += len(data)
            if self._pieces > MOST_BYTES:
                self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
                return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:  # nothing here becomes a WebSocket, and what follows is no HTTP
            self._in_body = False
            self.end()
        except httptools.HttpParserCallbackError:
            log.exception("A request could not be answered")
            self._refuse(HTTPStatus.INTERNAL_SERVER_ERROR, owed=True)
        except httptools.HttpParserError:  # to close without a word would have Envoy ask the same again and again
            self._refuse(HTTPStatus.BAD_REQUEST)
        if self._in_head and self._late is None:
            self._late = asyncio.get_running_loop().call_later(HEAD_SECONDS, self._transport.close)

    def pause_writing(self) -> None:
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._transport.resume_reading()

    # What httptools calls

    def on_message_begin(self) -> None:
        self._url = b""
        self._headers = {}
        self._size = self._count = self._pieces = 0
        self._in_head = True

    def on_url(self, url: bytes) -> None:
        self._url += url
        self._grown(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count += 1
        self._grown(len(name) + len(value))
        name = name.lower()
        if name in self.WANTED:
            before = self._headers.get(name)
            self._headers[name] = value if before is None else b"%b, %b" % (before, value)

    def on_headers_complete(self) -> None:
        self._in_head, self._in_body = False, True
        self._in_time()
        if self._ending or self._transport.is_closing():
            return
        request = Request(self._url, self._headers, self._parser.should_keep_alive())
        if self._asked is None:
            self._begin(request)
        elif len(self._waiting) < MOST_WAITING:
            self._waiting.append(request)
        else:
            self._transport.close()

    def on_message_complete(self) -> None:
        self._in_body = False
        if self._ending:
            self.end()

    def _begin(self, request: Request) -> None:
        self._asked = request
        self.answer(request)

    def _grown(self, size: int) -> None:
        self._size += size
        if self._size > MOST_BYTES or self._count > MOST_HEADERS:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)

    def _refuse(self, status: HTTPStatus, *, owed: bool = False) -> None:
        """Say so and close; close only, if an answer is due to somebody else before. ``owed``: it is that answer."""
        if not self._transport.is_closing():
            if owed or self._asked is None:
                self._transport.write(STATUS_LINES[status] + CLOSING)
            self._transport.close()

    def _in_time(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None


def message(status: int, body: bytes, *headers: bytes, content_type: bytes = b"application/json") -> bytes:
    """A whole answer. ``headers`` are lines without their ends."""
    lines = [STATUS_LINES[status], *(b"%b\r\n" % line for line in headers)]
    lines.append(b"content-type: %b\r\ncontent-length: %d\r\n\r\n" % (content_type, len(body)))
    return b"".join((*lines, body))


def told(detail: str) -> bytes:
    """The body of every answer that isn't the service's own."""
    return orjson.dumps({"detail": detail})


def retry_after(seconds: float) -> bytes:
    """The header's line; whole seconds, at least one."""
    return b"retry-after: %d" % max(1, round(seconds))


def listening(
    make: Callable[[], Connection], host: str | None, port: int, certificates: Certificates | None = None
) -> AbstractAsyncContextManager[int]:
    """Take connections on that address (None: all) while the context lasts; port 0 finds a free one. Yields the port.
    With certificates only gateways are let in.

    At the end whoever is still owed an answer is cut off: see to it before that nobody is.
    """

    def made() -> Connection:
        connection = make()
        connection.certificates = certificates
        return connection

    return accepting(made, host, port, certificates.server() if certificates is not None else None, BACKLOG)
