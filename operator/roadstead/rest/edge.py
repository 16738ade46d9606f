"""The edge of every request: its id, who calls, what he may ask for, how long and how large it may be, and what is told of it.

Plain ASGI, before FastAPI sees anything: a token is checked before a body is read.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
import uuid
from typing import Any, Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from roadstead.access.callers import Caller, Callers
from roadstead.access.errors import Refused
from roadstead.access.limits import Buckets
from roadstead.kube.errors import ApiError
from roadstead.logs import REQUEST
from roadstead.rest.metrics import Metrics
from roadstead.rest.pages import Proxies
from roadstead.rest.problems import Problem, defect, of_access, too_many, unavailable
from roadstead.rest.routing import OBJECT
from roadstead.settings import ApiSettings

log = logging.getLogger(__name__)
audit = logging.getLogger("roadstead.audit")
audit.setLevel(logging.INFO)  # whatever else isn't logged
ROOT: Final = "/api/v2"
OPEN: Final = re.compile(rf"{ROOT}/(openapi\.(json|yaml)|docs|version)/?")
"""What anybody may read: it tells nothing of the cluster."""
REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
READS: Final = frozenset({"GET", "HEAD", "OPTIONS"})


class Edge:
    """Around the application. ``draining`` is set when the process is about to end: clients are then asked to reconnect elsewhere."""

    def __init__(self, app: ASGIApp, *, settings: ApiSettings, callers: Callers, proxies: Proxies, metrics: Metrics) -> None:
        self.draining = False
        self._app = app
        self._settings = settings
        self._callers = callers
        self._proxies = proxies
        self._metrics = metrics
        self._buckets = Buckets(settings.requests_per_second, settings.burst)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        request_id = given if REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        REQUEST.set(request_id)
        answer = _Answer(send, request_id, self)
        began = time.perf_counter()
        with self._metrics.in_flight.track_inprogress():
            try:
                async with asyncio.timeout(self._settings.request_seconds):
                    await self._admit(scope, headers)
                    await self._app(scope, _Limited(receive, self._settings.max_body_bytes), answer)
            except Problem as problem:
                await answer.instead(problem, scope, receive)
            except Refused as refused:
                await answer.instead(of_access(refused), scope, receive)
            except TimeoutError:
                await answer.instead(unavailable("this took too long; try again"), scope, receive)
            except Exception:
                log.exception("Failed: %s %s", scope["method"], scope["path"])
                await answer.instead(defect(request_id), scope, receive)
        self._metrics.answered(template(scope), scope["method"], answer.status, time.perf_counter() - began)
        if scope["method"] not in READS:
            self._audit(scope, answer.status)

    async def _admit(self, scope: Scope, headers: Headers) -> None:
        if not scope["path"].startswith(f"{ROOT}/") or OPEN.fullmatch(scope["path"]):
            return
        try:
            caller = await self._callers.of(headers.get("authorization"), self._proxies.address(scope, headers))
        except ApiError as error:
            raise unavailable(retry_after=error.retry_after) from error
        scope["roadstead.caller"] = caller
        wait = self._buckets.take(caller.username)
        if wait:
            rate = self._settings.requests_per_second
            raise too_many(f"{caller.username} asks too often; {rate:g} requests a second are served in the long run", wait)
        size = headers.get("content-length", "0")
        if not size.isdecimal() or int(size) > self._settings.max_body_bytes:
            raise too_large(self._settings.max_body_bytes)

    def _audit(self, scope: Scope, status: int) -> None:
        caller: Caller | None = scope.get("roadstead.caller")
        entry: dict[str, Any] = {
            "user": caller.username if caller is not None else None,
            "method": scope["method"],
            "path": scope["path"],
            "object": scope.get(OBJECT),
            "code": status,
        }
        audit.info("Write", extra={"audit": entry})


class _Answer:
    """Sends; keeps the status, adds the headers that every answer has."""

    def __init__(self, send: Send, request_id: str, edge: Edge) -> None:
        self.status = 0
        self._send = send
        self._request_id = request_id
        self._edge = edge

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["X-Request-ID"] = self._request_id
            headers.setdefault("Cache-Control", "no-store")
            headers["X-Content-Type-Options"] = "nosniff"
            if self._edge.draining:
                headers["Connection"] = "close"
        await self._send(message)

    async def instead(self, problem: Problem, scope: Scope, receive: Receive) -> None:
        """Answer so, unless an answer is on its way already: then all that is left is to break it off."""
        if self.status == 0:
            await problem.response()(scope, receive, self)


class _Limited:
    """Receives a body up to a size, whatever its length was said to be."""

    def __init__(self, receive: Receive, most: int) -> None:
        self._receive = receive
        self._most = most
        self._size = 0

    async def __call__(self) -> Message:
        message = await self._receive()
        self._size += len(message.get("body", b""))
        if self._size > self._most:
            raise too_large(self._most)
        return message


def too_large(most: int) -> Problem:
    """413."""
    return Problem(413, f"the body is larger than {most} bytes", {"Connection": "close"})


def template(scope: Scope) -> str:
    """The route's path with its parameters' names, for metrics: no series for each id."""
    route = scope.get("route")
    path = getattr(route, "path", None)
    return str(path).rstrip("/") or "/" if path else "none"
