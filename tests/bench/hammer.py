"""A client that costs little: raw HTTP/1.1 over kept connections, one request at a time on each; and the server and proxy it is used on.

``python -m tests.bench.hammer load URL TOKEN CONNECTIONS SECONDS`` prints what it saw as JSON; ``origin HOST PORT`` answers everything with
a few bytes; ``proxy PORT TARGET`` passes on what it gets, as a plain reverse proxy on aiohttp does.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import cast
from urllib.parse import urlsplit

import aiohttp
import httptools
import uvloop
from aiohttp import web

from roadstead.gateway.http import Connection, Request, listening, message
from tests.bench.measure import share


class Client(asyncio.Protocol):
    """One connection. The next request goes out when the last has been answered, until it is told to stop."""

    def __init__(self, request: bytes, latencies: list[float], statuses: dict[int, int]) -> None:
        self.stopped = asyncio.get_running_loop().create_future()
        self.stopping = False
        self._request = request
        self._latencies = latencies
        self._statuses = statuses
        self._parser = httptools.HttpResponseParser(self)
        self._sent = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._send()

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.stopped.done():
            if not self.stopping:
                self._statuses[0] = self._statuses.get(0, 0) + 1
            self.stopped.set_result(None)

    def on_message_complete(self) -> None:
        self._latencies.append(time.perf_counter() - self._sent)
        status = self._parser.get_status_code()
        self._statuses[status] = self._statuses.get(status, 0) + 1
        if self.stopping:
            self._transport.close()
        else:
            self._send()

    def _send(self) -> None:
        self._sent = time.perf_counter()
        self._transport.write(self._request)


async def load(url: str, token: str, connections: int, seconds: float) -> None:
    """Print how many requests were answered, with which statuses, and how fast."""
    parts = urlsplit(url)
    head = f"GET {parts.path or '/'} HTTP/1.1\r\nhost: {parts.netloc}\r\nauthorization: Bearer {token}\r\n\r\n".encode()
    latencies: list[float] = []
    statuses: dict[int, int] = {}
    loop = asyncio.get_running_loop()
    began = time.perf_counter()
    clients = [
        (await loop.create_connection(lambda: Client(head, latencies, statuses), parts.hostname, parts.port))[1] for _ in range(connections)
    ]
    await asyncio.sleep(seconds)
    for client in clients:
        client.stopping = True
    await asyncio.wait([client.stopped for client in clients], timeout=10)
    lasted = time.perf_counter() - began
    told = {
        "requests": len(latencies),
        "seconds": lasted,
        "statuses": statuses,
        "p50": share(latencies, 0.5),
        "p99": share(latencies, 0.99),
    }
    print(json.dumps(told), flush=True)


class Origin(Connection):
    """A service that does nothing."""

    ANSWER = message(200, b'{"ok":true}')

    def answer(self, request: Request) -> None:
        self.reply(self.ANSWER)


async def origin(host: str, port: int) -> None:
    """Answer until killed."""
    async with listening(Origin, host, port):
        await asyncio.Event().wait()


async def proxy(port: int, target: str) -> None:
    """Pass on until killed: a session that keeps its connections, bodies streamed."""
    async with aiohttp.ClientSession(auto_decompress=False) as session:

        async def handle(request: web.Request) -> web.StreamResponse:
            headers = {name: value for name, value in request.headers.items() if name.lower() not in ("host", "authorization")}
            async with session.request(request.method, f"{target}{request.rel_url}", headers=headers, data=request.content) as answer:
                response = web.StreamResponse(status=answer.status, headers={"content-type": answer.headers.get("content-type", "")})
                response.content_length = answer.content_length
                await response.prepare(request)
                async for chunk in answer.content.iter_any():
                    await response.write(chunk)
                return response

        app = web.Application()
        app.router.add_route("*", "/{path:.*}", handle)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        await asyncio.Event().wait()


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["load", url, token, connections, seconds]:
            uvloop.run(load(url, token, int(connections), float(seconds)))
        case ["origin", host, port]:
            uvloop.run(origin(host, int(port)))
        case ["proxy", port, target]:
            uvloop.run(proxy(int(port), target))
        case _:
            sys.exit(__doc__)
