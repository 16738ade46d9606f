"""Containers of the tests' own behind a real gateway: servers on this machine that tell what they were asked.

``pod`` does what most tests want, ``raw_pod`` what no web server would do, ``grpc_pod`` and ``chat_pod`` what their clients speak.

Each server runs in a thread with a loop of its own, so that a test may wait (for kubectl, for an answer) while its pods go on.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
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
from aiohttp import WSMsgType, web
from aiohttp.typedefs import Handler, Middleware
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.support.gateways import own_address

Body = dict[str, Any]
MIB = 1_048_576
WORDS = ("The", " anchor", " holds", ".")
"""Of ``chat_pod``."""


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

    ``/status`` says ``code``, after ``seconds`` if there are any.
    ``tls``: a folder for a certificate that it signs itself.
    """
    made = Pod(0, "https" if tls is not None else "http")
    context = None
    if tls is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self_signed(tls))
    with _serving(made, _application(made), context):
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


@dataclass
class ChatPod(Pod):
    """``heard`` is released by the client for each word that it has got."""

    heard: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))


@contextmanager
def chat_pod() -> Iterator[ChatPod]:
    """A model (``/v1/chat/completions``) that says WORDS to everybody; in a stream the next one only when the client has the one before."""
    made = ChatPod(0)

    def told(kind: str, **choice: Any) -> Body:
        return {"id": "toy-1", "object": kind, "created": int(time.time()), "model": "toy", "choices": [{"index": 0, **choice}]}

    async def complete(request: web.Request) -> web.StreamResponse:
        if not (await request.json()).get("stream"):
            message = {"role": "assistant", "content": "".join(WORDS)}
            return web.json_response(told("chat.completion", finish_reason="stop", message=message))
        answer = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await answer.prepare(request)
        for word in WORDS:
            await answer.write(f"data: {json.dumps(told('chat.completion.chunk', delta={'content': word}))}\n\n".encode())
            heard = await asyncio.to_thread(made.heard.acquire, timeout=20)
            assert heard, "the client didn't get the word before the next one was said"
        await answer.write(b"data: [DONE]\n\n")
        return answer

    application = web.Application(middlewares=[_noting(made)])
    application.router.add_post("/v1/chat/completions", complete)
    with _serving(made, application):
        yield made


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
        await asyncio.sleep(float(request.query.get("seconds", "0")))
        return web.Response(status=int(request.query["code"]), text="the container's own words", headers={"x-own": "yes"})

    async def echo(request: web.Request) -> web.Response:
        return web.Response(body=json.dumps({**made.seen[-1], "by": made.port}), content_type="application/json")

    application = web.Application(middlewares=[_noting(made)], client_max_size=0)
    known = {"sse": sse, "ws": talk, "silent": silent, "drip": drip, "download": download, "upload": upload, "status": status}
    for path, handler in known.items():
        application.router.add_route("*", f"/{path}", handler)
    application.router.add_route("*", "/{rest:.*}", echo)
    return application


def _noting(made: Pod) -> Middleware:
    """Keep what was asked."""

    @web.middleware
    async def note(request: web.Request, handler: Handler) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        made.seen.append({"method": request.method, "path": request.raw_path, "headers": headers})
        return await handler(request)

    return note


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
