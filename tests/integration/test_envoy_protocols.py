"""What passes through Envoy, and how: paths, streams, WebSockets, and what is asked about them.

Envoy is real and has the gateway's configuration; see tests/support/lone_envoy.py for what stands around it.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import grpc.aio
import pytest
from envoy.extensions.filters.http.lua.v3 import lua_pb2

from hack.cluster.certificates import Authority
from hack.cluster.control import free_ports
from roadstead.api.container import Protocol
from roadstead.gateway.envoy.ads import ROUTES
from roadstead.gateway.envoy.resources import ROUTE, routes
from tests.support.lone_envoy import (
    CLUSTER,
    HOST,
    PREFIX,
    TOKEN,
    Answered,
    Echo,
    Gate,
    LoneEnvoy,
    asking,
    faultless,
    lone_envoy,
    read_head,
    reply,
    request,
    serving,
)


@pytest.fixture
async def envoy() -> AsyncIterator[LoneEnvoy]:
    async with lone_envoy() as one, faultless(one):
        yield one


async def test_the_container_sees_its_own_paths(envoy: LoneEnvoy) -> None:
    echo = Echo()
    await envoy.pods(await envoy.listen(echo))
    table = {
        "": "/",
        "/": "/",
        "?q=1": "/?q=1",
        "/a/b%2Fc?q=1%202&r=a/../b": "/a/b%2Fc?q=1%202&r=a/../b",
        "//x": "//x",
        "/a/./b": "/a/b",
        "/a/../b": "/b",
        "/a;b=c": "/a;b=c",
        "/%E4%B8%AD": "/%E4%B8%AD",
    }
    for asked, wanted in table.items():
        answer = await envoy.get(asked)
        assert (answer.status, echo.seen[-1].path) == (200, wanted), asked
    seen = echo.seen[-1]
    assert seen.all("x-forwarded-prefix") == [PREFIX]
    assert seen.all("x-roadstead-user") == ["ada"]
    assert not seen.all("authorization")
    assert not seen.all("x-roadstead-cluster")


async def test_no_workloads_are_no_reason_to_wait(envoy: LoneEnvoy) -> None:
    """Envoy opens its port once it has heard of clusters, be it that there are none; without a word it waits 15 s."""
    assert "LIVE" in await envoy.admin("/ready")
    assert "init_fetch_timeout: 0" in await envoy.admin("/stats?filter=cluster_manager.cds.init_fetch_timeout")


async def test_errors_have_one_form(envoy: LoneEnvoy) -> None:
    await envoy.pods()
    refused = await envoy.send(request(PREFIX + "/x", token=None))
    assert (refused.status, refused.json, refused.header("www-authenticate")) == (401, {"detail": "who are you?"}, "Bearer")
    unknown = await envoy.send(request("/api/v2/endpoints/workloads/ffff/x"))
    assert (unknown.status, unknown.json) == (404, {"detail": "no such thing"})
    elsewhere = await envoy.send(request("/elsewhere"))
    assert (elsewhere.status, elsewhere.json) == (404, {"detail": "there is nothing to call here"})
    nobody = await envoy.get("/x")
    assert (nobody.status, nobody.header("retry-after")) == (503, "1")
    envoy.gate.cluster = "w-never-told"
    untold = await envoy.get("/x")
    for answer in (refused, unknown, elsewhere, nobody, untold):
        assert answer.header("content-type") == "application/json"
        assert list(answer.json) == ["detail"]
        assert answer.json["detail"]


async def test_events_are_not_held_back(envoy: LoneEnvoy) -> None:
    """Each event must have arrived at the client before the service makes the next."""
    arrived = asyncio.Semaphore(0)

    async def events(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        for _ in range(5):
            writer.write(b"9\r\ndata: x\n\n\r\n")
            await arrived.acquire()
        writer.write(b"0\r\n\r\n")

    await envoy.pods(await envoy.listen(events))
    reader, writer = await asyncio.open_connection(HOST, envoy.port)
    writer.write(request(PREFIX + "/events"))
    await reader.readuntil(b"\r\n\r\n")
    for _ in range(5):
        async with asyncio.timeout(10):
            await reader.readuntil(b"data: x\n\n")
        arrived.release()
    assert (await reader.read()).endswith(b"0\r\n\r\n")
    writer.close()


async def test_websocket(envoy: LoneEnvoy) -> None:
    async def socket(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await read_head(reader)
        assert head is not None
        assert head.all("upgrade") == ["websocket"]
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n")
        while data := await reader.read(100):
            writer.write(data[::-1])

    await envoy.pods(await envoy.listen(socket))
    reader, writer = await asyncio.open_connection(HOST, envoy.port)
    head = f"GET {PREFIX}/ws HTTP/1.1\r\nhost: a\r\nauthorization: {TOKEN}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
    writer.write(head.encode())
    async with asyncio.timeout(10):
        assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
        for word in (b"abc", b"defgh"):
            writer.write(word)
            assert await reader.readexactly(len(word)) == word[::-1]
    writer.close()


class Echoes(grpc.GenericRpcHandler):
    """A gRPC service: one answer to /p.S/Unary, three to /p.S/Stream."""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        if handler_call_details.method == "/p.S/Unary":
            return grpc.unary_unary_rpc_method_handler(self.unary)
        return grpc.stream_stream_rpc_method_handler(self.stream)

    async def unary(self, message: bytes, _: object) -> bytes:
        return message * 2

    async def stream(self, messages: AsyncIterator[bytes], _: object) -> AsyncIterator[bytes]:
        async for message in messages:
            yield message + b"!"


async def test_grpc_through_h2c(envoy: LoneEnvoy) -> None:
    server = grpc.aio.server(handlers=[Echoes()])
    (port,) = free_ports(1)
    assert server.add_insecure_port(f"{HOST}:{port}") == port
    await server.start()
    try:
        await envoy.pods((HOST, port), protocol=Protocol.H2C)
        async with grpc.aio.insecure_channel(f"{HOST}:{envoy.port}") as channel:
            token = (("authorization", TOKEN),)
            assert await channel.unary_unary(f"{PREFIX}/p.S/Unary")(b"a", metadata=token, timeout=10) == b"aa"
            call = channel.stream_stream(f"{PREFIX}/p.S/Stream")(metadata=token, timeout=10)
            for word in (b"one", b"two"):  # each is answered before the next is said
                await call.write(word)
                assert await call.read() == word + b"!"
            await call.done_writing()
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await channel.unary_unary(f"{PREFIX}/p.S/Unary")(b"a", timeout=10)
            assert refused.value.code() == grpc.StatusCode.UNAUTHENTICATED
            await envoy.pods(protocol=Protocol.H2C)
            with pytest.raises(grpc.aio.AioRpcError) as nobody:
                await channel.unary_unary(f"{PREFIX}/p.S/Unary")(b"a", metadata=token, timeout=10)
            assert nobody.value.code() == grpc.StatusCode.UNAVAILABLE
    finally:
        await server.stop(0)


async def test_silence_is_cut_by_the_routes_idle_timeout_alone() -> None:
    """It begins when a pod has the request, whether somebody was asked about that or not; waiting for a pod has limits of its own."""

    begun: Counter[str] = Counter()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await read_head(reader)
        assert head is not None
        begun[head.path] += 1
        await asyncio.sleep(0.5 if head.path == "/short" else 60)
        writer.write(reply(200, b"at last", "connection: close"))

    async with lone_envoy(idle_timeout_seconds=2) as envoy:
        await envoy.pods(await envoy.listen(silent))
        body = {"method": "POST", "body": b"x" * 100_000}

        async def call() -> None:
            calls = (envoy.get("/short"), envoy.get("/short", **body), envoy.get("/long"), envoy.get("/long", **body))
            *short, long, long_with_body = await asyncio.gather(*calls)
            assert [answer.body for answer in short] == [b"at last"] * 2
            for answer in (long, long_with_body):
                assert (answer.status, "idle timeout" in answer.json["detail"]) == (504, True)

        await call()
        envoy.gate.release = asyncio.Event()
        held = asyncio.create_task(call())
        await asyncio.sleep(4)
        assert not held.done()
        envoy.gate.release.set()
        await held
        envoy.gate.verdict_seconds = 60
        await envoy.get("/short")
        asked = len(envoy.gate.asked)
        await call()
        assert len(envoy.gate.asked) == asked
        assert begun["/long"] == 6, "none is tried again"


async def test_silence_is_cut_before_a_request_is_whole_too() -> None:
    """A body of which nothing has come when a pod has the head, and a WebSocket that the pod doesn't answer."""

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with lone_envoy(idle_timeout_seconds=1, cold_start_limit_seconds=1) as envoy:
        await envoy.pods(await envoy.listen(silent))
        upgrade = request(PREFIX + "/ws", "upgrade: websocket").replace(b"connection: close", b"connection: upgrade")
        for head in (request(PREFIX + "/x", "content-length: 5"), upgrade):
            cut = await envoy.send(head)
            assert cut.status in (408, 504)  # the former while the request isn't whole
            assert "idle timeout" in cut.json["detail"]
        assert len(envoy.gate.asked) == 2


PATHS = ("", "/", "?", "?q=/1", "/?q", "/x", "//x", "//", "/x/", "/%2fx?y=%2f", "/a;b=c", "/x?" + "y" * 2000)


async def test_a_path_is_the_same_to_the_service_whoever_let_it_through(envoy: LoneEnvoy) -> None:
    """By a route's pattern, or by the script that knows the verdict."""
    echo = Echo()
    await envoy.pods(await envoy.listen(echo))
    for path in PATHS:
        assert (await envoy.get(path)).status == 200, path
    envoy.gate.verdict_seconds = 60
    assert (await envoy.get("/x")).status == 200
    asked = len(envoy.gate.asked)
    for path in PATHS:
        assert (await envoy.get(path)).status == 200, path
    assert len(envoy.gate.asked) == asked
    lines = [head.line for head in echo.seen]
    assert lines[: len(PATHS)] == lines[-len(PATHS) :]
    assert lines[:4] == [f"GET {path} HTTP/1.1" for path in ("/", "/", "/?", "/?q=/1")]


async def test_a_known_verdict_asks_nobody(envoy: LoneEnvoy) -> None:
    echo = Echo()
    await envoy.pods(await envoy.listen(echo))
    envoy.gate.verdict_seconds = 60
    for _ in range(5):
        assert (await envoy.get("/x?y=1", "x-roadstead-user: mallory")).status == 200
    assert len(envoy.gate.asked) == 1
    await envoy.close_gate()
    assert (await envoy.get("/x?y=1")).status == 200
    await envoy.open_gate()
    first, last = echo.seen[0], echo.seen[-1]
    same = [[pair for pair in head.headers if pair[0] != "x-request-id"] for head in (first, last)]
    assert same[0] == same[1]
    ours = {"x-forwarded-prefix", "x-roadstead-user"}
    others = {"x-forwarded-for", "x-forwarded-proto", "x-request-id", "x-envoy-external-address"}
    assert {name for name, _ in first.headers if name.startswith("x-")} == ours | others, "all that docs/gateway.md tells of"
    assert (first.line, last.line) == ("GET /x?y=1 HTTP/1.1",) * 2
    for refused in (
        request(PREFIX + "/x", token="Bearer bad"),
        request(PREFIX + "/x", token=None),
        request(PREFIX + "/x", "authorization: Bearer bad"),
    ):
        assert (await envoy.send(refused)).status == 401
    for other in ("zz/x", "0/x", "%30/x"):  # a longer name is another endpoint, of which this verdict says nothing
        asked = len(envoy.gate.asked)
        await envoy.send(request(PREFIX + other))
        assert len(envoy.gate.asked) == asked + 1, other


@pytest.mark.parametrize("own", ["mine-1", "0192f3a0-1111-7222-8333-444455556666", "0192f3a0-1111-9222-8333-444455556666"])
async def test_a_callers_own_request_id_reaches_the_service(envoy: LoneEnvoy, own: str) -> None:
    """As it is: in one with a UUID's form Envoy would write what it has decided about tracing. Who has none gets one."""
    echo = Echo()
    await envoy.pods(await envoy.listen(echo))
    envoy.gate.verdict_seconds = 60
    for _ in range(3):  # the first is asked about
        assert (await envoy.get("/x", f"x-request-id: {own}")).status == 200
    assert [head.all("x-request-id") for head in echo.seen] == [[own]] * 3
    assert (await envoy.get("/x")).status == 200
    (given,) = echo.seen[-1].all("x-request-id")
    assert given not in ("", own)


async def test_a_verdict_ends(envoy: LoneEnvoy) -> None:
    await envoy.pods(await envoy.listen(Echo()))
    envoy.gate.verdict_seconds = 1
    for _ in range(2):
        await envoy.get("/x")
        await asyncio.sleep(2.5)
    assert len(envoy.gate.asked) == 2


@pytest.mark.long
async def test_a_request_may_be_held_for_long(envoy: LoneEnvoy) -> None:
    """Longer than any default of Envoy's; its body waits with it."""
    echo = Echo()
    await envoy.pods(await envoy.listen(echo))
    envoy.gate.release = asyncio.Event()
    held = asyncio.create_task(envoy.get("/x", method="POST", body=b"x" * 3_000_000))
    await asyncio.sleep(17)
    assert (len(envoy.gate.asked), echo.seen, held.done()) == (1, [], False)
    envoy.gate.release.set()
    assert (await held).status == 200
    assert echo.bodies == [b"x" * 3_000_000]


async def more_asked(gate: Gate) -> None:
    """Return when it has been asked more questions; raises TimeoutError when it isn't."""
    before = len(gate.asked)
    async with asyncio.timeout(15):
        while len(gate.asked) == before:  # noqa: ASYNC110 - the gate is a plain list
            await asyncio.sleep(0.05)


async def test_a_sibling_authorises_while_the_own_process_is_away(tmp_path: Path) -> None:
    """The process beside Envoy dies under load, for longer than a check of its health, and comes back: nobody notices."""
    pair = Authority.create(tmp_path).server("tls", ["roadstead-gateway"], [])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    context.load_verify_locations(tmp_path / "ca.crt")
    context.verify_mode = ssl.CERT_REQUIRED
    control, sibling = free_ports(2)
    beyond = Gate()
    async with AsyncExitStack() as stack, lone_envoy(certificates=tmp_path, peers=((HOST, control, sibling),)) as envoy:
        await serving(stack, beyond.serve, sibling, ssl=context)
        while f"authoriser::{HOST}:{sibling}::health_flags::healthy" not in await envoy.admin("/clusters"):  # noqa: ASYNC110
            await asyncio.sleep(0.1)  # until Envoy knows that there is a sibling
        await envoy.pods(await envoy.listen(Echo()))
        async with asking(envoy) as seen:
            for _ in range(2):
                await asyncio.sleep(0.5)
                await envoy.close_gate()
                await more_asked(beyond)
                await asyncio.sleep(1.5)
                await envoy.open_gate()
                await more_asked(envoy.gate)
                await asyncio.sleep(1.5)
        assert set(seen) == {200}, seen
        await envoy.close_gate()
        beyond.says = reply(503, b'{"detail":"Stopped"}', "x-roadstead-said: true", "content-type: application/json", "retry-after: 7")
        answer = await envoy.get("/x")
        assert (answer.status, answer.json, answer.header("retry-after")) == (503, {"detail": "Stopped"}, "7")


@pytest.mark.parametrize(("name", "asked"), [("localhost", True), ("istio-ingressgateway.istio-system.svc", False)])
async def test_only_who_bears_the_replicas_name_is_asked_in_the_own_ones_place(tmp_path: Path, name: str, asked: bool) -> None:
    """An authority may sign for others too."""
    pair = Authority.create(tmp_path).server("tls", [name], [])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    (sibling,) = free_ports(1)
    beyond = Gate()
    ways = {"peer_host": "localhost", "peer_authoriser_port": sibling}
    async with AsyncExitStack() as stack, lone_envoy(certificates=tmp_path, **ways) as envoy:
        await serving(stack, beyond.serve, sibling, ssl=context)
        await envoy.pods(await envoy.listen(Echo()))
        await asyncio.sleep(2)  # several checks: before the first one all count as failed
        judged = f"authoriser::{HOST}:{sibling}::health_flags::{'healthy' if asked else '/failed_active_hc'}"
        async with asyncio.timeout(20):
            while judged not in await envoy.admin("/clusters"):  # noqa: ASYNC110 - Envoy tells nobody
                await asyncio.sleep(0.1)
        await envoy.close_gate()
        assert (await envoy.get("/x")).status == (200 if asked else 503)
        assert bool(beyond.asked) == asked


async def test_without_a_word_of_the_authoriser_nobody_is_let_in(envoy: LoneEnvoy) -> None:
    echo = Echo()
    await envoy.pods(await envoy.listen(echo))
    envoy.gate.broken = True
    answer = await envoy.get("/x")
    assert (answer.status, answer.json) == (503, {"detail": "permission can't be asked for at the moment; try again"})
    assert not echo.seen


@pytest.mark.parametrize(
    "said",
    [
        reply(200),
        reply(200, b"", "x-roadstead-cluster;: w", "x-roadstead-verdict-seconds: 60"),
        reply(500, b"", f"x-roadstead-cluster: {CLUSTER}"),
        b"HTTP/1.1 abc\r\n\r\n",
    ],
    ids=["nothing", "something else", "a failure", "nonsense"],
)
async def test_what_the_authoriser_says_that_is_no_word_of_its_lets_nobody_in(envoy: LoneEnvoy, said: bytes) -> None:
    echo = Echo()
    await envoy.pods(await envoy.listen(echo))
    envoy.gate.says = said
    for _ in range(2):
        answer = await envoy.get("/x")
        assert (answer.status, answer.header("retry-after")) == (503, "1")
        assert answer.json == {"detail": "permission can't be asked for at the moment; try again"}
    assert not echo.seen


async def test_a_lifetime_that_is_none_is_not_kept(envoy: LoneEnvoy) -> None:
    await envoy.pods(await envoy.listen(Echo()))
    for lifetime in ("soon", "-1", "nan", "1e9999", "86400"):
        envoy.gate.asked.clear()
        envoy.gate.says = reply(200, b"", f"x-roadstead-cluster: {CLUSTER}", f"x-roadstead-verdict-seconds: {lifetime}")
        token = f"Bearer {lifetime}"
        assert [(await envoy.send(request(PREFIX, token=token))).status for _ in range(2)] == [200, 200]
        assert len(envoy.gate.asked) == 2, lifetime


async def test_where_the_script_fails_nobody_is_let_in() -> None:
    """Envoy goes on with a request whose script has failed."""
    async with lone_envoy() as envoy:
        echo = Echo()
        await envoy.pods(await envoy.listen(echo))
        assert (await envoy.get("/x")).status == 200
        config = routes(3600, 600)
        script = config.virtual_hosts[0].typed_per_filter_config["envoy.filters.http.lua"]
        broken = lua_pb2.LuaPerRoute.FromString(script.value)
        broken.source_code.inline_string = 'function envoy_on_request(handle) error("broken") end'
        script.Pack(broken)
        envoy.store.put(ROUTES, ROUTE, config)
        async with asyncio.timeout(20):
            while "lua.errors: 0" in await envoy.admin("/stats?filter=lua"):
                assert (await envoy.get("/x")).status in (200, 503)
        seen = len(echo.seen)
        for _ in range(5):
            assert (await envoy.get("/x")).status == 503
        assert len(echo.seen) == seen


@pytest.mark.parametrize(("token", "broken", "status"), [("Bearer bad", False, 401), (TOKEN, True, 503)])
async def test_who_is_refused_in_the_middle_of_a_large_upload_hears_why(envoy: LoneEnvoy, token: str, broken: bool, status: int) -> None:
    """Envoy doesn't wait for the rest: who reads only after he has written all may find the connection reset."""
    echo = Echo()
    await envoy.pods(await envoy.listen(echo))
    envoy.gate.broken = broken
    reader, writer = await asyncio.open_connection(HOST, envoy.port)
    writer.write(request(f"{PREFIX}/x", method="POST", body=b"x" * 8_000_000, token=token))
    heard = b""
    async with asyncio.timeout(20):
        with suppress(ConnectionError):
            while more := await reader.read(65_536):
                heard += more
    writer.transport.abort()
    answer = Answered(heard)
    assert answer.status == status
    assert answer.json["detail"]
    assert not echo.seen
