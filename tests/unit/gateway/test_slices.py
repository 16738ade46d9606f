"""What an EndpointSlice says of a Workload's pods, and what Envoy is told of them."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.config.core.v3 import health_check_pb2

from roadstead.gateway.envoy.resources import assignment
from roadstead.gateway.views import SliceView, slice_view

POD, OTHER = ("10.0.0.1", 8080), ("10.0.0.2", 8080)


def seen(*conditions: dict[str, bool] | None, port: int | None = 8080) -> SliceView:
    """Pods 10.0.0.1, 10.0.0.2, … with such conditions."""
    endpoints: list[dict[str, Any]] = [
        {"addresses": [f"10.0.0.{number}"]} | ({} if each is None else {"conditions": each}) for number, each in enumerate(conditions, 1)
    ]
    ports = [] if port is None else [{"port": port, "appProtocol": "http"}]
    return slice_view({"metadata": {"name": "w-abc"}, "addressType": "IPv4", "ports": ports, "endpoints": endpoints})


@pytest.mark.parametrize(
    ("conditions", "found"),
    [
        (None, "ready"),  # what isn't known counts as ready
        ({"ready": True, "serving": True, "terminating": False}, "ready"),
        ({"ready": False, "serving": True, "terminating": True}, "leaving"),
        ({"ready": False, "serving": False, "terminating": True}, "unready"),
        ({"ready": False, "serving": False, "terminating": False}, "unready"),
    ],
)
def test_each_pod_is_somewhere(conditions: dict[str, bool] | None, found: str) -> None:
    view = seen(conditions)
    assert {name: getattr(view, name) for name in ("ready", "leaving", "unready")} == {
        name: (POD,) if name == found else () for name in ("ready", "leaving", "unready")
    }


def test_a_slice_without_a_port_leads_nowhere() -> None:
    view = seen(None, {"ready": False}, port=None)
    assert (view.ready, view.leaving, view.unready) == ((), (), ())


def test_envoy_is_told_of_all_pods_and_to_send_nobody_to_the_unready() -> None:
    found = assignment("w-1", [POD], [POD, OTHER])  # in two slices for a moment: ready is the better word
    pods = found.endpoints[0].lb_endpoints
    told = [(pod.endpoint.address.socket_address.address, pod.health_status) for pod in pods]
    assert told == [("10.0.0.1", health_check_pb2.UNKNOWN), ("10.0.0.2", health_check_pb2.DRAINING)]
