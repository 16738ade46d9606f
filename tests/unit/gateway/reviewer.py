"""An API server that reviews tokens and rights, and the raw HTTP/1.1 of a client such as Envoy."""

from __future__ import annotations

import asyncio
import base64
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web
from aiohttp.test_utils import TestServer

from roadstead.access.callers import Callers
from roadstead.access.rights import Rights
from roadstead.access.verdicts import Keeping
from roadstead.kube.client import ApiClient
from roadstead.kube.config import ClusterConfig
from roadstead.kube.resource import Body

AUDIENCE = "roadstead"
JWKS = "application/jwk-set+json"


@dataclass
class Reviewer:
    """``tokens``: whose they are. ``ours``: those that are for our audience only. ``rights``: who may what, where.

    A right is a verb, a resource (``workloads/invoke``), a namespace and a name, which may be empty. ``keys``: what tokens are signed with.
    """

    tokens: dict[str, str] = field(default_factory=dict)
    ours: set[str] = field(default_factory=set)
    rights: set[tuple[str, str, str, str, str]] = field(default_factory=set)
    keys: list[Body] = field(default_factory=list)
    forbidden: bool = False
    """Nobody may read the keys."""
    away: bool = False
    asked: Counter[str] = field(default_factory=Counter)
    url: str = ""

    def _token(self, spec: Body) -> Body:
        user, audiences = self.tokens.get(spec["token"]), spec["audiences"]
        if user is None or (spec["token"] in self.ours) != (audiences == [AUDIENCE]):
            return {"authenticated": False}
        return {"authenticated": True, "user": {"username": user}, "audiences": audiences}

    def _right(self, spec: Body) -> Body:
        wanted = spec["resourceAttributes"]
        resource = "/".join(filter(None, (wanted["resource"], wanted.get("subresource"))))
        names = {"", wanted.get("name", "")}
        held = any((spec["user"], wanted["verb"], resource, wanted["namespace"], name) in self.rights for name in names)
        return {"allowed": held and wanted["group"] == "roadstead.dev"}

    async def answer(self, request: web.Request) -> web.Response:
        if self.away:
            return _status(503, "ServiceUnavailable")
        if request.path == "/openid/v1/jwks":
            return self._jwks(request)
        plural, body = request.path.rsplit("/", 1)[1], await request.json()
        self.asked[plural] += 1
        status = self._token(body["spec"]) if plural == "tokenreviews" else self._right(body["spec"])
        return web.json_response({**body, "status": status}, status=201)

    def _jwks(self, request: web.Request) -> web.Response:
        self.asked["jwks"] += 1
        if self.forbidden:
            return _status(403, "Forbidden")
        if JWKS not in request.headers["Accept"]:  # as the API server has it
            return web.Response(status=406)
        return web.json_response({"keys": self.keys}, content_type=JWKS)


def _status(code: int, reason: str) -> web.Response:
    return web.json_response({"kind": "Status", "code": code, "reason": reason, "message": reason}, status=code)


@asynccontextmanager
async def reviewing(reviewer: Reviewer) -> AsyncIterator[ApiClient]:
    """Serve it; a client for it."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", reviewer.answer)
    server = TestServer(app)
    await server.start_server()
    try:
        async with ApiClient(ClusterConfig(str(server.make_url("")).rstrip("/")), user_agent="test", timeout_seconds=1) as client:
            yield client
    finally:
        await server.close()


def access(client: ApiClient, kept: float = 60, refused: float = 60, stale: float = 60) -> tuple[Callers, Rights]:
    """Both that ask, with answers kept for so many seconds."""
    keeping = Keeping(kept, refused, lambda: stale)
    return Callers(client, AUDIENCE, keeping), Rights(client, keeping)


def jwt(expires: float, name: str = "t") -> str:
    """A token that says when it ends; nobody has signed it."""
    payload = base64.urlsafe_b64encode(json.dumps({"exp": expires, "name": name}).encode()).rstrip(b"=").decode()
    return f"e30.{payload}.c2ln"


@dataclass(frozen=True, slots=True)
class Said:
    """An answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def detail(self) -> str:
        return str(json.loads(self.body)["detail"])


class Wire:
    """A connection to a port of this machine."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def ask(self, path: str, *, method: str = "GET", body: bytes = b"", **headers: str) -> None:
        """Send a request; ``_`` in headers' names stands for a dash."""
        lines = [f"{method} {path} HTTP/1.1", "host: gateway", *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items())]
        self.writer.write("\r\n".join([*lines, "", ""]).encode("latin-1") + body)

    async def hear(self) -> Said:
        """The next answer. Raises IncompleteReadError where there is none any more."""
        first, *lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").strip().split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        body = await self.reader.readexactly(int(headers["content-length"]))
        return Said(int(first.split()[1]), headers, body)

    async def over(self) -> bool:
        """Wait until the other side has closed, with nothing more to say."""
        try:
            return await self.reader.read() == b""
        except ConnectionError:
            return True


@asynccontextmanager
async def wire(port: int) -> AsyncIterator[Wire]:
    """Connect."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Wire(reader, writer)
    finally:
        writer.close()
