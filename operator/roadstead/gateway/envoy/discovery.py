"""Aggregated discovery over gRPC: one stream for each Envoy, between it and the store (``ads``)."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress
from typing import Any

import grpc
from envoy.service.discovery.v3 import ads_pb2_grpc

from roadstead.gateway.envoy.ads import Envoy, Store


class Discovery(ads_pb2_grpc.AggregatedDiscoveryServiceServicer):  # type: ignore[misc]
    """Serves a store to Envoys. ``visit_seconds``: how long one may stay that belongs to another replica's process; it asks that one first
    when it comes again, and is here only while that is away. None: to the Envoy beside us.
    """

    def __init__(self, store: Store, visit_seconds: float | None = None) -> None:
        self._store = store
        self._visit_seconds = visit_seconds
        self._nonces = itertools.count(1)

    async def DeltaAggregatedResources(self, requests: AsyncIterator[Any], context: grpc.aio.ServicerContext) -> AsyncGenerator[Any, None]:  # noqa: N802 - gRPC's name
        """One stream: what an Envoy asks for on one side, what it is told on the other."""
        envoy = Envoy(home=self._visit_seconds is None)
        self._store.join(envoy)
        reader = asyncio.create_task(self._read(requests, envoy))
        loop = asyncio.get_running_loop()
        ends = None if self._visit_seconds is None else loop.time() + self._visit_seconds
        try:
            while not envoy.gone:
                with suppress(TimeoutError):
                    async with asyncio.timeout_at(ends):
                        await envoy.news.wait()
                if ends is not None and loop.time() >= ends:
                    break
                await asyncio.sleep(0)  # what changes together is told together
                envoy.news.clear()
                for message_ in self._store.news(envoy, self._nonces):
                    yield message_
        finally:
            reader.cancel()
            self._store.leave(envoy)
        (failure,) = await asyncio.gather(reader, return_exceptions=True)
        if isinstance(failure, Exception):
            raise failure

    async def _read(self, requests: AsyncIterator[Any], envoy: Envoy) -> None:
        try:
            async for request in requests:
                self._store.heard(envoy, request)
        finally:
            self._store.leave(envoy)
