"""A gRPC stream that plays Envoy before a store: it asks for the addresses of one cluster."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc.aio
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.service.discovery.v3 import ads_pb2_grpc, discovery_pb2

from roadstead.gateway.envoy.ads import ENDPOINTS, Store
from roadstead.gateway.envoy.discovery import Discovery
from roadstead.gateway.envoy.resources import assignment

NAME = "w-0123456789abcdef01234567"
OTHER = "w-76543210fedcba9876543210"


def pods(*hosts: str) -> endpoint_pb2.ClusterLoadAssignment:
    """Addresses of the cluster NAME."""
    return assignment(NAME, [(host, 80) for host in hosts])


@asynccontextmanager
async def envoy(store: Store, node: str = "one", visit_seconds: float | None = None) -> AsyncIterator[Any]:
    """The stream, on which NAME's addresses have been asked for. With ``visit_seconds`` it is another replica's Envoy."""
    server = grpc.aio.server()
    ads_pb2_grpc.add_AggregatedDiscoveryServiceServicer_to_server(Discovery(store, visit_seconds), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        found = ads_pb2_grpc.AggregatedDiscoveryServiceStub(channel).DeltaAggregatedResources()
        first = discovery_pb2.DeltaDiscoveryRequest(type_url=ENDPOINTS, resource_names_subscribe=[NAME])
        first.node.id = node
        await found.write(first)
        yield found
        found.cancel()
    await server.stop(None)


async def take(stream: Any) -> list[str]:
    """Read what comes, and say yes to it; give back the names of what is gone."""
    told = await stream.read()
    await stream.write(discovery_pb2.DeltaDiscoveryRequest(type_url=told.type_url, response_nonce=told.nonce))
    return list(told.removed_resources)
