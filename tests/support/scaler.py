"""An external scaler of the tests' own, in the gateway's place: it says of each Workload what a test tells it to."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc

from roadstead.gateway.scaler.protocol import MESSAGES as T
from roadstead.gateway.scaler.protocol import SERVICE

Name = tuple[str, str]
"""Namespace and name of a Workload."""


class Scaler:
    """Demand by Workload: 0 means inactive; ``down`` answers every call with an error."""

    def __init__(self) -> None:
        self.address = ""
        self.seen: dict[Name, dict[str, str]] = {}
        """The trigger metadata that KEDA passed on last, by Workload."""
        self._demand: defaultdict[Name, float] = defaultdict(float)
        self._changed = threading.Condition()
        self._down = False
        self._closing = False

    def demand(self, namespace: str, name: str, value: float) -> None:
        """Set the demand, and push it."""
        with self._changed:
            self._demand[namespace, name] = value
            self._changed.notify_all()

    def down(self, value: bool) -> None:
        """Answer nothing but errors, or answer again."""
        with self._changed:
            self._down = value

    def close(self) -> None:
        """End the streams."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()

    def is_active(self, ref: Any, context: grpc.ServicerContext) -> Any:
        return T["IsActiveResponse"](result=self._value(ref, context) > 0)

    def stream_is_active(self, ref: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        """The present state at once, then every change."""
        said: bool | None = None
        while context.is_active() and not self._closing:
            now = self._value(ref, context) > 0
            if now != said:
                said = now
                yield T["IsActiveResponse"](result=now)
            with self._changed:
                self._changed.wait(1)

    def metric_spec(self, ref: Any, context: grpc.ServicerContext) -> Any:
        metadata = dict(ref.scalerMetadata)
        self.seen[ref.namespace, ref.name] = metadata
        spec = T["MetricSpec"](metricName=metadata["metric"], targetSizeFloat=float(metadata["target"]))
        return T["GetMetricSpecResponse"](metricSpecs=[spec])

    def metrics(self, request: Any, context: grpc.ServicerContext) -> Any:
        value = self._value(request.scaledObjectRef, context)
        return T["GetMetricsResponse"](metricValues=[T["MetricValue"](metricName=request.metricName, metricValueFloat=value)])

    def _value(self, ref: Any, context: grpc.ServicerContext) -> float:
        if self._down:
            context.abort(grpc.StatusCode.UNAVAILABLE, "told to be down")
        return self._demand[ref.namespace, ref.name]


@contextmanager
def external_scaler() -> Iterator[Scaler]:
    """A scaler that listens on loopback for the length of the ``with`` block."""
    scaler = Scaler()
    server = grpc.server(ThreadPoolExecutor(max_workers=64))
    unary, stream = grpc.unary_unary_rpc_method_handler, grpc.unary_stream_rpc_method_handler
    calls = {
        "IsActive": (unary, scaler.is_active, "ScaledObjectRef"),
        "StreamIsActive": (stream, scaler.stream_is_active, "ScaledObjectRef"),
        "GetMetricSpec": (unary, scaler.metric_spec, "ScaledObjectRef"),
        "GetMetrics": (unary, scaler.metrics, "GetMetricsRequest"),
    }
    handlers = {
        call: made(work, request_deserializer=T[given].FromString, response_serializer=lambda answer: answer.SerializeToString())
        for call, (made, work, given) in calls.items()
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    scaler.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield scaler
    finally:
        scaler.close()
        server.stop(1).wait()
