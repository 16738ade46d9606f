"""An event loop whose time jumps to the next timer, and an API server that answers by script."""

from __future__ import annotations

import asyncio
import json
import selectors
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Self

from aiohttp import web
from aiohttp.test_utils import TestServer

from roadstead.kube.resource import Body

Step = Callable[[web.Request], Awaitable[web.StreamResponse]]


class _Impatient(selectors.DefaultSelector):
    """Waits two real milliseconds for sockets (all are our own), then pretends that the time asked for has passed."""

    skipped = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout <= 0:
            return super().select(timeout)
        ready = super().select(min(timeout, 0.002))
        if not ready:
            self.skipped += timeout
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._impatient = _Impatient()
        super().__init__(self._impatient)

    def time(self) -> float:
        return super().time() + self._impatient.skipped


class ScriptedApi:
    """Each request takes the next step of ``script``; when none is left, a watch hangs and anything else gets 503."""

    def __init__(self) -> None:
        self.script: deque[Step] = deque()
        self.requests: list[web.Request] = []
        self.bodies: list[Body | list[Body] | None] = []
        app = web.Application(client_max_size=2**24)
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._server = TestServer(app)

    @property
    def url(self) -> str:
        return str(self._server.make_url("")).rstrip("/")

    async def __aenter__(self) -> Self:
        await self._server.start_server()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.close()

    def will(self, *steps: Step) -> None:
        self.script.extend(steps)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        payload = await request.read()
        self.bodies.append(json.loads(payload) if payload else None)
        if self.script:
            return await self.script.popleft()(request)
        return await (watch() if "watch" in request.query else refuse(503))(request)


def thing(name: str, version: str = "1", **spec: object) -> Body:
    """An object of no particular kind."""
    return {"metadata": {"name": name, "namespace": "ns", "uid": f"uid-{name}", "resourceVersion": version}, "spec": spec}


def answer(body: Body, status: int = 200) -> Step:
    async def step(_: web.Request) -> web.StreamResponse:
        return web.json_response(body, status=status)

    return step


def refuse(code: int, reason: str = "Because", *, retry_after: str | None = None) -> Step:
    async def step(_: web.Request) -> web.StreamResponse:
        headers = {"Retry-After": retry_after} if retry_after is not None else {}
        body = {"kind": "Status", "code": code, "reason": reason, "message": f"{reason}!"}
        return web.json_response(body, status=code, headers=headers)

    return step


def hang_up() -> Step:
    """Close the connection without an answer."""

    async def step(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    return step


def break_off() -> Step:
    """Begin a stream and close the connection in the middle of it."""

    async def step(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        assert request.transport is not None
        request.transport.abort()
        return response

    return step


def lists(*items: Body, version: str = "10", go_on: str = "") -> Step:
    return answer({"metadata": {"resourceVersion": version, "continue": go_on}, "items": list(items)})


def event(kind: str, body: Body) -> bytes:
    return json.dumps({"type": kind, "object": body}).encode() + b"\n"


def bookmark(version: str) -> bytes:
    return event("BOOKMARK", {"metadata": {"resourceVersion": version}})


def error(code: int) -> bytes:
    return event("ERROR", {"kind": "Status", "code": code, "reason": "InternalError", "message": "oops"})


def watch(*chunks: bytes, ends: bool = False) -> Step:
    """Sends the chunks; then ends the stream, or keeps it open and silent."""

    async def step(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for chunk in chunks:
            await response.write(chunk)
            await asyncio.sleep(0)
        if not ends:
            await asyncio.sleep(1e6)
        return response

    return step


async def until(true: Callable[[], bool], seconds: float = 1000) -> None:
    """Let virtual time pass until the condition holds."""
    step = 0.05
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(step)
            step = min(step * 1.3, 2.0)  # virtual time is cheap, but not free
