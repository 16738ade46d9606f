"""What a gateway process counts outlives it to the last request, also when other replicas' Envoys reported to it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import grpc
import httpx
import pytest

from hack.cluster.control import ControlCluster
from roadstead.counts import CALL, Figures, Question
from roadstead.gateway.control import REPORTS_SECONDS
from roadstead.gateway.envoy.load_reports import INTERVAL_SECONDS
from roadstead.gateway.parts import COUNTED_SECONDS
from roadstead.tls import SNI, Certificates
from tests.clusters import wait_for
from tests.support.callers import Called, calling
from tests.support.gateways import CERTIFICATES, Replica, certificates, gateway_access, running_gateway, two_gateways, unstarted
from tests.support.place import Place
from tests.support.pods import Pod, pod

PAUSES = [0.0, pytest.param(0.35, marks=pytest.mark.long), pytest.param(0.7, marks=pytest.mark.long)]
"""Seconds before the end of the other is begun: a report comes every second."""


@pytest.fixture(scope="module")
def served() -> Iterator[Pod]:
    with pod() as one:
        yield one


@pytest.mark.parametrize("pause", PAUSES)
def test_what_an_envoy_reports_to_a_replica_that_ends_is_known(cluster: ControlCluster, namespace: str, served: Pod, pause: float) -> None:
    """As in each rollout: an Envoy is there before the process beside it, and reports to a sibling, which ends once it is ready."""
    with ExitStack() as stack:
        old, new = unstarted(cluster, gateway_access(cluster), ROADSTEAD_DRAIN_SECONDS="1")
        stack.callback(old.stop)
        stack.callback(new.stop)
        old.start_process()
        old.start_envoy()
        place = Place(cluster, namespace, new)
        name = place.workload(served)
        old.wait_ready()
        new.start_envoy()
        wait_for(lambda: reporting(new), "the newcomer's Envoy to report to the other", 30)
        visiting_since = time.monotonic()
        new.start_process()
        new.wait_ready()
        with calling((new,), place.prefix(name) + "/", place.token) as called:
            wait_for(lambda: called.answered > 200, "requests", 60)
            time.sleep(pause)
            assert time.monotonic() - visiting_since < REPORTS_SECONDS, "too slow: its Envoy may have gone home already"
            old.stop()
            known = called.answered
            wait_for(lambda: called.answered > known + 200, "requests without the other", 60)
        assert called.failed == []
        told = known_to(new, cluster.state / CERTIFICATES, place.figures(name), quiet_seconds=8)  # its Envoy reports again after five
        assert told == called.answered


def test_a_newcomer_is_ready_when_it_has_been_told_what_the_others_know(cluster: ControlCluster) -> None:
    """With its readiness a rollout ends the next of the others."""
    with ExitStack() as stack:
        silent, new = unstarted(cluster, gateway_access(cluster))
        stack.callback(silent.stop)
        stack.callback(new.stop)
        new.start_envoy()
        new.start_process()
        wait_for(lambda: "Configures Envoy" in new.log() and reporting(new), "all but the other's word", 30)
        waiting_since = time.monotonic()
        time.sleep(2)
        assert not new.ready()
        silent.start_process()
        wait_for(new.ready, "the newcomer to be ready", 30)
        assert time.monotonic() - waiting_since < COUNTED_SECONDS, "not with the other's word, but for having waited long enough"


def test_what_is_counted_while_a_replica_drains_is_known(cluster: ControlCluster, namespace: str, served: Pod) -> None:
    """To the end: it drains at once, so that its last requests are of its last second."""
    with ExitStack() as stack:
        one, other = stack.enter_context(two_gateways(cluster, gateway_access(cluster), ROADSTEAD_DRAIN_SECONDS="0"))
        place = Place(cluster, namespace, other)
        name = place.workload(served)
        wait_counted(name, place, one, other)
        with calling((one, other), place.prefix(name) + "/", place.token) as called:
            wait_for(lambda: called.answered > 400, "requests", 60)
            one.stop()
            known = called.answered
            wait_for(lambda: called.answered > known + 200, "requests without the other", 60)
        assert called.failed == []
        told = known_to(other, cluster.state / CERTIFICATES, place.figures(name))
        assert told == called.answered


def test_what_is_counted_while_pods_roll_is_known(cluster: ControlCluster, namespace: str, served: Pod) -> None:
    """Each pod is going, and gone, in the middle of a second in which it was asked."""
    with ExitStack() as stack:
        folder = certificates(cluster.state / CERTIFICATES)
        one = stack.enter_context(running_gateway(cluster, gateway_access(cluster), certificates=folder))
        second = stack.enter_context(pod())
        place = Place(cluster, namespace, one)
        name = place.workload(served)
        wait_counted(name, place, one)
        with calling((one,), place.prefix(name) + "/", place.token) as called:
            for leaving, staying in ((served, second), (second, served)):
                wait_more(called)
                place.pods(name, staying)
                wait_more(called)
                place.pods(name, staying, leaving=leaving)
                time.sleep(0.5)
                place.pods(name, staying, gone=leaving)
                wait_more(called)
                time.sleep(2)  # its last answers are over, and told
                cluster.kubectl("delete", "endpointslice", f"{name}-{leaving.port}", "-n", namespace)
        assert called.failed == []
        assert known_to(one, folder, place.figures(name)) == called.answered


def wait_counted(name: str, place: Place, *replicas: Replica) -> None:
    """Return when their Envoys count its requests: from the next report on after they have learnt of it."""
    cluster = f"{place.figures(name)}::"
    for one in replicas:
        wait_for(lambda one=one: cluster in httpx.get(f"http://127.0.0.1:{one.ports['admin']}/clusters", timeout=5).text, "the cluster")
    time.sleep(2 * INTERVAL_SECONDS)


def wait_more(called: Called) -> None:
    known = called.answered
    wait_for(lambda: called.answered > known + 100, "more requests", 60)


def reporting(one: Replica) -> bool:
    """Whether its Envoy reports its load to anybody: beside its configuration, that is all it asks for."""
    try:
        said = httpx.get(f"http://127.0.0.1:{one.ports['admin']}/stats?filter=^cluster.control.upstream_rq_active$", timeout=5).text
    except httpx.TransportError:  # it has just been started
        return False
    return said.strip().endswith(": 2")


def known_to(one: Replica, folder: Path, endpoint: str, quiet_seconds: int = 3) -> int:
    """Requests to an endpoint that a process knows of, once nothing was added for so long."""
    credentials = Certificates(folder).grpc_client()
    question = Question(endpoints=[endpoint]).model_dump_json().encode()
    with grpc.secure_channel(f"127.0.0.1:{one.ports['peer']}", credentials, [("grpc.ssl_target_name_override", SNI)]) as channel:

        def ask() -> int:
            found = Figures.model_validate_json(channel.unary_unary(CALL)(question, timeout=10)).requests
            assert found is not None
            return found

        counts = [ask()]
        while len(counts) <= quiet_seconds or counts[-1] != counts[-1 - quiet_seconds]:
            time.sleep(1)
            counts.append(ask())
    return counts[-1]
