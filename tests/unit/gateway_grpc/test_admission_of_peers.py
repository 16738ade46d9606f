"""KEDA's certificate opens KEDA's door, and no other."""

from __future__ import annotations

import asyncio
import shutil
import socket
import ssl
from collections.abc import Callable, Coroutine
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
import uvloop
from envoy.service.discovery.v3 import ads_pb2_grpc, discovery_pb2

from roadstead.certificates import dns_names, renewal
from roadstead.gateway.control import HTTP2, Control
from roadstead.gateway.envoy.ads import CLUSTERS, Store
from roadstead.gateway.http import Connection as Http
from roadstead.gateway.http import Request, listening, message
from roadstead.gateway.ledger.ledger import Ledger
from roadstead.gateway.peers import SERVICE, Peers
from roadstead.gateway.rpc.calls import Calls
from roadstead.gateway.rpc.connection import Connection, serving
from roadstead.gateway.rpc.frames import PREFACE, Frame
from roadstead.settings import GatewaySettings
from roadstead.tls import SNI, Certificates


def door() -> Connection:
    """KEDA's, with nothing behind it."""
    return Connection(Calls({}, {}))


class Greets(Http):
    """Says the same to everybody who is let in."""

    def answer(self, request: Request) -> None:
        self.reply(message(200, b"hello"))


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [each.getsockname()[1] for each in sockets]


def folder(of: Path, data: dict[str, bytes], pair: str) -> Path:
    """A folder of certificates as its owner has it."""
    of.mkdir()
    for name, source in (("ca.crt", "ca.crt"), ("tls.crt", f"{pair}.crt"), ("tls.key", f"{pair}.key")):
        (of / name).write_bytes(data[source])
    return of


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    made = renewal(None, dns_names("roadstead-system", "roadstead-gateway", "roadstead-gateway-peers"), datetime.now(UTC))
    assert made is not None
    return folder(tmp_path / "gateway", made.data, "tls"), folder(tmp_path / "keda", made.data, "client")


async def test_kedas_certificate_does_for_no_call_of_peers(folders: tuple[Path, Path]) -> None:
    gateway, keda = (Certificates(each) for each in folders)
    control_port, peer_port, scaler_port = free_ports(3)
    settings = GatewaySettings(control_port=control_port, peer_port=peer_port, scaler_port=scaler_port)
    ledger = Ledger("a")
    options = [("grpc.ssl_target_name_override", SNI)]

    async def said(certificates: Certificates) -> list[object]:
        """What each kind of call comes to: the first word, or the refusal."""
        async with grpc.aio.secure_channel(f"127.0.0.1:{peer_port}", certificates.grpc_client(), options) as channel:
            follow = channel.unary_stream(f"/{SERVICE}/Follow")(b"")
            envoy = ads_pb2_grpc.AggregatedDiscoveryServiceStub(channel).DeltaAggregatedResources()
            return [await word(follow), await word(envoy, discovery_pb2.DeltaDiscoveryRequest(type_url=CLUSTERS))]

    async with Control(settings, Store(), ledger, gateway, peers=(Peers(ledger).handler(),), scaler=door):
        refused = grpc.StatusCode.PERMISSION_DENIED
        assert await said(keda) == [refused, refused]
        assert refused not in await said(gateway)
        assert not ledger.knows("")


async def word(call: Any, said: object = None) -> object:
    """What comes back: a message, or the refusal, which may be there before anything is said."""
    try:
        if said is not None:
            with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
                await call.write(said)
        return type(await call.read())
    except grpc.aio.AioRpcError as error:
        return error.code()
    finally:
        call.cancel()


async def test_kedas_certificate_does_not_for_the_authoriser(folders: tuple[Path, Path]) -> None:
    gateway, keda = folders
    async with listening(Greets, "127.0.0.1", 0, Certificates(gateway)) as port:
        assert (await asked(port, gateway)).startswith(b"HTTP/1.1 200")
        assert await asked(port, keda) == b""


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_a_former_authority_is_trusted_no_more(tmp_path: Path, run: Callable[[Coroutine[Any, Any, None]], None]) -> None:
    """The folder is another's from one connection to the next, without a restart."""
    first, second, ours = tmp_path / "first", tmp_path / "second", tmp_path / "ours"
    for each in (first, second):
        made = renewal(None, dns_names("roadstead-system", "roadstead-gateway", "roadstead-gateway-peers"), datetime.now(UTC))
        assert made is not None
        folder(each, made.data, "tls")

    async def main() -> None:
        shutil.copytree(first, ours)
        async with listening(Greets, "127.0.0.1", 0, Certificates(ours)) as port:
            assert (await asked(port, first)).startswith(b"HTTP/1.1 200")
            assert await asked(port, second, authority=first) == b""
            shutil.copytree(second, ours, dirs_exist_ok=True)
            assert (await asked(port, second)).startswith(b"HTTP/1.1 200")
            assert await asked(port, first, authority=second) == b""

    run(main())


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_kedas_door_opens_to_whom_the_authority_of_now_has_signed(
    folders: tuple[Path, Path], tmp_path: Path, run: Callable[[Coroutine[Any, Any, None]], None]
) -> None:
    gateway, keda = folders
    made = renewal(None, dns_names("roadstead-system", "roadstead-gateway", "roadstead-gateway-peers"), datetime.now(UTC))
    assert made is not None
    later, kedas_later = folder(tmp_path / "later", made.data, "tls"), folder(tmp_path / "kedas-later", made.data, "client")

    async def main() -> None:
        async with serving(door, "127.0.0.1", 0, Certificates(gateway).server(HTTP2)) as port:
            assert await greeted(port, keda) == HTTP2
            assert await greeted(port, kedas_later, authority=keda) is None
            shutil.copytree(later, gateway, dirs_exist_ok=True)
            assert await greeted(port, kedas_later) == HTTP2
            assert await greeted(port, keda, authority=kedas_later) is None

    run(main())


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_who_comes_while_kedas_door_is_closed_is_not_let_in(
    folders: tuple[Path, Path], run: Callable[[Coroutine[Any, Any, None]], None]
) -> None:
    gateway, keda = folders

    async def main() -> None:
        async with serving(door, "127.0.0.1", 0, Certificates(gateway).server(HTTP2)) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            assert await greeted(port, keda) == HTTP2  # so the one before it has been taken too, whose handshake is to come
        try:
            with suppress(ConnectionError):
                await writer.start_tls(trusting(keda), server_hostname=SNI)
                assert await asyncio.wait_for(reader.read(9), 5) == b""
        finally:
            writer.transport.abort()

    run(main())


def trusting(certificates: Path, authority: Path | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str((authority or certificates) / "ca.crt"))
    context.load_cert_chain(certificates / "tls.crt", certificates / "tls.key")
    return context


async def greeted(port: int, certificates: Path, authority: Path | None = None) -> str | None:
    """The protocol that is agreed upon, once the server has greeted back; None if it doesn't."""
    context = trusting(certificates, authority)
    context.set_alpn_protocols([HTTP2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=SNI)
    try:
        writer.write(PREFACE)
        async with asyncio.timeout(5):
            assert (await reader.readexactly(9))[3] == Frame.SETTINGS
        return str(writer.get_extra_info("ssl_object").selected_alpn_protocol())
    except (OSError, asyncio.IncompleteReadError):
        return None
    finally:
        writer.transport.abort()


async def asked(port: int, certificates: Path, authority: Path | None = None) -> bytes:
    """What is answered to whom, who believes his own authority or another."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusting(certificates, authority), server_hostname=SNI)
    try:
        writer.write(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        async with asyncio.timeout(5):
            return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.transport.abort()


async def test_the_release_may_have_any_name(tmp_path: Path) -> None:
    made = renewal(None, dns_names("ai", "prod-roadstead-gateway", "prod-roadstead-gateway-peers"), datetime.now(UTC))
    assert made is not None
    certificates = Certificates(folder(tmp_path / "gateway", made.data, "tls"))
    control_port, peer_port, scaler_port = free_ports(3)
    settings = GatewaySettings(control_port=control_port, peer_port=peer_port, scaler_port=scaler_port)
    ledger = Ledger("a")
    async with Control(settings, Store(), ledger, certificates, peers=(Peers(ledger).handler(),), scaler=door):
        peers = Peers(Ledger("b"), certificates.grpc_client, certificates.server_name)
        peers.set_peers([f"127.0.0.1:{peer_port}"])
        async with asyncio.timeout(10):
            while not peers.complete:  # noqa: ASYNC110 - there is no event for it
                await asyncio.sleep(0.05)
        await peers.close()
