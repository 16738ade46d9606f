"""What KEDA asks of a scaler for Workloads at zero: ``python -m tests.bench.questions ADDRESS CERTIFICATES NAMESPACE INTERVAL NAME...``.

By one connection, as KEDA's operator does: for each Workload two streams that stay open, ``StreamIsActive`` and ``StreamMetricSpec``, and
every polling interval (in seconds) ``GetMetricSpec``, ``GetMetrics`` and ``IsActive``, spread over it (KEDA's external_scaler.go). Says
"open" when all streams have spoken. CERTIFICATES is a folder of tls.crt, tls.key and ca.crt.
"""

from __future__ import annotations

import asyncio
import sys
from itertools import cycle
from pathlib import Path
from typing import Any

import grpc
import uvloop

from roadstead.api.identity import object_id
from roadstead.api.scaling import ScalingMetric
from roadstead.gateway.scaler.protocol import MESSAGES, SERVICE


async def run(address: str, certificates: Path, namespace: str, interval: float, names: list[str]) -> None:
    """Ask until the process is ended; raises when anything is refused."""
    authority, key, chain = ((certificates / name).read_bytes() for name in ("ca.crt", "tls.key", "tls.crt"))
    async with grpc.aio.secure_channel(address, grpc.ssl_channel_credentials(authority, key, chain)) as channel:
        refs = [reference(namespace, name) for name in names]
        streams = [stream(channel, *kind, ref) for ref in refs for kind in STREAMS]
        await asyncio.gather(*(each.read() for each in streams))
        print("open", flush=True)
        spec, metrics, active = (
            channel.unary_unary(f"/{SERVICE}/{call}", request_serializer=serialized) for call in ("GetMetricSpec", "GetMetrics", "IsActive")
        )
        loop = asyncio.get_running_loop()
        due = loop.time()
        for ref in cycle(refs):
            due += interval / len(refs)
            await asyncio.sleep(max(0.0, due - loop.time()))
            await spec(ref)
            await metrics(MESSAGES["GetMetricsRequest"](scaledObjectRef=ref, metricName=str(ScalingMetric.CONCURRENCY)))
            await active(ref)


STREAMS = (("StreamIsActive", "IsActiveResponse"), ("StreamMetricSpec", "GetMetricSpecResponse"))


def stream(channel: grpc.aio.Channel, call: str, answer: str, ref: Any) -> Any:
    made = channel.unary_stream(f"/{SERVICE}/{call}", request_serializer=serialized, response_deserializer=MESSAGES[answer].FromString)
    return made(ref)


def reference(namespace: str, name: str) -> Any:
    """As the operator writes it (desired/scaled_object.py)."""
    metadata = {"workloadId": object_id("workloads", namespace, name), "namespace": namespace, "name": name}
    metadata |= {"metric": str(ScalingMetric.CONCURRENCY), "target": "10"}
    return MESSAGES["ScaledObjectRef"](name=name, namespace=namespace, scalerMetadata=metadata)


def serialized(message: Any) -> bytes:
    data: bytes = message.SerializeToString()
    return data


if __name__ == "__main__":
    uvloop.run(run(sys.argv[1], Path(sys.argv[2]), sys.argv[3], float(sys.argv[4]), sys.argv[5:]))
