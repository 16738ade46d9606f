"""``externalscaler.ExternalScaler``: what KEDA is told of the demand on each Workload.

An open StreamIsActive costs a sleeping task and nothing else: what happens to a Workload wakes the streams of that Workload, and only
Workloads that are active are looked at once a second, for the moment at which they no longer are or KEDA is to hear of it again. What
isn't known is answered with UNAVAILABLE: KEDA obeys a "no" (after its cooldown), and leaves the replica count alone when it gets an error.

Where the gateway asks for the first pod itself (fastpath.py), KEDA is told of a wake a moment later: both at once would ask the API server
for the same thing twice, and a hundred wakes be the later for it.
"""

from __future__ import annotations

import asyncio
import math
from collections import defaultdict
from dataclasses import dataclass
from time import monotonic
from typing import Final

from google.protobuf.message import DecodeError

from roadstead.gateway.ledger.ledger import Ledger
from roadstead.gateway.rpc.calls import Calls, Refused, Say, Status
from roadstead.gateway.rpc.connection import Connection
from roadstead.gateway.scaler import protocol
from roadstead.gateway.scaler.demand import METRICS, Demand, NoSuchWorkload, NotKnown
from roadstead.kube.resource import Key
from roadstead.ticks import to_tick

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
        self._active: dict[Key, float] = {}
        """When KEDA was last told so of each."""
        self._later: set[Key] = set()
        """The fast path has its head start."""
        self._settled = (False, False)
        unary = {"IsActive": self._is_active, "GetMetricSpec": self._metric_spec, "GetMetrics": self._metrics}
        streams = {"StreamIsActive": self._stream_is_active, "StreamMetricSpec": self._stream_metric_spec}
        self._calls = Calls({_path(name): call for name, call in unary.items()}, {_path(name): call for name, call in streams.items()})
        ledger.on_demand(self._demanded)
        ledger.on_traffic(self._used)

    @property
    def open_streams(self) -> int:
        """How many StreamIsActive calls are open."""
        return sum(len(events) for events in self._streams.values())

    def connection(self) -> Connection:
        """The protocol of one connection of KEDA's."""
        return Connection(self._calls)

    async def run(self) -> None:
        """Notice what no event tells of: that everything is known now, and that demand is long enough ago."""
        while True:
            await asyncio.sleep(to_tick(LOOK_SECONDS))
            settled = (self._demand.ready(), self._demand.settled())
            if settled != self._settled:
                self._settled = settled
                for key in list(self._streams):
                    self._wake(key)
            now, again = monotonic(), self._demand.again_seconds
            for key, told in list(self._active.items()):
                if not self._demand.active(key):
                    del self._active[key]
                    self._wake(key)
                elif now - told >= again and self._demand.sleeps(key):
                    self._active[key] = now
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
            self._active[key] = monotonic()
            self._wake(key)

    def _wake(self, key: Key) -> None:
        for event in self._streams.get(key, ()):
            event.set()

    def _is_active(self, message: bytes) -> bytes:
        trigger = _trigger(_reference(message))
        try:
            self._demand.known(trigger.key, trigger.id)
            active = self._demand.active(trigger.key)
            if not active and not self._demand.sure_of_no(trigger.key):
                raise NotKnown("counts are being gathered")
        except (NotKnown, NoSuchWorkload) as error:
            raise _refused(error) from error
        return protocol.activity(active)

    async def _stream_is_active(self, message: bytes, say: Say) -> None:
        """The present state at once, then every change, and a yes again and again. While not everything is known only a yes is said."""
        trigger = _trigger(_reference(message))
        key, event, said, told = trigger.key, asyncio.Event(), None, 0.0
        self._streams[key].add(event)
        try:
            while True:
                event.clear()
                self._demand.known(key, trigger.id)
                active = self._demand.active(key)
                if key in self._later and said is not None:  # woken by something else within the head start, which stays whole
                    await event.wait()
                    continue
                if active:
                    self._active.setdefault(key, monotonic())
                again = active and self._active[key] > told
                if (again or active != said) and (active or self._demand.sure_of_no(key)):
                    said, told = active, self._active.get(key, 0.0)
                    say(protocol.activity(active))
                await event.wait()
        except (NotKnown, NoSuchWorkload) as error:
            raise _refused(error) from error
        finally:
            self._streams[key].discard(event)
            if not self._streams[key]:
                del self._streams[key]
                self._active.pop(key, None)

    def _metric_spec(self, message: bytes) -> bytes:
        trigger = _trigger(_reference(message))
        return protocol.specs([(trigger.metric, trigger.target)])

    async def _stream_metric_spec(self, message: bytes, say: Say) -> None:
        """The target comes from the ScaledObject itself, so it never changes while KEDA keeps the stream."""
        say(self._metric_spec(message))
        await asyncio.get_running_loop().create_future()

    def _metrics(self, message: bytes) -> bytes:
        try:
            request = protocol.metrics_request(message)
        except DecodeError as error:
            raise Refused(Status.INVALID_ARGUMENT, f"This is no GetMetricsRequest: {error}") from error
        trigger = _trigger(request.scaledObjectRef)
        try:
            self._demand.known(trigger.key, trigger.id)
            value = self._demand.value(trigger.key, trigger.metric, trigger.target)
        except (NotKnown, NoSuchWorkload) as error:
            raise _refused(error) from error
        return protocol.values([(request.metricName, value)])


def _path(call: str) -> bytes:
    return f"/{protocol.SERVICE}/{call}".encode()


def _reference(message: bytes) -> protocol.ScaledObjectRef:
    try:
        return protocol.reference(message)
    except DecodeError as error:
        raise Refused(Status.INVALID_ARGUMENT, f"This is no ScaledObjectRef: {error}") from error


def _trigger(ref: protocol.ScaledObjectRef) -> _Trigger:
    metadata = dict(ref.scalerMetadata)  # protobuf's own mapping has an empty string for every key that isn't there
    try:
        trigger = _Trigger((metadata["namespace"], metadata["name"]), metadata["workloadId"], metadata["metric"], float(metadata["target"]))
    except (KeyError, ValueError) as error:
        raise Refused(Status.INVALID_ARGUMENT, f"The trigger's metadata is not what the operator writes: {error}") from error
    if trigger.metric not in METRICS or not (math.isfinite(trigger.target) and trigger.target > 0):
        raise Refused(Status.INVALID_ARGUMENT, f"metric must be one of {', '.join(METRICS)}, and target more than 0")
    if trigger.key[0] != ref.namespace:  # whoever may write a ScaledObject in one namespace learns nothing of another
        raise Refused(Status.NOT_FOUND, "The Workload is not in the ScaledObject's namespace")
    return trigger


def _refused(error: NotKnown | NoSuchWorkload) -> Refused:
    return Refused(Status.NOT_FOUND if isinstance(error, NoSuchWorkload) else Status.UNAVAILABLE, str(error))
