"""The messages of KEDA's externalscaler.proto, declared field by field rather than generated: there are seven of them.

``Request`` and the other types say what a handler may rely on; the classes that are on the wire are made by protobuf at run time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, Protocol

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

SERVICE: Final = "externalscaler.ExternalScaler"
_PACKAGE = "externalscaler"
_STRING, _BOOL, _INT64, _DOUBLE, _MESSAGE = 9, 8, 3, 1, 11
_OPTIONAL, _REPEATED = 1, 3

_METADATA = "ScaledObjectRef.ScalerMetadataEntry"
# message -> fields in the order of their numbers: (name, type, repeated)
_MESSAGES: Final[dict[str, list[tuple[str, int | str, bool]]]] = {
    "ScaledObjectRef": [
        ("name", _STRING, False),
        ("namespace", _STRING, False),
        ("scalerMetadata", _METADATA, True),
    ],
    "IsActiveResponse": [("result", _BOOL, False)],
    "MetricSpec": [("metricName", _STRING, False), ("targetSize", _INT64, False), ("targetSizeFloat", _DOUBLE, False)],
    "GetMetricSpecResponse": [("metricSpecs", "MetricSpec", True)],
    "GetMetricsRequest": [("scaledObjectRef", "ScaledObjectRef", False), ("metricName", _STRING, False)],
    "MetricValue": [("metricName", _STRING, False), ("metricValue", _INT64, False), ("metricValueFloat", _DOUBLE, False)],
    "GetMetricsResponse": [("metricValues", "MetricValue", True)],
}


class ScaledObjectRef(Protocol):
    """Which ScaledObject KEDA asks for, and its trigger's metadata."""

    name: str
    namespace: str
    scalerMetadata: Mapping[str, str]  # noqa: N815 - the name on the wire


class GetMetricsRequest(Protocol):
    """Which metric of it."""

    scaledObjectRef: ScaledObjectRef  # noqa: N815 - the name on the wire
    metricName: str  # noqa: N815


def _classes() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="externalscaler.proto", package=_PACKAGE, syntax="proto3")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for number, (field, kind, repeated) in enumerate(fields, 1):
            label = _REPEATED if repeated else _OPTIONAL
            if isinstance(kind, str):
                message.field.add(name=field, number=number, type=_MESSAGE, label=label, type_name=f".{_PACKAGE}.{kind}")
            else:
                message.field.add(name=field, number=number, type=kind, label=label)
        if name == "ScaledObjectRef":
            entry = message.nested_type.add(name="ScalerMetadataEntry")
            entry.options.map_entry = True
            entry.field.add(name="key", number=1, type=_STRING, label=_OPTIONAL)
            entry.field.add(name="value", number=2, type=_STRING, label=_OPTIONAL)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}")) for name in _MESSAGES}


MESSAGES: Final = _classes()
"""By name: for clients and for tests. A server needs none but these functions."""


def reference(data: bytes) -> ScaledObjectRef:
    """Parse."""
    found: ScaledObjectRef = MESSAGES["ScaledObjectRef"].FromString(data)
    return found


def metrics_request(data: bytes) -> GetMetricsRequest:
    """Parse."""
    found: GetMetricsRequest = MESSAGES["GetMetricsRequest"].FromString(data)
    return found


def activity(active: bool) -> bytes:
    """An IsActiveResponse."""
    return _bytes("IsActiveResponse", result=active)


def specs(targets: Iterable[tuple[str, float]]) -> bytes:
    """A GetMetricSpecResponse of metrics and the targets of a replica."""
    made = [MESSAGES["MetricSpec"](metricName=name, targetSizeFloat=target) for name, target in targets]
    return _bytes("GetMetricSpecResponse", metricSpecs=made)


def values(found: Iterable[tuple[str, float]]) -> bytes:
    """A GetMetricsResponse of metrics and their values in all."""
    made = [MESSAGES["MetricValue"](metricName=name, metricValueFloat=value) for name, value in found]
    return _bytes("GetMetricsResponse", metricValues=made)


def _bytes(name: str, **fields: Any) -> bytes:
    data: bytes = MESSAGES[name](**fields).SerializeToString()
    return data
