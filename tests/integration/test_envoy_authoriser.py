"""Whom Envoy asks whether a request may pass, and what becomes of it without a word that can be trusted.

Envoy is real and has the gateway's configuration; see tests/support/lone_envoy.py for what stands around it.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import pytest
from envoy.extensions.filters.http.lua.v3 import lua_pb2

from hack.cluster.certificates import Authority
from hack.cluster.control import free_ports
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
    reply,
    request,
    serving,
)


@pytest.fixture
async def envoy() -> AsyncIterator[LoneEnvoy]:
    async with lone_envoy() as one, faultless(one):
        yield one


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
