"""The real Envoy with the gateway's configuration, between raw sockets: what it does with bytes, without any cluster.

The control plane is the product's; the authoriser is a small one that counts its calls and lets everybody with a token in, so that each
test sees what Envoy does and nothing else. Upstreams are handlers of one connection, since half of the tests are about broken ones.
"""

from __future__ import annotations

import asyncio
import json
import re
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hack.cluster import envoy
from hack.cluster.control import free_ports
from roadstead.api.container import Protocol
from roadstead.gateway.control import for_envoy
from roadstead.gateway.envoy.ads import Store
from roadstead.gateway.envoy.bootstrap import bootstrap
from roadstead.gateway.envoy.resources import EnvoyUpstreams
from roadstead.gateway.envoy.settings import EnvoySettings
from roadstead.gateway.rpc.connection import Connection
from roadstead.gateway.rpc.connection import serving as taking_calls

HOST = "127.0.0.1"
ID = "0123456789abcdef01234567"
PREFIX = f"/api/v2/endpoints/workloads/{ID}"
CLUSTER = f"w-{ID}"
TOKEN = "Bearer good"
Upstream = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Head:
    """A request as it came over the wire."""

    line: str
    headers: list[tuple[str, str]]

    @property
    def path(self) -> str:
        return self.line.split(" ")[1]

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name]


@dataclass
class Gate:
    """The small authoriser: ``asked`` are the heads of its questions."""

    verdict_seconds: float | None = None
    token: str = TOKEN
    """The Authorization that lets in."""
    user: str = "ada"
    cluster: str = CLUSTER
    broken: bool = False
    """Close without a word."""
    says: bytes | None = None
    """This, whatever the question."""
    asked: list[Head] = field(default_factory=list)
    release: asyncio.Event | None = None
    """If there, nobody is answered before it is set."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while (head := await read_head(reader)) is not None:
            await read_body(reader, head)  # a question that is repeated has an empty one
            self.asked.append(head)
            if self.release is not None:
                await self.release.wait()
            if self.broken:
                break
            writer.write(self._answer(head) if self.says is None else self.says)

    def _answer(self, head: Head) -> bytes:
        token = head.all("authorization")
        if token != [self.token]:
            return reply(401, b'{"detail":"who are you?"}', "www-authenticate: Bearer", "content-type: application/json")
        if re.fullmatch(re.escape(PREFIX) + "([/?].*)?", head.path) is None:
            return reply(404, b'{"detail":"no such thing"}', "content-type: application/json")
        said = [f"x-roadstead-cluster: {self.cluster}", f"x-roadstead-user: {self.user}"]
        if self.verdict_seconds is not None:
            said.append(f"x-roadstead-verdict-seconds: {self.verdict_seconds:g}")
        return reply(200, b"", *said)


@dataclass
class Answered:
    """What a client got: all bytes until Envoy closed, and the parts of the first answer in them."""

    raw: bytes

    @property
    def status(self) -> int:
        return int(self.raw.split(b" ", 2)[1]) if self.raw else 0

    @property
    def body(self) -> bytes:
        return self.raw.partition(b"\r\n\r\n")[2]

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def header(self, name: str) -> str | None:
        for line in self.raw.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")[1:]:
            key, _, value = line.partition(":")
            if key.lower() == name:
                return value.strip()
        return None


@dataclass
class Counts:
    """What Envoy reports of the endpoint: requests begun and 5xx in all, and those under way now."""

    issued: int = 0
    errors: int = 0
    in_progress: int = 0
    reports: int = 0

    def report(self, node: str, cluster: str, in_progress: int, issued: int, errors: int) -> None:
        if cluster.partition(".")[0] == CLUSTER:
            self.issued += issued
            self.errors += errors
            self.in_progress = in_progress

    def reported(self, node: str) -> None:
        self.reports += 1


@dataclass
class LoneEnvoy:
    """Everything that runs; ``upstreams`` is what the directory would speak to."""

    port: int
    admin_port: int
    folder: Path
    process: asyncio.subprocess.Process
    gate: Gate
    counts: Counts
    store: Store
    upstreams: EnvoyUpstreams
    stack: AsyncExitStack
    authoriser_port: int
    gates: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def open_gate(self) -> None:
        """The authoriser beside Envoy is there (again)."""
        await serving(self.gates, self.gate.serve, self.authoriser_port)
        self.stack.push_async_callback(self.close_gate)

    async def close_gate(self) -> None:
        """It dies: its connections are cut, and new ones are refused."""
        await self.gates.aclose()

    async def listen(self, upstream: Upstream, **options: Any) -> tuple[str, int]:
        """An address at which connections are given to the handler."""
        (port,) = free_ports(1)
        await serving(self.stack, upstream, port, **options)
        return HOST, port

    async def pods(
        self, *addresses: tuple[str, int], unready: tuple[tuple[str, int], ...] = (), protocol: Protocol = Protocol.HTTP
    ) -> None:
        """These are the pods of the endpoint now; returns when Envoy knows."""
        self.upstreams.put(CLUSTER, protocol, addresses, unready)
        await self.upstreams.acknowledged(CLUSTER)

    async def send(self, request: bytes, *, seconds: float = 20) -> Answered:
        """Send bytes, and give back all that comes until Envoy closes."""
        reader, writer = await asyncio.open_connection(HOST, self.port)
        try:
            writer.write(request)
            async with asyncio.timeout(seconds):
                return Answered(await reader.read())
        except ConnectionError:
            return Answered(b"")
        finally:
            writer.close()

    async def get(self, path: str = "/", *lines: str, method: str = "GET", body: bytes = b"") -> Answered:
        """An ordinary request with a good token, below the endpoint's prefix."""
        return await self.send(request(PREFIX + path, *lines, method=method, body=body))

    async def admin(self, path: str, method: str = "GET") -> str:
        """Ask Envoy itself."""
        reader, writer = await asyncio.open_connection(HOST, self.admin_port)
        writer.write(f"{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode())
        text = (await reader.read()).decode()
        writer.close()
        return text

    def log(self) -> str:
        return (self.folder / "envoy.log").read_text()


def request(path: str, *lines: str, method: str = "GET", body: bytes = b"", token: str | None = TOKEN) -> bytes:
    """Bytes of a request that wants the connection closed."""
    head = [f"{method} {path} HTTP/1.1", "host: a", "connection: close", *lines]
    if token is not None:
        head.append(f"authorization: {token}")
    if body or method == "POST":
        head.append(f"content-length: {len(body)}")
    return "\r\n".join(head).encode("latin-1") + b"\r\n\r\n" + body


def reply(status: int, body: bytes = b"", *lines: str) -> bytes:
    """Bytes of an answer."""
    return "\r\n".join((f"HTTP/1.1 {status} X", *lines, f"content-length: {len(body)}", "", "")).encode() + body


async def read_head(reader: asyncio.StreamReader) -> Head | None:
    """The next request's head; None at the end."""
    try:
        raw = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    first, *rest = raw.decode("latin-1")[:-4].split("\r\n")
    pairs = [line.partition(":") for line in rest]
    return Head(first, [(key.lower(), value.strip()) for key, _, value in pairs])


async def read_body(reader: asyncio.StreamReader, head: Head) -> bytes:
    """What belongs to the head."""
    if lengths := head.all("content-length"):
        return await reader.readexactly(int(lengths[0]))
    found = b""
    if head.all("transfer-encoding"):
        while size := int((await reader.readline()).strip(), 16):
            found += await reader.readexactly(size)
            await reader.readline()
        await reader.readline()
    return found


@dataclass
class Echo:
    """An upstream that keeps what it was sent and answers 200 at once."""

    seen: list[Head] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while (head := await read_head(reader)) is not None:
            self.seen.append(head)
            self.bodies.append(await read_body(reader, head))
            writer.write(reply(200, b"echo", "content-type: text/plain"))


async def serving(stack: AsyncExitStack, upstream: Upstream, port: int, **options: Any) -> None:
    """Listen until the stack is closed; connections still open then are cut."""
    tasks: set[asyncio.Task[None]] = set()

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await upstream(reader, writer)
        finally:
            tasks.discard(task)
            writer.close()

    server = await asyncio.start_server(one, HOST, port, backlog=1024, **options)

    async def stop() -> None:
        server.close()
        for task in list(tasks):
            task.cancel()
        if tasks:
            await asyncio.wait(list(tasks))

    stack.push_async_callback(stop)


@asynccontextmanager
async def lone_envoy(
    *, idle_timeout_seconds: int = 3600, cold_start_limit_seconds: int = 600, flags: Sequence[str] = (), **settings: Any
) -> AsyncIterator[LoneEnvoy]:
    """Start it; ready when the endpoint's route is there. ``flags`` are more of the command's, ``settings`` go to EnvoySettings."""
    port, admin, control, authoriser = free_ports(4)
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        store, gate, counts = Store(), Gate(), Counts()
        upstreams = EnvoyUpstreams(store)
        upstreams.configure(idle_timeout_seconds, cold_start_limit_seconds)
        calls = for_envoy(store, counts)
        await stack.enter_async_context(taking_calls(lambda: Connection(calls), HOST, control))
        chosen = EnvoySettings(host=HOST, port=port, admin_port=admin, control_port=control, authoriser_port=authoriser, **settings)
        (folder / "envoy.json").write_text(json.dumps(bootstrap(chosen)))
        log = stack.enter_context((folder / "envoy.log").open("wb"))
        command = [str(envoy.binary()), "-c", str(folder / "envoy.json"), "--concurrency", "1", "--log-level", "warning"]
        process = await asyncio.create_subprocess_exec(*command, "--disable-hot-restart", *flags, stdout=log, stderr=log)
        stack.push_async_callback(_end, process)
        one = LoneEnvoy(port, admin, folder, process, gate, counts, store, upstreams, stack, authoriser)
        await one.open_gate()
        await _ready(one)
        yield one


@asynccontextmanager
async def faultless(one: LoneEnvoy) -> AsyncIterator[None]:
    """At the end of the block it has refused nothing that it was told, and its script has not failed."""
    yield
    assert one.store.rejected == 0, one.log()
    assert "lua.errors: 0" in await one.admin("/stats?filter=lua"), one.log()


@asynccontextmanager
async def asking(envoy: LoneEnvoy) -> AsyncIterator[Counter[int]]:
    """Six clients for the length of the block; the counts of their answers, by status, are complete when it has ended."""
    seen: Counter[int] = Counter()
    over = asyncio.Event()

    async def client() -> None:
        while not over.is_set():
            seen[(await envoy.get("/x", method="POST", body=b"a")).status] += 1

    clients = [asyncio.create_task(client()) for _ in range(6)]
    yield seen
    over.set()
    await asyncio.gather(*clients)


async def _ready(one: LoneEnvoy) -> None:
    for _ in range(200):
        if one.process.returncode is not None:
            raise AssertionError(f"Envoy ended with {one.process.returncode}:\n{one.log()}")
        with suppress(OSError):
            if (await one.send(request("/healthz", token=None))).status in (200, 503):  # 503: it is short of memory
                return
        await asyncio.sleep(0.05)
    raise AssertionError(f"Envoy did not get ready:\n{one.log()}")


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()
        await process.wait()
