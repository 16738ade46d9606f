"""What callers are told in place of the service's answer, the whole way: the authoriser's word, by Envoy.

There is no operator: what it would say of a Workload is written into its status here.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import httpx
import pytest

from hack.cluster.control import ControlCluster
from roadstead.access.errors import BAD_TOKEN
from tests.build import http_autoscaling, raw_workload
from tests.clusters import apply, declare_platform, wait_for
from tests.support.gateways import Replica, figure, wait_route
from tests.support.place import Place
from tests.world import here, patch

LIMIT_SECONDS, RETRY_SECONDS = 2, 300
IDLE_SECONDS = 1
"""Less than a request may wait for a pod: the one has nothing to do with the other."""


@pytest.fixture(autouse=True)
def limits(cluster: ControlCluster, gateway: Replica, settings: None) -> None:
    """Short ones, so that they are met."""
    limits = {"coldStartLimitSeconds": LIMIT_SECONDS, "queuePerWorkload": 1, "retrySeconds": RETRY_SECONDS}
    declare_platform(cluster, gateway={**limits, "idleTimeoutSeconds": IDLE_SECONDS})
    wait_route(gateway, IDLE_SECONDS)


def at_zero(place: Place, **status: Any) -> str:
    """A Workload without pods that wakes by demand, of which the operator says that. Returns its name."""
    name = place.workload()
    apply(place.cluster, here(place.namespace, raw_workload(name, runtime=http_autoscaling())))
    say(place, name, **status)
    return name


def say(place: Place, name: str, **status: Any) -> None:
    change = json.dumps({"status": status})
    place.cluster.kubectl("patch", "rsw", name, "-n", place.namespace, "--subresource=status", "--type=merge", "-p", change)


def told(place: Place, name: str, status: int, words: str) -> httpx.Response:
    """Call until that is the answer: the gateway hears of changes a moment later."""

    def answered() -> httpx.Response | None:
        answer = httpx.get(place.url(name), headers=place.headers, timeout=30)
        assert answer.headers["content-type"] == "application/json"
        return answer if answer.status_code == status and words in answer.json()["detail"] else None

    answer = wait_for(answered, f"{status}: {words}")
    assert answer is not None
    assert set(answer.json()) == {"detail"}
    assert not [header for header in answer.headers if header.startswith(("x-roadstead-said", "x-envoy-"))]
    return answer


def test_a_stopped_workload_gives_its_own_message(place: Place) -> None:
    name = at_zero(place, state="stopped", message="Stopped; set suspend to false to start it")
    patch(place.cluster, "rsw", name, place.namespace, suspend=True)
    answer = told(place, name, 503, "Stopped; set suspend to false to start it")
    assert "retry-after" not in answer.headers, "it doesn't start by itself"
    head = httpx.head(place.url(name), headers=place.headers, timeout=30)
    assert (head.status_code, head.headers["content-type"], head.content) == (503, "application/json", b"")


def test_who_has_waited_for_too_long_hears_why(place: Place) -> None:
    name = at_zero(place, state="initializing", message="No node has a free GPU")
    told(place, name, 504, f"No pod was ready within {LIMIT_SECONDS} s: No node has a free GPU")


def test_one_more_than_may_wait_is_sent_away_for_a_while(place: Place, gateway: Replica) -> None:
    name = at_zero(place, state="initializing", message="")
    told(place, name, 504, "No pod was ready")  # the limits are known
    refused = figure(gateway, 'roadstead_gateway_held_requests_lost_total{reason="queue_full"}')
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda _: httpx.get(place.url(name), headers=place.headers, timeout=30), range(2)))
    full, waited = sorted(both, key=lambda answer: answer.elapsed)
    assert (full.status_code, waited.status_code) == (429, 504)
    assert int(full.headers["retry-after"]) >= 1
    assert "wait for a pod already" in full.json()["detail"]
    assert figure(gateway, 'roadstead_gateway_held_requests_lost_total{reason="queue_full"}') == refused + 1


def test_after_a_failed_wake_one_tries_and_the_others_hear_why(place: Place) -> None:
    why = "The image can't be pulled"
    name = at_zero(place, state="errored", message=why, lastWake={"at": "2026-01-01T00:00:00Z", "succeeded": False})
    told(place, name, 504, why)  # the one that tries: it waits, since nothing else has been said of this wake
    say(place, name, lastWake={"at": "2026-01-01T00:01:00Z", "succeeded": False})
    answer = told(place, name, 503, why)
    assert 1 <= int(answer.headers["retry-after"]) <= RETRY_SECONDS


def test_a_grpc_client_reads_it_as_unavailable(place: Place) -> None:
    name = at_zero(place, state="stopped", message="Größer als nötig")
    patch(place.cluster, "rsw", name, place.namespace, suspend=True)
    told(place, name, 503, "Größer als nötig")
    assert grpc_status(place, name, place.token) == (grpc.StatusCode.UNAVAILABLE, "Größer als nötig")


def test_a_grpc_client_reads_why_it_may_not_call(place: Place) -> None:
    code, sentence = grpc_status(place, at_zero(place, state="running", message=""), "nonsense")
    assert (code, sentence) == (grpc.StatusCode.UNAUTHENTICATED, BAD_TOKEN)


def grpc_status(place: Place, name: str, token: str) -> tuple[grpc.StatusCode, str]:
    """By which a call of gRPC fails."""
    with grpc.insecure_channel(place.gateway.url.removeprefix("http://")) as channel:
        call = channel.unary_unary(f"{place.prefix(name)}/test.Echo/Unary")
        with pytest.raises(grpc.RpcError) as caught:
            call(b"hello", metadata=(("authorization", f"Bearer {token}"),), timeout=30)
        return caught.value.code(), caught.value.details()
