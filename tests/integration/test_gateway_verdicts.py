"""Permissions that Envoy remembers: they spare the question, are one caller's for one endpoint, and end when they were to end."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from hack.cluster.control import ControlCluster
from roadstead.access.errors import BAD_TOKEN
from roadstead.settings import GatewaySettings
from tests.clusters import declare_platform, wait_for
from tests.conftest import LONG
from tests.support.gateways import figure
from tests.support.place import Place
from tests.support.pods import Pod
from tests.support.rest import account, expired

REMEMBERED_SECONDS = 4
"""The Platform's default: how long Envoy remembers."""
LONGEST_SECONDS = REMEMBERED_SECONDS + GatewaySettings().verdict_seconds
"""Envoy's memory of the process's memory of the API server's word."""
CONNECTIONS = 6
"""Enough for each of Envoy's two workers to have some."""


@pytest.fixture
def name(place: Place, served: Pod) -> str:
    """A Workload of the test's own, that answers."""
    return place.serving(served)


def asked(place: Place) -> float:
    """How often the authoriser has let somebody pass."""
    return figure(place.gateway, 'roadstead_gateway_decisions_total{code="200"}')


def codes(place: Place, name: str, bearer: str, calls: int = 10) -> set[int]:
    """What one is told on several connections, called again and again."""
    headers = {"Authorization": bearer}
    found = set()
    for _ in range(CONNECTIONS):
        with place.client(headers=headers) as client:
            found |= {client.get(place.prefix(name) + "/x").status_code for _ in range(calls)}
    return found


def ends(place: Place, name: str, bearer: str, last: int, within_seconds: float, between: frozenset[int] = frozenset()) -> None:
    """Somebody who is warm and calls all the time is told that from some moment on, and never again anything else."""
    since = time.monotonic()
    while True:
        asked_at = time.monotonic()
        found = codes(place, name, bearer, calls=1)
        if found == {last}:
            break
        assert found <= {200, last, *between}
        assert asked_at - since < within_seconds, f"{found} after {asked_at - since:.1f} s"
        time.sleep(0.1)
    until = time.monotonic() + 2
    while time.monotonic() < until:
        assert codes(place, name, bearer, calls=1) == {last}


def test_a_warm_request_asks_nobody(place: Place, name: str) -> None:
    with place.client() as client:
        client.get(place.prefix(name) + "/x")
        before, began = asked(place), time.monotonic()
        assert {client.get(place.prefix(name) + f"/{number}").status_code for number in range(200)} == {200}
        assert asked(place) - before <= 1 + (time.monotonic() - began) / (REMEMBERED_SECONDS - 1)


def test_switched_off(place: Place, cluster: ControlCluster, name: str, settings: None) -> None:
    declare_platform(cluster, gateway={"verdictSeconds": 0})
    with place.client() as client:

        def asks() -> bool:
            before = asked(place)
            assert {client.get(place.prefix(name) + "/x").status_code for _ in range(10)} == {200}
            return asked(place) - before == 10

        wait_for(asks, "the setting to be known")
        assert asks()


def test_a_long_answer_prolongs_nothing(place: Place, name: str) -> None:
    """The permission counts from when it was asked for, not from when the service at last said something."""
    with place.client() as client:
        assert client.get(place.prefix(name) + f"/silent?seconds={REMEMBERED_SECONDS + 1}").status_code == 200
        before = asked(place)
        assert client.get(place.prefix(name) + "/x").status_code == 200
        assert asked(place) - before == 1


def test_a_right_that_is_withdrawn_ends(place: Place, cluster: ControlCluster, name: str) -> None:
    leaver = f"Bearer {account(cluster, place.namespace, 'leaver', 'roadstead-invoke')}"
    wait_for(lambda: codes(place, name, leaver) == {200}, "the right to be known")
    cluster.kubectl("delete", "rolebinding", f"leaver-{place.namespace}-roadstead-invoke", "-n", place.namespace)
    ends(place, name, leaver, 404, LONGEST_SECONDS + 2)
    assert codes(place, name, f"Bearer {place.token}") == {200}


def test_an_account_that_is_deleted_ends(place: Place, cluster: ControlCluster, name: str) -> None:
    gone = f"Bearer {account(cluster, place.namespace, 'gone', 'roadstead-invoke')}"
    wait_for(lambda: codes(place, name, gone) == {200}, "the right to be known")
    cluster.kubectl("delete", "serviceaccount", "gone", "-n", place.namespace)
    ends(place, name, gone, 401, LONGEST_SECONDS + 2)


def test_a_token_that_expires_ends(place: Place, cluster: ControlCluster, name: str) -> None:
    """To the second, whatever anybody remembers."""
    cluster.kubectl(
        *("create", "rolebinding", "short", "-n", place.namespace, "--clusterrole=roadstead-invoke", "--serviceaccount=default:default")
    )
    wait_for(lambda: codes(place, name, f"Bearer {expired(cluster, -600)}", calls=1) == {200}, "the right to be known")
    token = expired(cluster, -6)
    over = time.time() + 6
    assert codes(place, name, f"Bearer {token}", calls=1) == {200}
    ends(place, name, f"Bearer {token}", 401, over - time.time() + 1)
    answer = httpx.get(place.url(name), headers={"Authorization": f"Bearer {token}"}, timeout=30)
    assert answer.json() == {"detail": BAD_TOKEN}


def test_a_workload_that_is_deleted_ends(place: Place, cluster: ControlCluster, name: str) -> None:
    bearer = f"Bearer {place.token}"
    assert codes(place, name, bearer) == {200}
    cluster.kubectl("delete", "workloads.roadstead.dev", name, "-n", place.namespace, "--wait=false")
    ends(place, name, bearer, 404, REMEMBERED_SECONDS + 2, frozenset({503}))


def test_two_callers_share_nothing(place: Place, cluster: ControlCluster, name: str) -> None:
    stranger = f"Bearer {account(cluster, place.namespace, 'stranger')}"
    viewer = f"Bearer {account(cluster, place.namespace, 'viewer', 'roadstead-view')}"
    wait_for(lambda: codes(place, name, viewer, calls=1) == {403}, "the right to be known")
    with ThreadPoolExecutor(1) as pool:
        for _ in range(3 if LONG else 1):
            warm = pool.submit(codes, place, name, f"Bearer {place.token}", 30)
            assert codes(place, name, stranger) == {404}
            assert codes(place, name, viewer) == {403}
            assert codes(place, name, f"Bearer {place.token}x") == {401}
            assert warm.result() == {200}
    with httpx.Client(timeout=30) as client:
        assert client.get(place.url(name)).status_code == 401


def test_two_endpoints_share_nothing(place: Place, cluster: ControlCluster, name: str, served: Pod) -> None:
    """A right on one name is none on another, in whatever order they are called on a connection."""
    other = place.serving(served)
    single = account(cluster, place.namespace, "single")
    resource = ("--verb=create", "--resource=workloads.roadstead.dev/invoke", f"--resource-name={name}")
    cluster.kubectl("create", "role", "single", "-n", place.namespace, *resource)
    cluster.kubectl("create", "rolebinding", "single", "-n", place.namespace, "--role=single", f"--serviceaccount={place.namespace}:single")
    wait_for(lambda: codes(place, name, f"Bearer {single}", calls=1) == {200}, "the right to be known")
    with place.client(headers={"Authorization": f"Bearer {single}"}) as client:
        for _ in range(10):
            assert client.get(place.prefix(name) + "/x").status_code == 200
            assert client.get(place.prefix(other) + "/x").status_code == 404
            assert client.get(place.prefix(name).replace("/workloads/", "/deployments/")).status_code == 404


def test_the_key_has_seams(place: Place, name: str) -> None:
    """Endpoint and Authorization can't be cut otherwise than they were sent: "Bea" are digits of an id as well."""
    with place.client() as client:
        for _ in range(5):
            assert client.get(place.prefix(name) + "/x").status_code == 200
            cut = client.get(place.prefix(name) + "Bea/x", headers={"Authorization": f"rer {place.token}"})
            assert cut.status_code == 404
            twice = [("Authorization", f"Bearer {place.token}"), ("Authorization", "Bearer nonsense")]
            for headers in (twice, twice[::-1]):
                with httpx.Client(timeout=30) as plain:
                    answer = plain.get(place.url(name), headers=headers)
                    assert answer.status_code == 401
                    assert json.loads(answer.text)["detail"]
