"""Who may speak on the replicas' ports: whoever has a gateway's certificate. KEDA's is of the same authority and is turned away.

gRPC's Python server can only ask for a certificate of an authority, so that names are looked at call by call: calls there last long.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from inspect import isasyncgenfunction
from typing import Any

import grpc
import grpc.aio

from roadstead.tls import Certificates

REFUSAL = "only gateways speak here"


class Admission(grpc.aio.ServerInterceptor):  # type: ignore[misc]
    """Refuses calls with PERMISSION_DENIED."""

    def __init__(self, certificates: Certificates) -> None:
        self._certificates = certificates

    async def intercept_service(self, continuation: Callable[[Any], Awaitable[Any]], details: Any) -> Any:
        handler = await continuation(details)
        if handler is None:
            return None
        calls = {
            (False, False): ("unary_unary", grpc.unary_unary_rpc_method_handler),
            (False, True): ("unary_stream", grpc.unary_stream_rpc_method_handler),
            (True, False): ("stream_unary", grpc.stream_unary_rpc_method_handler),
            (True, True): ("stream_stream", grpc.stream_stream_rpc_method_handler),
        }
        name, made = calls[handler.request_streaming, handler.response_streaming]
        return made(self._guarded(getattr(handler, name)), handler.request_deserializer, handler.response_serializer)

    def _guarded(self, behaviour: Any) -> Any:
        async def call(request: Any, context: Any) -> Any:
            await self._check(context)
            return await behaviour(request, context)

        async def stream(request: Any, context: Any) -> AsyncIterator[Any]:
            await self._check(context)
            async with aclosing(behaviour(request, context)) as answers:
                async for answer in answers:
                    yield answer

        return stream if isasyncgenfunction(behaviour) else call

    async def _check(self, context: Any) -> None:
        names = context.auth_context().get("x509_subject_alternative_name", ())
        if not self._certificates.ours(name.decode(errors="replace") for name in names):
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, REFUSAL)
