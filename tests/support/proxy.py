"""A proxy between the operator and the API server, which can see, hold, refuse, break and count what passes.

It runs in a thread with a loop of its own and speaks TLS to both sides: to the operator with a certificate of its own authority, to the
API server as the user of a kubeconfig, or as whoever the operator's bearer token says.
"""

from __future__ import annotations

import asyncio
import json
import re
import ssl
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import aiohttp
from aiohttp import web
from yarl import URL

from hack.cluster.certificates import Authority
from hack.cluster.control import LOOPBACK, ControlCluster, free_ports
from roadstead.kube.config import load

When = Literal["before", "after"]
Harm = Literal["drop", "truncate", "gone", "hush"]
Answer = Callable[[], Awaitable[web.StreamResponse | None]]
"""Instead of the API server's answer; None: ask the API server after all."""
_KEPT = ("Content-Type", "Content-Encoding", "Retry-After", "Warning", "Audit-Id")


@dataclass(frozen=True, slots=True)
class Seen:
    """One request: ``status`` is what the operator was told, 0 where it was told nothing; ``at`` is monotonic."""

    method: str
    path: str
    query: str
    status: int
    at: float

    @property
    def watch(self) -> bool:
        return "watch=" in self.query

    @property
    def write(self) -> bool:
        return self.method != "GET" and "/leases" not in self.path


@dataclass(slots=True)
class Fault:
    """While it is in force, requests that ``matches`` get ``answer``; at most ``times`` of them where that is given."""

    matches: Callable[[web.Request], bool]
    answer: Answer
    times: int | None = None
    met: int = 0


class Trap:
    """Calls ``spring`` once, right before the ``count``-th write in a namespace is passed on or right after it was answered."""

    def __init__(self, namespace: str, count: int, when: When, spring: Callable[[], None]) -> None:
        self.sprung = threading.Event()
        self._part = f"/namespaces/{namespace}/"
        self._left = count
        self._when = when
        self._spring = spring

    def counts(self, request: web.Request) -> bool:
        """Whether this request is the one to spring at."""
        if request.method == "GET" or "/leases" in request.path or self._part not in request.path:
            return False
        self._left -= 1
        return self._left == 0

    def at(self, when: When) -> None:
        if when == self._when:
            self._spring()
            self.sprung.set()


class Proxy:
    """Between ``start()`` and ``stop()``, both called by ``proxied``; everything else may be called from any thread."""

    def __init__(self, cluster: ControlCluster, identity: Path, folder: Path) -> None:
        self.port = free_ports(1)[0]
        self.url = f"https://{LOOPBACK}:{self.port}"
        self.seen: list[Seen] = []
        self.faults: list[Fault] = []
        self.trap: Trap | None = None
        self.page_limit: int | None = None
        """Pages of lists are no longer than that, whatever is asked for (0, all in one piece, excepted)."""
        self.authority = Authority.create(folder / "pki", "proxy-ca")
        self._folder = folder
        self._upstream = cluster.url
        self._identity = load(identity).ssl
        self._anonymous = ssl.create_default_context(cafile=str(cluster.ca_file))
        self._streams: set[_Stream] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)
        self._started = threading.Event()
        self._stopping = asyncio.Event()
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._runner: web.AppRunner | None = None

    def kubeconfig(self, *, token_file: Path | None = None, ca_file: Path | None = None) -> Path:
        """The way in; the authority is embedded unless it is to be read from a file."""
        path = self._folder / "proxy.kubeconfig"
        self.authority.kubeconfig(path, self.url, "anybody")
        document = json.loads(path.read_text())
        if ca_file is not None:
            document["clusters"][0]["cluster"] = {"server": self.url, "certificate-authority": str(ca_file)}
        document["users"][0]["user"] = {"tokenFile": str(token_file)} if token_file is not None else {}
        path.write_text(json.dumps(document))
        return path

    def start(self) -> None:
        self._use(self.authority)
        self._thread.start()
        assert self._started.wait(10)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(20)

    def rotate(self, authority: Authority) -> None:
        """Show a certificate of another authority from now on, and end every connection made under the former."""
        self._use(authority)
        asyncio.run_coroutine_threadsafe(self._reopen(), self._loop).result(10)

    def close(self) -> None:
        """Refuse connections and end those that there are."""
        asyncio.run_coroutine_threadsafe(self._shut(), self._loop).result(10)

    def open(self) -> None:
        """Listen again."""
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)

    def harm(self, harm: Harm) -> int:
        """Do that to every open watch; returns how many there were."""

        async def doing() -> int:
            streams = list(self._streams)
            for stream in streams:
                await stream.harm(harm)
            return len(streams)

        return asyncio.run_coroutine_threadsafe(doing(), self._loop).result(10)

    @contextmanager
    def fault(self, matches: Callable[[web.Request], bool], answer: Answer, times: int | None = None) -> Iterator[Fault]:
        """Put a fault in force for the length of the block."""
        fault = Fault(matches, answer, times)
        self.faults.append(fault)
        try:
            yield fault
        finally:
            self.faults.remove(fault)

    def _use(self, authority: Authority) -> None:
        pair = authority.server("proxy", ("localhost",), (LOOPBACK,))
        self._context.load_cert_chain(pair.certificate, pair.key)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        identified = aiohttp.TCPConnector(limit=0, ssl=self._identity or True)
        anonymous = aiohttp.TCPConnector(limit=0, ssl=self._anonymous)
        async with (
            aiohttp.ClientSession(connector=identified, auto_decompress=False) as self._as_user,
            aiohttp.ClientSession(connector=anonymous, auto_decompress=False) as self._as_bearer,
        ):
            await self._listen()
            self._started.set()
            await self._stopping.wait()
            await self._shut()
            await asyncio.sleep(0.1)

    async def _listen(self) -> None:
        app = web.Application(client_max_size=2**24)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, LOOPBACK, self.port, ssl_context=self._context).start()

    async def _shut(self) -> None:
        for stream in list(self._streams):
            await stream.harm("drop")
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _reopen(self) -> None:
        await self._shut()
        await self._listen()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        at, status = time.monotonic(), 0
        try:
            response = await self._faulty(request) or await self._pass_on(request)
            status = response.status
            return response
        finally:
            self.seen.append(Seen(request.method, request.path, request.query_string, status, at))

    async def _faulty(self, request: web.Request) -> web.StreamResponse | None:
        for fault in list(self.faults):
            if (fault.times is None or fault.met < fault.times) and fault.matches(request):
                fault.met += 1
                answer = await fault.answer()
                if answer is not None:
                    return answer
        return None

    async def _pass_on(self, request: web.Request) -> web.StreamResponse:
        data = await request.read()
        trap = self.trap if self.trap is not None and not self.trap.sprung.is_set() and self.trap.counts(request) else None
        if trap is not None:
            trap.at("before")
        if self.trap is not None and self.trap.sprung.is_set():
            raise ConnectionResetError("who asked is dead")
        session = self._as_bearer if "Authorization" in request.headers else self._as_user
        headers = {name: value for name, value in request.headers.items() if name not in ("Host", "Content-Length", "Connection")}
        timeout = aiohttp.ClientTimeout(total=None)
        path = request.raw_path if self.page_limit is None else re.sub(r"\blimit=[1-9]\d*", f"limit={self.page_limit}", request.raw_path)
        url = URL(self._upstream + path, encoded=True)
        async with session.request(request.method, url, data=data or None, headers=headers, timeout=timeout) as answer:
            kept = {name: answer.headers[name] for name in _KEPT if name in answer.headers}
            if "watch" in request.query and answer.status == 200:
                return await self._stream(request, answer, kept)
            payload = await answer.read()
        if trap is not None:
            trap.at("after")
        return web.Response(status=answer.status, body=payload, headers=kept)

    async def _stream(self, request: web.Request, answer: aiohttp.ClientResponse, headers: dict[str, str]) -> web.StreamResponse:
        response = web.StreamResponse(headers=headers)
        await response.prepare(request)
        stream = _Stream(request, response)
        self._streams.add(stream)
        try:
            async for chunk in answer.content.iter_any():
                if stream.ended.is_set():
                    break
                if not stream.hushed:
                    await response.write(chunk)
        except (ConnectionError, aiohttp.ClientError):
            pass
        finally:
            self._streams.discard(stream)
        return response


class _Stream:
    """One open watch."""

    def __init__(self, request: web.Request, response: web.StreamResponse) -> None:
        self.hushed = False
        self.ended = asyncio.Event()
        self._request = request
        self._response = response

    async def harm(self, harm: Harm) -> None:
        """End it in one of the ways that streams end in, or leave it open and silent."""
        if harm == "hush":
            self.hushed = True
            return
        self.ended.set()
        with suppress(ConnectionError):
            if harm == "truncate":
                await self._response.write(b'{"type":"MODIFIED","object":{"metada')
            if harm == "gone":
                status = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old resource version"}
                await self._response.write(json.dumps({"type": "ERROR", "object": status}).encode() + b"\n")
            if harm != "drop":
                await self._response.write_eof()
        if self._request.transport is not None:
            self._request.transport.close() if harm != "drop" else self._request.transport.abort()


@contextmanager
def proxied(cluster: ControlCluster, identity: Path, folder: Path) -> Iterator[Proxy]:
    """A proxy for the length of the block; ``identity`` is the kubeconfig of the user that it stands for."""
    proxy = Proxy(cluster, identity, folder)
    proxy.start()
    try:
        yield proxy
    finally:
        proxy.stop()


def refusing(code: int, *, retry_after: float | None = None, reason: str = "Refused") -> Answer:
    """Answers with that status."""

    async def answer() -> web.StreamResponse:
        headers = {} if retry_after is None else {"Retry-After": f"{retry_after:g}"}
        body = {
            "kind": "Status",
            "apiVersion": "v1",
            "status": "Failure",
            "code": code,
            "reason": reason,
            "message": f"{reason} by the proxy",
        }
        return web.json_response(body, status=code, headers=headers)

    return answer


def late(seconds: float) -> Answer:
    """Asks the API server only after so long."""

    async def answer() -> None:
        await asyncio.sleep(seconds)

    return answer
