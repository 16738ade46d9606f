"""The options that the gateway's gRPC servers have in common."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc
import grpc.aio

from roadstead.gateway.control import OPTIONS

STREAMS = 2000


async def test_streams_that_are_opened_all_at_once() -> None:
    """As KEDA does on its one connection after a restart of ours: none is refused."""

    async def said(_: bytes, __: grpc.aio.ServicerContext) -> AsyncIterator[bytes]:
        yield b"no"
        await asyncio.Event().wait()

    server = grpc.aio.server(options=OPTIONS)
    table = {"Stream": grpc.unary_stream_rpc_method_handler(said)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Test", table),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        streams = [channel.unary_stream("/test.Test/Stream")(b"") for _ in range(STREAMS)]
        assert await asyncio.gather(*(stream.read() for stream in streams)) == [b"no"] * STREAMS
    await server.stop(None)
