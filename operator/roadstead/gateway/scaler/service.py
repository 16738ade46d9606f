"""``externalscaler.ExternalScaler`` on grpc.aio.

An open StreamIsActive costs a sleeping task and nothing else: what happens to a Workload wakes the streams of that Workload, and only
Workloads that are active are looked at once a second, for the moment at which they no longer are. What isn't known is answered with
UNAVAILABLE: KEDA obeys a "no" (after its cooldown), and leaves the replica count alone when it gets an error.

Where the gateway asks for the first pod itself (fastpath.py), KEDA is told of a wake a moment later: both at once would ask the API server
for the same thing twice, and a hundred wakes be the later for it.
"""

from __future__ import annotations

import asyncio
import math
from collections import defaultdict
from dataclasses import dataclass
from typing import Any, Final, NoReturn

import grpc

from roadstead.gateway.ledger.ledger import Ledger
from roadstead.gateway.scaler import protocol
from roadstead.gateway.scaler.demand import METRICS, Demand, NoSuchWorkload, NotKnown
from roadstead.kube.resource import Key

LOOK_SECONDS: Final = 1.0
HEAD_START_SECONDS: Final = 1.0
"""The fast path's, before KEDA. If it fails, a wake takes so much longer."""


@dataclass(frozen=True, slots=True)
class _Trigger:
    """A trigger's metadata (desired/scaled_object.py)."""

    key: Key
    id: str
    metric: str
    target: float


class ScalerService:
    """Run ``run()`` for as long as it serves."""

    def __init__(self, ledger: Ledger, demand: Demand) -> None:
        self._demand = demand
        self._streams: defaultdict[Key, set[asyncio.Event]] = defaultdict(set)
        self._active: set[Key] = set()
        self._later: set[Key] = set()
        """The fast path has its head start."""
        self._ready = False
        ledger.on_demand(self._demanded)
        ledger.on_traffic(self._used)

    @property
    def open_streams(self) -> int:
        """How many StreamIsActive calls are open."""
        return sum(len(events) for events in self._streams.values())

    def handler(self) -> grpc.GenericRpcHandler:
        """To be given to a grpc.aio server."""
        unary, stream = grpc.unary_unary_rpc_method_handler, grpc.unary_stream_rpc_method_handler
        reference = protocol.reference
        calls = {
            "IsActive": unary(self._is_active, request_deserializer=reference),
            "StreamIsActive": stream(self._stream_is_active, request_deserializer=reference),
            "GetMetricSpec": unary(self._metric_spec, request_deserializer=reference),
            "StreamMetricSpec": stream(self._stream_metric_spec, request_deserializer=reference),
            "GetMetrics": unary(self._metrics, request_deserializer=protocol.metrics_request),
        }
        return grpc.method_handlers_generic_handler(protocol.SERVICE, calls)

    async def run(self) -> None:
        """Notice what no event tells of: that everything is known now, and that demand is long enough ago."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            if self._demand.ready() != self._ready:
                self._ready = not self._ready
                for key in list(self._streams):
                    self._wake(key)
            for key in [key for key in self._active if not self._demand.active(key)]:
                self._active.discard(key)
                self._wake(key)

    def _demanded(self, workload: str) -> None:
        namespace, _, name = workload.partition("/")
        self._look((namespace, name))

    def _used(self, endpoint: str) -> None:
        key = self._demand.behind(endpoint)
        if key is not None:
            self._look(key)

    def _look(self, key: Key) -> None:
        """Something may have made it active; that it is not any more is noticed by ``run``."""
        if key not in self._streams or key in self._active or key in self._later or not self._demand.active(key):
            return
        if self._demand.fast(key):
            self._later.add(key)
            asyncio.get_running_loop().call_later(HEAD_START_SECONDS, self._push, key)
        else:
            self._push(key)

    def _push(self, key: Key) -> None:
        self._later.discard(key)
        if key in self._streams and self._demand.active(key):
            self._active.add(key)
            self._wake(key)

    def _wake(self, key: Key) -> None:
        for event in self._streams.get(key, ()):
            event.set()

    async def _is_active(self, ref: protocol.ScaledObjectRef, context: grpc.aio.ServicerContext) -> bytes:
        trigger = await _trigger(ref, context)
        try:
            self._demand.known(trigger.key, trigger.id)
            active = self._demand.active(trigger.key)
            if not active and not self._demand.ready():
                raise NotKnown("counts are being gathered")
        except (NotKnown, NoSuchWorkload) as error:
            await _abort(context, error)
        return protocol.activity(active)

    async def _stream_is_active(self, ref: protocol.ScaledObjectRef, context: grpc.aio.ServicerContext) -> None:
        """The present state at once, then every change. While not everything is known only a yes is said.

        A coroutine that writes rather than a generator: the end of the call cancels it wherever it is.
        """
        trigger = await _trigger(ref, context)
        key, event, said = trigger.key, asyncio.Event(), None
        self._streams[key].add(event)
        try:
            while True:
                event.clear()
                self._demand.known(key, trigger.id)
                active = self._demand.active(key)
                if active:
                    self._active.add(key)
                if active != said and (active or self._demand.ready()):
                    said = active
                    await context.write(protocol.activity(active))
                    continue  # it may have changed while the last word was on its way
                await event.wait()
        except (NotKnown, NoSuchWorkload) as error:
            await _abort(context, error)
        finally:
            self._streams[key].discard(event)
            if not self._streams[key]:
                del self._streams[key]
                self._active.discard(key)

    async def _metric_spec(self, ref: protocol.ScaledObjectRef, context: grpc.aio.ServicerContext) -> bytes:
        trigger = await _trigger(ref, context)
        return protocol.specs([(trigger.metric, trigger.target)])

    async def _stream_metric_spec(self, ref: protocol.ScaledObjectRef, context: grpc.aio.ServicerContext) -> None:
        """The target comes from the ScaledObject itself, so it never changes while KEDA keeps the stream."""
        trigger = await _trigger(ref, context)
        await context.write(protocol.specs([(trigger.metric, trigger.target)]))
        await asyncio.Event().wait()

    async def _metrics(self, request: protocol.GetMetricsRequest, context: grpc.aio.ServicerContext) -> bytes:
        trigger = await _trigger(request.scaledObjectRef, context)
        try:
            self._demand.known(trigger.key, trigger.id)
            value = self._demand.value(trigger.key, trigger.metric, trigger.target)
        except (NotKnown, NoSuchWorkload) as error:
            await _abort(context, error)
        return protocol.values([(request.metricName, value)])


async def _trigger(ref: protocol.ScaledObjectRef, context: grpc.aio.ServicerContext) -> _Trigger:
    metadata = dict(ref.scalerMetadata)  # protobuf's own mapping has an empty string for every key that isn't there
    try:
        trigger = _Trigger((metadata["namespace"], metadata["name"]), metadata["workloadId"], metadata["metric"], float(metadata["target"]))
    except (KeyError, ValueError) as error:
        await _refuse(context, grpc.StatusCode.INVALID_ARGUMENT, f"The trigger's metadata is not what the operator writes: {error}")
    if trigger.metric not in METRICS or not (math.isfinite(trigger.target) and trigger.target > 0):
        await _refuse(context, grpc.StatusCode.INVALID_ARGUMENT, f"metric must be one of {', '.join(METRICS)}, and target more than 0")
    if trigger.key[0] != ref.namespace:  # whoever may write a ScaledObject in one namespace learns nothing of another
        await _refuse(context, grpc.StatusCode.NOT_FOUND, "The Workload is not in the ScaledObject's namespace")
    return trigger


async def _abort(context: grpc.aio.ServicerContext, error: NotKnown | NoSuchWorkload) -> NoReturn:
    code = grpc.StatusCode.NOT_FOUND if isinstance(error, NoSuchWorkload) else grpc.StatusCode.UNAVAILABLE
    await _refuse(context, code, str(error))


async def _refuse(context: grpc.aio.ServicerContext, code: Any, detail: str) -> NoReturn:
    await context.abort(code, detail)
    raise AssertionError("abort raises")
