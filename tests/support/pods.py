"""Containers of the tests' own behind a real gateway: servers on this machine that tell what they were asked, and a place to call them.

Each server runs in a thread with a loop of its own, so that a test may wait (for kubectl, for an answer) while its pods go on.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import socket
import ssl
import threading
import time
import uuid
from collections.abc import Callable, Coroutine, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import httpx
from aiohttp import WSMsgType, web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from hack.cluster.api import Cluster
from roadstead.api.identity import object_id
from tests.build import raw_artifact, raw_workload
from tests.clusters import apply, wait_for
from tests.support.gateways import Replica, own_address
from tests.support.rest import account
from tests.world import here

Body = dict[str, Any]
MIB = 1_048_576
KINDS: Mapping[str, Body] = {
    "ready": {"ready": True, "serving": True, "terminating": False},
    "leaving": {"ready": False, "serving": True, "terminating": True},
    "gone": {"ready": False, "serving": False, "terminating": True},
}
"""Conditions of an endpoint in its EndpointSlice."""


@dataclass
class Pod:
    """A server, and the requests that have reached it."""

    port: int
    protocol: str = "http"
    seen: list[Body] = field(default_factory=list)
    raw: bytearray = field(default_factory=bytearray)
    """All bytes, of a pod that doesn't take them apart."""
    connections: int = 0
    left: list[float] = field(default_factory=list)
    """How many seconds after its last request a connection was closed by the other side."""

    def paths(self) -> list[str]:
        return [said["path"] for said in self.seen]


@contextmanager
def pod(tls: Path | None = None) -> Iterator[Pod]:
    """A web server: ``/sse``, ``/ws``, ``/silent``, ``/drip``, ``/download`` and ``/upload`` do what they are called, all else is echoed.

    ``tls``: a folder for a certificate that it signs itself.
    """
    made = Pod(0, "https" if tls is not None else "http")

    async def main(stop: asyncio.Event, ready: Callable[[], None]) -> None:
        runner = web.AppRunner(_application(made), access_log=None, shutdown_timeout=1, max_line_size=65536, max_field_size=65536)
        await runner.setup()
        context = None
        if tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*self_signed(tls))
        site = web.TCPSite(runner, own_address(), 0, ssl_context=context, backlog=4096)
        await site.start()
        made.port = runner.addresses[0][1]
        ready()
        await stop.wait()
        await runner.cleanup()

    with _looping(main):
        yield made


@contextmanager
def raw_pod(react: Callable[[bytes], bytes | None], *, hang_up: bool = False) -> Iterator[Pod]:
    """A server that reads heads of requests and says what ``react`` does to them; None: it closes the connection without a word.

    ``hang_up``: it does so after an answer as well.
    """
    made = Pod(0)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        made.connections += 1
        last = time.monotonic()
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                last = time.monotonic()
                made.raw += head
                said = react(head)
                if said is None:
                    break
                writer.write(said)
                await writer.drain()
                if hang_up:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            made.left.append(time.monotonic() - last)
        finally:
            writer.close()

    async def main(stop: asyncio.Event, ready: Callable[[], None]) -> None:
        server = await asyncio.start_server(talk, own_address(), 0)
        made.port = server.sockets[0].getsockname()[1]
        ready()
        await stop.wait()
        server.close()

    with _looping(main):
        yield made


@contextmanager
def grpc_pod() -> Iterator[Pod]:
    """A gRPC server (h2c): ``/test.Echo/Unary`` and ``/test.Echo/Stream`` say what they were sent, the latter three times."""
    made = Pod(0, "kubernetes.io/h2c")

    def unary(request: bytes, context: grpc.ServicerContext) -> bytes:
        made.seen.append({"path": "/test.Echo/Unary", "headers": dict(context.invocation_metadata())})
        return request

    def stream(request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        made.seen.append({"path": "/test.Echo/Stream", "headers": dict(context.invocation_metadata())})
        for number in range(3):
            yield b"%d %b" % (number, request)

    handlers = {"Unary": grpc.unary_unary_rpc_method_handler(unary), "Stream": grpc.unary_stream_rpc_method_handler(stream)}
    server = grpc.server(ThreadPoolExecutor(max_workers=8))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Echo", handlers),))
    made.port = server.add_insecure_port(f"{own_address()}:0")
    server.start()
    try:
        yield made
    finally:
        server.stop(None).wait()


class Place:
    """A namespace with a caller who may invoke what is in it, seen through a gateway."""

    def __init__(self, cluster: Cluster, namespace: str, gateway: Replica) -> None:
        self.cluster, self.namespace, self.gateway = cluster, namespace, gateway
        apply(cluster, here(namespace, raw_artifact()))
        self.token = account(cluster, namespace, "caller", "roadstead-invoke")

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    def workload(self, *pods: Pod) -> str:
        """A Workload of its own behind which these pods are ready. Returns its name."""
        name = f"w{uuid.uuid4().hex[:8]}"
        apply(self.cluster, here(self.namespace, raw_workload(name)))
        self.pods(name, *pods)
        return name

    def pods(self, name: str, *pods: Pod, **others: Pod) -> None:
        """More pods of a Workload. ``ready=…`` is what they are without a word, ``leaving=…`` and ``gone=…`` say otherwise."""
        said = [(one, "ready") for one in pods] + [(one, state) for state, one in others.items()]
        if said:
            apply(self.cluster, *(self._slice(name, one, KINDS[state]) for one, state in said))

    def prefix(self, name: str) -> str:
        """The path under which the gateway offers it, without a slash at the end."""
        return f"/api/v2/endpoints/workloads/{object_id('workloads', self.namespace, name)}"

    def url(self, name: str, rest: str = "/") -> str:
        return f"{self.gateway.url}{self.prefix(name)}{rest}"

    def client(self, **options: Any) -> httpx.Client:
        """A client of the gateway that bears the caller's token."""
        return httpx.Client(base_url=self.gateway.url, **{"headers": self.headers, "timeout": 60, **options})

    def serving(self, *pods: Pod) -> str:
        """As ``workload``; returns when it has answered a request, so that Envoy knows the pods and remembers the caller."""
        name = self.workload(*pods)
        protocol = pods[0].protocol
        if protocol != "kubernetes.io/h2c":
            answer = httpx.get(self.url(name, "/warm"), headers=self.headers, timeout=60)
            assert answer.status_code == 200, answer.text
        return name

    def _slice(self, name: str, one: Pod, conditions: Body) -> Body:
        labels = {"kubernetes.io/service-name": name, "app.kubernetes.io/managed-by": "roadstead", "roadstead.dev/workload": name}
        return {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": f"{name}-{one.port}", "namespace": self.namespace, "labels": labels},
            "addressType": "IPv4",
            "ports": [{"name": "http", "port": one.port, "protocol": "TCP", "appProtocol": one.protocol}],
            "endpoints": [{"addresses": [own_address()], "conditions": conditions}],
        }


def connected(gateway: Replica, seconds: float = 10) -> socket.socket:
    return socket.create_connection(("127.0.0.1", gateway.ports["port"]), timeout=seconds)


def sent(gateway: Replica, data: bytes, seconds: float = 10) -> bytes:
    """Everything that is said to these bytes until the connection closes; b"..." at the end if it never does."""
    said = b""
    with connected(gateway, seconds) as connection:
        connection.sendall(data)
        try:
            while piece := connection.recv(65536):
                said += piece
        except TimeoutError:
            return said + b"..."
        except ConnectionError:
            pass
    return said


def resident_mib(pid: int) -> float:
    """Memory of a process, in MiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise AssertionError(f"process {pid} has no memory")


def figure(replica: Replica, series: str) -> float:
    """A figure of the gateway's process, by its whole name with labels."""
    for line in httpx.get(replica.metrics, timeout=10).text.splitlines():
        name, _, value = line.rpartition(" ")
        if name == series:
            return float(value)
    raise AssertionError(f"no {series}")


def wait_route(replica: Replica, idle_timeout_seconds: int) -> None:
    """Return when Envoy's route has that idle timeout."""
    dump = f"http://127.0.0.1:{replica.ports['admin']}/config_dump?resource=dynamic_route_configs"
    wait_for(lambda: f'"idle_timeout": "{idle_timeout_seconds}s"' in httpx.get(dump, timeout=5).text, "Envoy to have the route")


def self_signed(folder: Path) -> tuple[Path, Path]:
    """A certificate that nobody has a reason to believe, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "pod.test")])
    now = datetime.now(UTC)
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    made = made.serial_number(x509.random_serial_number()).not_valid_before(now - timedelta(hours=1))
    signed = made.not_valid_after(now + timedelta(days=1)).sign(key, hashes.SHA256())
    chain, private = folder / "tls.crt", folder / "tls.key"
    chain.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    private.write_bytes(key.private_bytes(*form))
    return chain, private


def _application(made: Pod) -> web.Application:
    async def sse(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await answer.prepare(request)
        for number in range(int(request.query.get("events", "4"))):
            await answer.write(f"data: {number} {time.monotonic()}\n\n".encode())
            await asyncio.sleep(float(request.query.get("pause", "0.5")))
        return answer

    async def talk(request: web.Request) -> web.WebSocketResponse:
        answer = web.WebSocketResponse(protocols=("chat",))
        await answer.prepare(request)
        async for message in answer:
            if message.type is WSMsgType.TEXT:
                await answer.send_str(message.data)
            elif message.type is WSMsgType.BINARY:
                await answer.send_bytes(message.data)
        return answer

    async def silent(request: web.Request) -> web.Response:
        await asyncio.sleep(float(request.query["seconds"]))
        return web.Response(text="done")

    async def drip(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        for _ in range(int(request.query["pieces"])):
            await answer.write(b"x" * 1000)
            await asyncio.sleep(float(request.query["pause"]))
        return answer

    async def download(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        piece = bytes(MIB)
        for _ in range(int(request.query["mib"])):
            await answer.write(piece)
        return answer

    async def upload(request: web.Request) -> web.Response:
        size, digest = 0, hashlib.sha256()
        async for piece in request.content.iter_any():
            size += len(piece)
            digest.update(piece)
        return web.json_response({"size": size, "sha256": digest.hexdigest()})

    async def status(request: web.Request) -> web.Response:
        return web.Response(status=int(request.query["code"]), text="the container's own words", headers={"x-own": "yes"})

    async def echo(request: web.Request) -> web.Response:
        return web.Response(body=json.dumps({**made.seen[-1], "by": made.port}), content_type="application/json")

    @web.middleware
    async def note(request: web.Request, handler: Callable[[web.Request], Coroutine[Any, Any, web.StreamResponse]]) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        made.seen.append({"method": request.method, "path": request.raw_path, "headers": headers})
        return await handler(request)

    application = web.Application(middlewares=[note], client_max_size=0)
    known = {"sse": sse, "ws": talk, "silent": silent, "drip": drip, "download": download, "upload": upload, "status": status}
    for path, handler in known.items():
        application.router.add_route("*", f"/{path}", handler)
    application.router.add_route("*", "/{rest:.*}", echo)
    return application


@contextmanager
def _looping(main: Callable[[asyncio.Event, Callable[[], None]], Coroutine[Any, Any, None]]) -> Iterator[None]:
    """Run it in a thread until the end of the ``with`` block, which begins when it says that it is ready."""
    started = threading.Event()
    loops: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def run() -> None:
        stop = asyncio.Event()
        loops.append((asyncio.get_running_loop(), stop))
        await main(stop, started.set)
        await asyncio.sleep(0.1)  # what is being closed

    thread = threading.Thread(target=lambda: asyncio.run(run()), daemon=True)
    thread.start()
    assert started.wait(10)
    loop, stop = loops[0]
    try:
        yield
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
