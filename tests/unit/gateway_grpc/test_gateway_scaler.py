"""The external scaler as KEDA asks it: gRPC on loopback, with the real ledger, directory and waking behind it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import grpc
import pytest

from roadstead.api.identity import object_id
from roadstead.gateway.directory import DEPLOYMENT, WORKLOAD
from roadstead.gateway.ledger.ledger import Ledger
from roadstead.gateway.ledger.present import MEAN_SECONDS
from roadstead.gateway.rpc.connection import serving
from roadstead.gateway.scaler import service
from roadstead.gateway.scaler.demand import AGAIN_MOST_SECONDS, Demand
from roadstead.gateway.scaler.protocol import MESSAGES, SERVICE
from roadstead.gateway.scaler.service import HEAD_START_SECONDS, LOOK_SECONDS, ScalerService
from roadstead.gateway.waking import Held, Waking
from tests.unit.gateway.ledger_world import HOUR, Clock
from tests.unit.gateway.waking_world import NS, POD, World, settle
from tests.unit.gateway_grpc.gateway_processes import until


@dataclass
class Gateway:
    """A gateway process without Envoy: its directory and ledger are told by a test, its scaler is asked by gRPC."""

    world: World
    ledger: Ledger
    service: ScalerService
    demand: Demand
    channel: Any
    clock: Clock
    ready: bool = True
    hears_all: bool = True

    def endpoint(self, name: str = "w", kind: str = WORKLOAD) -> str:
        return f"{kind[0]}-{object_id(kind, NS, name)}"

    def used(self, in_flight: int, issued: int = 0, name: str = "w", kind: str = WORKLOAD) -> None:
        self.ledger.report("envoy", self.endpoint(name, kind), in_flight, issued, 0)

    def ref(self, metric: str = "httpRequestsConcurrency", name: str = "w", **changes: str) -> Any:
        metadata = {
            "workloadId": object_id("workloads", NS, name),
            "namespace": NS,
            "name": name,
            "metric": metric,
            "target": "2.5",
            **changes,
        }
        return MESSAGES["ScaledObjectRef"](name=name, namespace=NS, scalerMetadata={k: v for k, v in metadata.items() if v})

    async def active(self, **changes: str) -> bool:
        return bool((await self.ask("IsActive", "IsActiveResponse", self.ref(**changes))).result)

    async def value(self, metric: str, **changes: str) -> float:
        request = MESSAGES["GetMetricsRequest"](scaledObjectRef=self.ref(metric, **changes), metricName=f"s0-{metric}")
        (found,) = (await self.ask("GetMetrics", "GetMetricsResponse", request)).metricValues
        assert found.metricName == f"s0-{metric}"
        return float(found.metricValueFloat)

    async def spec(self, **changes: str) -> list[tuple[str, float]]:
        found = await self.ask("GetMetricSpec", "GetMetricSpecResponse", self.ref(**changes))
        return [(spec.metricName, spec.targetSizeFloat) for spec in found.metricSpecs]

    def stream(self, call: str = "StreamIsActive", answer: str = "IsActiveResponse", **changes: str) -> Any:
        made = self.channel.unary_stream(
            f"/{SERVICE}/{call}", request_serializer=lambda m: m.SerializeToString(), response_deserializer=MESSAGES[answer].FromString
        )
        return made(self.ref(**changes))

    async def refusal(self, asked: Any) -> grpc.StatusCode:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await asked
        code: grpc.StatusCode = caught.value.code()
        return code

    async def ask(self, call: str, answer: str, request: Any) -> Any:
        made = self.channel.unary_unary(
            f"/{SERVICE}/{call}", request_serializer=lambda m: m.SerializeToString(), response_deserializer=MESSAGES[answer].FromString
        )
        return await made(request)


async def said(stream: Any, seconds: float = 10) -> bool:
    """The next word on a stream."""
    async with asyncio.timeout(seconds):
        return bool((await stream.read()).result)


async def silent(stream: Any, seconds: float = 0.3) -> bool:
    """Whether nothing is said for a while. The stream can't be read afterwards."""
    try:
        async with asyncio.timeout(seconds):
            await stream.read()
    except TimeoutError:
        return True
    return False


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    """A Workload ``w`` at zero, known to a gateway that has known everything for two hours."""
    clock = Clock()
    world, ledger = World(), Ledger("me", clock=clock)
    world.waking = Waking(world.directory, ledger)
    demand = Demand(ledger, world.directory, ready=lambda: made.ready, hears_all=lambda: made.hears_all)
    scaler = ScalerService(ledger, demand)
    async with serving(scaler.connection, "127.0.0.1", 0) as port, grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        made = Gateway(world, ledger, scaler, demand, channel, clock)
        clock.now += 2 * HOUR
        world.workload()
        task = asyncio.create_task(scaler.run())
        yield made
        task.cancel()


async def test_metric_and_target_are_those_of_the_trigger(gateway: Gateway) -> None:
    assert await gateway.spec() == [("httpRequestsConcurrency", 2.5)]
    gateway.ready = False  # the ScaledObject says it all
    assert await gateway.spec(metric="httpRequestsPerHour", target="1000") == [("httpRequestsPerHour", 1000)]
    stream = gateway.stream("StreamMetricSpec", "GetMetricSpecResponse")
    (first,) = (await stream.read()).metricSpecs
    assert (first.metricName, first.targetSizeFloat) == ("httpRequestsConcurrency", 2.5)
    assert await silent(stream)


@pytest.mark.parametrize(
    "changes",
    [
        {"target": ""},
        {"target": "x"},
        {"target": "nan"},
        {"target": "0"},
        {"metric": ""},
        {"metric": "cpuAverageUtilization"},
        {"workloadId": ""},
    ],
)
async def test_a_trigger_of_somebody_elses_making_is_refused(gateway: Gateway, changes: dict[str, str]) -> None:
    assert await gateway.refusal(gateway.spec(**changes)) is grpc.StatusCode.INVALID_ARGUMENT
    assert await gateway.refusal(gateway.active(**changes)) is grpc.StatusCode.INVALID_ARGUMENT


async def test_values_are_totals_over_the_endpoints_of_a_workload(gateway: Gateway) -> None:
    gateway.world.deployment("front", wanted="w", active="w")
    gateway.world.deployment("other", wanted="x", active="x")
    for metric in ("httpRequestsInFlight", "httpRequestsConcurrency", "httpRequestsPerHour"):
        assert await gateway.value(metric) == 0
    gateway.used(3, issued=40)
    gateway.used(4, issued=50, name="front", kind=DEPLOYMENT)
    gateway.used(9, issued=90, name="other", kind=DEPLOYMENT)
    gateway.ledger.set_demand(f"{NS}/w", 2, True)
    assert await gateway.value("httpRequestsInFlight") == 9
    assert await gateway.value("httpRequestsConcurrency") == 9
    assert await gateway.value("httpRequestsPerHour") == 90


async def test_concurrency_falls_by_the_mean_of_30_seconds_and_rises_at_once(gateway: Gateway) -> None:
    gateway.used(10)
    assert await gateway.value("httpRequestsConcurrency") == 10
    gateway.clock.now += 30
    gateway.used(0)
    gateway.clock.now += 15
    assert await gateway.value("httpRequestsInFlight") == 0
    assert await gateway.value("httpRequestsConcurrency") == pytest.approx(5)
    gateway.clock.now += 15
    assert await gateway.value("httpRequestsConcurrency") == 0


async def test_what_is_not_known_is_an_error_and_never_zero(gateway: Gateway) -> None:
    gateway.ready = False
    gateway.used(5, issued=5)
    for metric in ("httpRequestsInFlight", "httpRequestsConcurrency", "httpRequestsPerHour"):
        assert await gateway.refusal(gateway.value(metric)) is grpc.StatusCode.UNAVAILABLE
    assert await gateway.active()  # what was heard of is enough for a yes
    gateway.used(0)
    gateway.clock.now += HOUR
    assert await gateway.refusal(gateway.active()) is grpc.StatusCode.UNAVAILABLE
    assert await gateway.refusal(gateway.active(name="unheard-of")) is grpc.StatusCode.UNAVAILABLE
    gateway.ready = True
    assert not await gateway.active()


async def test_who_has_just_let_callers_in_again_may_raise_and_never_lower(gateway: Gateway) -> None:
    """While no process was there callers were refused: what is in flight now is what has come back so far."""
    gateway.world.workload(replicas=2)
    stream = gateway.stream()
    assert not await said(stream)
    gateway.ledger.attended_since = gateway.clock.now
    gateway.used(2)
    for metric in ("httpRequestsInFlight", "httpRequestsConcurrency"):
        assert await gateway.value(metric, target="0.9") == 2
        assert await gateway.refusal(gateway.value(metric, target="1.1")) is grpc.StatusCode.UNAVAILABLE
    assert await said(stream)
    gateway.used(0)
    gateway.clock.now += MEAN_SECONDS / 2
    gateway.ledger._requested.at.clear()
    assert await gateway.refusal(gateway.active()) is grpc.StatusCode.UNAVAILABLE
    gateway.clock.now += AGAIN_MOST_SECONDS + MEAN_SECONDS
    for metric in ("httpRequestsInFlight", "httpRequestsConcurrency"):
        assert await gateway.value(metric, target="1.1") == 0
    assert not await gateway.active()
    assert not await said(stream), "nobody else would tell of it"


async def test_at_zero_there_is_nothing_to_lose_by_a_no(gateway: Gateway) -> None:
    gateway.ledger.attended_since = gateway.clock.now
    assert not await gateway.active()
    assert await gateway.value("httpRequestsConcurrency") == 0


async def test_an_hour_with_gaps_may_raise_and_never_lower(gateway: Gateway) -> None:
    gateway.used(0, issued=201)
    gateway.world.workload(replicas=2)
    for gap in ("it began half an hour ago", "a peer is silent"):
        gateway.ledger.known_since = gateway.clock.now - (HOUR / 2 if "began" in gap else 2 * HOUR)
        gateway.hears_all = "silent" not in gap
        assert await gateway.value("httpRequestsPerHour", target="100") == 201
        assert await gateway.refusal(gateway.value("httpRequestsPerHour", target="101")) is grpc.StatusCode.UNAVAILABLE
    gateway.hears_all = True
    assert await gateway.value("httpRequestsPerHour", target="101") == 201


async def test_a_workload_that_is_unknown_or_another_is_not_found(gateway: Gateway) -> None:
    assert await gateway.refusal(gateway.active(name="other", workloadId=object_id("workloads", NS, "other"))) is grpc.StatusCode.NOT_FOUND
    assert await gateway.refusal(gateway.value("httpRequestsInFlight", workloadId="0" * 24)) is grpc.StatusCode.NOT_FOUND
    strange = gateway.ref()
    strange.namespace = "others"  # where somebody may write ScaledObjects who may not read ours
    assert await gateway.refusal(gateway.ask("IsActive", "IsActiveResponse", strange)) is grpc.StatusCode.NOT_FOUND
    assert await gateway.refusal(gateway.stream(name="other").read()) is grpc.StatusCode.NOT_FOUND


async def test_activity_outlasts_demand_until_keda_has_heard_again(gateway: Gateway) -> None:
    polls = AGAIN_MOST_SECONDS + 2
    assert not await gateway.active()
    gateway.used(0, issued=1)
    gateway.clock.now += polls - 1
    assert await gateway.active()
    gateway.clock.now += 2
    assert not await gateway.active()
    gateway.used(1)  # one that has lasted for hours
    gateway.clock.now += 10 * HOUR
    assert await gateway.active()
    gateway.used(0)
    assert not await gateway.active()
    gateway.ledger.set_demand(f"{NS}/w", 1, False)
    gateway.ledger.set_demand(f"{NS}/w", 0, False)
    assert await gateway.active()
    gateway.clock.now += polls + 1
    assert not await gateway.active()


async def test_a_held_request_is_pushed_at_once_and_so_is_the_end(gateway: Gateway) -> None:
    stream = gateway.stream()
    assert not await said(stream)
    held = gateway.world.waking.decide(gateway.world.target())
    assert isinstance(held, Held)
    assert await said(stream)
    assert await gateway.active()
    held.cancel()
    gateway.clock.now += HOUR
    assert await gateway.active()  # the caller has left, the wake goes on
    gateway.world.pods(POD)
    await settle()
    assert not gateway.ledger.waking(f"{NS}/w")
    gateway.clock.now += HOUR
    assert not await said(stream)
    gateway.used(1)
    assert await said(stream)
    assert gateway.service.open_streams == 1
    assert await silent(stream)
    await until(lambda: gateway.service.open_streams == 0, "the stream to be forgotten")


async def test_keda_hears_again_that_a_workload_is_active(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """From when it last heard so KEDA counts the cooldown: between two of its own looks there may be minutes of requests. One that never
    goes to zero has no cooldown, and each word would be a write of KEDA's."""
    now = 1000.0
    monkeypatch.setattr(service, "monotonic", lambda: now)
    gateway.world.workload("always", replicas=1, sleeps=False)
    stream, other = gateway.stream(), gateway.stream(name="always")
    assert [await said(stream), await said(other)] == [False, False]
    gateway.used(1)
    gateway.used(1, name="always")
    assert [await said(stream), await said(other)] == [True, True]
    next_word, no_word = asyncio.ensure_future(said(stream)), asyncio.ensure_future(said(other))
    now += AGAIN_MOST_SECONDS - 0.1
    await asyncio.sleep(1.5 * service.LOOK_SECONDS)
    assert not next_word.done()
    now += 0.2
    assert await next_word
    await asyncio.sleep(0.1)
    assert not no_word.done()
    no_word.cancel()
    gateway.used(0)
    gateway.clock.now += AGAIN_MOST_SECONDS + 3
    assert not await said(stream)


@pytest.mark.parametrize(("polling", "again"), [(1, 5), (20, 5), (60, 15), (120, 30), (3600, 30)])
async def test_keda_hears_it_more_often_than_it_looks(gateway: Gateway, polling: int, again: int) -> None:
    directory = gateway.world.directory
    scaling = directory.platform.scaling.model_copy(update={"polling_interval_seconds": polling})
    directory.platform = directory.platform.model_copy(update={"scaling": scaling})
    assert gateway.demand.again_seconds == again
    gateway.used(0, issued=1)
    gateway.clock.now += again + 1
    assert await gateway.active()
    gateway.clock.now += 2
    assert not await gateway.active()


async def test_the_fast_path_has_a_head_start_before_keda(gateway: Gateway) -> None:
    directory = gateway.world.directory
    directory.platform = directory.platform.model_copy(
        update={"gateway": directory.platform.gateway.model_copy(update={"fast_path": True})}
    )
    gateway.world.workload("up", replicas=1)
    gateway.world.workload("next")
    gateway.world.deployment("front", wanted="next", active="up")  # a switch: no request wakes it, so the gateway doesn't ask for its pod
    streams = {name: gateway.stream(name=name) for name in ("w", "up", "next")}
    assert [await said(stream) for stream in streams.values()] == [False, False, True]
    await asyncio.sleep(1.5 * LOOK_SECONDS)  # what is ready has been noticed
    now = asyncio.get_running_loop().time()
    assert isinstance(gateway.world.waking.decide(gateway.world.target()), Held)
    gateway.ready = False  # it is noticed within the head start, and all streams are looked at
    gateway.used(1, name="up")
    assert await said(streams["up"])
    assert await gateway.active()  # who asks is told
    assert await said(streams["w"])
    assert asyncio.get_running_loop().time() - now > 0.9 * HEAD_START_SECONDS


async def test_a_workload_that_a_deployment_waits_for_is_active(gateway: Gateway) -> None:
    gateway.world.workload("next")
    stream = gateway.stream(name="next")
    assert not await said(stream)
    gateway.world.deployment("front", wanted="next", active="w")
    assert await said(stream)
    assert await gateway.active(name="next")


async def test_requests_to_a_deployment_push_the_workload_behind_it(gateway: Gateway) -> None:
    gateway.world.deployment("front", wanted="w", active="w")
    streams = [gateway.stream() for _ in range(3)]
    assert [await said(stream) for stream in streams] == [False] * 3
    gateway.used(1, name="front", kind=DEPLOYMENT)
    assert [await said(stream) for stream in streams] == [True] * 3


async def test_while_not_everything_is_known_a_stream_says_only_yes(gateway: Gateway) -> None:
    gateway.ready = False
    idle = gateway.stream()
    gateway.world.workload("busy")
    gateway.used(1, name="busy")
    busy = gateway.stream(name="busy")
    assert await said(busy)
    assert await silent(gateway.stream())
    gateway.ready = True
    assert not await said(idle)


async def test_thousands_of_streams_opened_at_once_are_all_answered(gateway: Gateway) -> None:
    """As when KEDA comes back. By itself gRPC drops some of more than 1,000 calls at once, without a word to the caller."""
    streams = [gateway.stream() for _ in range(3000)]
    assert not any(await asyncio.gather(*(said(stream, 60) for stream in streams)))
    gateway.used(1)
    assert all(await asyncio.gather(*(said(stream, 60) for stream in streams)))
