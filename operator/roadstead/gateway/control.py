"""The servers of the process that speak gRPC: for the Envoy beside it, for replicas and their Envoys, and for KEDA.

Envoy and KEDA speak often, and are served by our own (rpc/); replicas, which talk to each other both ways, by gRPC's library.

On loopback nobody but the pod's own containers can speak to it. What leaves the pod is mutual TLS, by certificates that only replicas and
KEDA have; without any there are no replicas, and the scaler speaks plainly (a local test, a mesh that encrypts).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any, Final

import grpc
import grpc.aio
from envoy.service.discovery.v3 import ads_pb2_grpc, discovery_pb2
from envoy.service.load_stats.v3 import lrs_pb2, lrs_pb2_grpc

from roadstead.gateway.admission import Admission
from roadstead.gateway.envoy.ads import Store
from roadstead.gateway.envoy.discovery import Discovery
from roadstead.gateway.envoy.load_reports import Counts, LoadReports
from roadstead.gateway.rpc.calls import Calls, talk
from roadstead.gateway.rpc.connection import Connection, serving
from roadstead.settings import GatewaySettings
from roadstead.tls import Certificates

log = logging.getLogger(__name__)
LOOPBACK: Final = "127.0.0.1"
ANYWHERE: Final = "[::]"
MOST_BYTES: Final = 64 * 1024 * 1024
"""Of a message: there are load reports of thousands of clusters."""
MOST_UNREAD: Final = 256 * 1024 * 1024
"""Bytes of configuration that the Envoy beside us may leave unread: all there is, and more."""
OPTIONS: Final = (
    ("grpc.max_receive_message_length", MOST_BYTES),
    ("grpc.max_send_message_length", -1),
    ("grpc.so_reuseport", 0),  # a second process on the port is a mistake, not a helper
    ("grpc.http2.min_ping_interval_without_data_ms", 1000),
    ("grpc.keepalive_permit_without_calls", 1),
)
HTTP2: Final = "h2"
GRACE_SECONDS: Final = 1.0
VISIT_SECONDS: Final = 3.0
"""How long another replica's Envoy is configured for before it has to look whether its own process is back."""
REPORTS_SECONDS: Final = 15.0
"""The same of its load reports, which Envoy begins anew only after five seconds."""


class Control:
    """Serves while the context lasts. ``peers`` are the handlers for replicas, ``scaler`` makes the protocol of a connection of KEDA's."""

    def __init__(
        self,
        settings: GatewaySettings,
        store: Store,
        counts: Counts,
        certificates: Certificates | None,
        *,
        peers: Sequence[grpc.GenericRpcHandler],
        scaler: Callable[[], Connection],
    ) -> None:
        self._settings = settings
        self._store = store
        self._counts = counts
        self._certificates = certificates
        self._peers = peers
        self._scaler = scaler
        self._stack = AsyncExitStack()
        self._visits = LoadReports(counts, REPORTS_SECONDS)

    async def __aenter__(self) -> Control:
        ports, certificates = self._settings, self._certificates
        calls = for_envoy(self._store, self._counts)
        await self._stack.enter_async_context(serving(lambda: Connection(calls), LOOPBACK, ports.control_port))
        if certificates is not None:
            replicas = self._server(self._peers, (Admission(certificates),))
            ads_pb2_grpc.add_AggregatedDiscoveryServiceServicer_to_server(Discovery(self._store, VISIT_SECONDS), replicas)
            lrs_pb2_grpc.add_LoadReportingServiceServicer_to_server(self._visits, replicas)
            _bound(replicas.add_secure_port(f"{ANYWHERE}:{ports.peer_port}", certificates.grpc_server()), ports.peer_port)
            await self._start(replicas)
        tls = certificates.server(HTTP2) if certificates is not None else None
        await self._stack.enter_async_context(serving(self._scaler, None, ports.scaler_port, tls))
        return self

    def leave(self) -> None:
        """The process is about to end: other replicas' Envoys are to report elsewhere."""
        self._visits.leaving = True

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    def _server(self, handlers: Sequence[grpc.GenericRpcHandler] = (), interceptors: Sequence[grpc.aio.ServerInterceptor] = ()) -> Any:
        server = grpc.aio.server(options=OPTIONS, interceptors=interceptors)
        if handlers:
            server.add_generic_rpc_handlers(tuple(handlers))
        return server

    async def _start(self, server: Any) -> None:
        await server.start()
        self._stack.push_async_callback(server.stop, GRACE_SECONDS)


def for_envoy(store: Store, counts: Counts) -> Calls:
    """What the Envoy beside the process may call."""
    talks = {
        b"/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources": talk(
            Discovery(store).DeltaAggregatedResources, discovery_pb2.DeltaDiscoveryRequest
        ),
        b"/envoy.service.load_stats.v3.LoadReportingService/StreamLoadStats": talk(
            LoadReports(counts).StreamLoadStats, lrs_pb2.LoadStatsRequest
        ),
    }
    return Calls(talks=talks, most_bytes=MOST_BYTES, most_unread=MOST_UNREAD)


def _bound(found: int, wanted: int) -> None:
    if found != wanted:
        raise OSError(f"port {wanted} can't be listened on; is another process there?")
