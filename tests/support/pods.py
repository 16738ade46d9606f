"""Containers of the tests' own behind a real gateway: servers on this machine that tell what they were asked.

``pod`` does what most tests want (see web_pod.py), ``raw_pod`` what no web server would do, ``grpc_pod`` what gRPC's clients speak.

Each server runs in a thread with a loop of its own, so that a test may wait (for kubectl, for an answer) while its pods go on.
"""

from __future__ import annotations

import asyncio
import ssl
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.support.gateways import own_address
from tests.support.web_pod import application

Body = dict[str, Any]


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
    """web_pod.py's server. ``tls``: a folder for a certificate that it signs itself."""
    made = Pod(0, "https" if tls is not None else "http")
    context = None
    if tls is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self_signed(tls))
    with _serving(made, application(made.seen), context):
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


@contextmanager
def _serving(made: Pod, application: web.Application, tls: ssl.SSLContext | None = None) -> Iterator[None]:
    async def main(stop: asyncio.Event, ready: Callable[[], None]) -> None:
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=1, max_line_size=65536, max_field_size=65536)
        await runner.setup()
        site = web.TCPSite(runner, own_address(), 0, ssl_context=tls, backlog=4096)
        await site.start()
        made.port = runner.addresses[0][1]
        ready()
        await stop.wait()
        await runner.cleanup()

    with _looping(main):
        yield


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
