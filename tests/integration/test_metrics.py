"""/metrics of a running operator."""

from __future__ import annotations

import urllib.request
from pathlib import Path

import pytest

from hack.cluster.control import ControlCluster, free_ports
from tests.build import raw_artifact, raw_workload
from tests.clusters import apply, running_operator, wait_for
from tests.world import here, wait_state


@pytest.mark.timeout(120)
def test_a_running_operator_answers(cluster: ControlCluster, operator_kubeconfig: Path, namespace: str) -> None:
    port = free_ports(1)[0]

    def lines() -> list[str]:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            assert answer.headers["Content-Type"].startswith("text/plain; version=")
            return answer.read().decode().splitlines()

    def number(series: str) -> float:
        return next(float(line.rsplit(" ", 1)[1]) for line in lines() if line.rsplit(" ", 1)[0] == series)

    with running_operator(cluster, operator_kubeconfig, metrics_port=port):
        wait_for(lambda: number('leader_election_master_status{name="roadstead-operator"}') == 1, "the Lease")
        before = number('roadstead_workload_state{state="running"}')
        apply(cluster, here(namespace, raw_artifact()), here(namespace, raw_workload()))
        wait_state(cluster, namespace, "running")
        wait_for(lambda: number('roadstead_workload_state{state="running"}') == before + 1, "the state")
        assert number('controller_runtime_reconcile_total{controller="workload",result="success"}') > 0
        assert number('controller_runtime_reconcile_time_seconds_count{controller="workload"}') > 0
        assert number('rest_client_requests_total{code="200",method="GET"}') > 0
        assert number('rest_client_requests_total{code="201",method="PATCH"}') > 0
        assert number('roadstead_reflector_objects{resource="nodes"}') == 2
        assert number('roadstead_reflector_silent_seconds{resource="pods"}') < 60
        assert number("process_resident_memory_bytes") > 0
