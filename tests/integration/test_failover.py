"""Two replicas, one writer: whatever happens to the leader. Who wrote when is read from the API server's audit log."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from aiohttp import web

from hack.cluster.control import ControlCluster
from tests.build import raw_artifact, raw_workload
from tests.clusters import NAMESPACE, apply, audit_position, wait_for
from tests.support.proxy import late, proxied
from tests.support.replicas import LEASE_SECONDS, QUICK_LEASE, audited, holder, replica, strays, unrest, writers
from tests.world import here, pod_uids, quiet, wait_state

pytestmark = pytest.mark.timeout(240)
PROMISED_SECONDS = 5.0
"""From SIGTERM to the end, whatever the API server does."""
MARGIN_SECONDS = 3.0
"""For a busy machine."""


@contextmanager
def a_leads(cluster: ControlCluster, kubeconfig: Path, namespace: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Replica a leads and writes, b stands by. Gives a's process, and where the audit log ended before."""
    before = audit_position(cluster)
    with replica(cluster, kubeconfig, "a", **QUICK_LEASE) as a:
        wait_for(lambda: holder(cluster) == "a", "a to lead")
        with replica(cluster, kubeconfig, "b", **QUICK_LEASE), unrest(cluster, namespace):
            wait_for(lambda: len([write for write in audited(cluster, before) if not write.of_lease]) > 50, "writes", 60)
            assert writers(cluster, before) == {"a"}
            yield a, before


def test_one_writes_and_the_other_goes_on_when_it_is_stopped(cluster: ControlCluster, operator_kubeconfig: Path, namespace: str) -> None:
    with a_leads(cluster, operator_kubeconfig, namespace) as (a, before):
        a.send_signal(signal.SIGTERM)
        assert a.wait(30) == 0
        wait_for(lambda: "b" in writers(cluster, before), "b to write", 60)
    assert strays(cluster, before, LEASE_SECONDS) == []
    assert holder(cluster) == ""


def test_the_other_goes_on_when_the_leader_is_killed(cluster: ControlCluster, operator_kubeconfig: Path, namespace: str) -> None:
    """Nobody gives the Lease back: it has to pass."""
    with a_leads(cluster, operator_kubeconfig, namespace) as (a, before):
        a.send_signal(signal.SIGKILL)
        assert a.wait(30) == -signal.SIGKILL
        assert holder(cluster) == "a"
        since = audit_position(cluster)
        wait_for(lambda: "b" in writers(cluster, since), "b to write", 60)
        assert holder(cluster) == "b"
    assert strays(cluster, before, LEASE_SECONDS) == []


def test_a_leader_paused_beyond_its_lease_starts_no_write(cluster: ControlCluster, operator_kubeconfig: Path, namespace: str) -> None:
    """And when it leads again it remembers nothing of its first term: what the other one has written since is no drift."""
    before = audit_position(cluster)
    with replica(cluster, operator_kubeconfig, "a", **QUICK_LEASE) as a:
        wait_for(lambda: holder(cluster) == "a", "a to lead")
        with replica(cluster, operator_kubeconfig, "b", **QUICK_LEASE) as b:
            apply(cluster, here(namespace, raw_artifact(status="registered")), here(namespace, raw_workload()))
            wait_state(cluster, namespace, "running")
            with unrest(cluster, namespace):
                wait_for(lambda: len([write for write in audited(cluster, before) if not write.of_lease]) > 50, "writes", 60)
                paused(a)
                wait_for(lambda: "b" in writers(cluster, before), "b to write", 60)
                a.send_signal(signal.SIGCONT)
                since = audit_position(cluster)
                wait_for(lambda: len([write for write in audited(cluster, since) if write.replica == "b"]) > 50, "more writes of b", 60)
            assert strays(cluster, before, LEASE_SECONDS) == []
            pods = pod_uids(cluster, namespace)
            apply(cluster, here(namespace, raw_workload(template={"nodeSelector": {"kubernetes.io/hostname": "fake-0"}})))
            wait_for(lambda: pod_uids(cluster, namespace) not in (pods, ""), "b's rollout")
            wait_state(cluster, namespace, "running")
            quiet(cluster, 4)
            since = audit_position(cluster)
            b.send_signal(signal.SIGTERM)
            assert b.wait(30) == 0
            wait_for(lambda: holder(cluster) == "a", "a to lead again")
            quiet(cluster, 4)
            assert [write for write in audited(cluster, since) if not write.of_lease] == []


def paused(process: subprocess.Popen[bytes]) -> None:
    """Stop a process in its tracks; returns when it stands still."""
    process.send_signal(signal.SIGSTOP)
    wait_for(lambda: Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T", "the process to stand still")


def test_sigterm_leaves_nothing_half_done(cluster: ControlCluster, operator_kubeconfig: Path, namespace: str) -> None:
    """What was begun is finished with its status, the Lease is given back after the last write, and the exit is clean.

    The creation of a stopped Workload takes the most writes; there are more of them than an operator can create within any grace. Few
    workers have the machine to themselves: on a busy one each would take longer than the grace.
    """
    apply(cluster, here(namespace, raw_artifact(status="registered")))
    apply(cluster, *(here(namespace, raw_workload(f"still-{number}", suspend=True)) for number in range(200)))
    before = audit_position(cluster)
    with replica(cluster, operator_kubeconfig, "burst", ROADSTEAD_WORKERS="4", **QUICK_LEASE) as process:
        wait_for(lambda: len(audited(cluster, before)) > 50, "writes", 60)
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0
    assert holder(cluster) == ""
    written = audited(cluster, before)
    assert written[-1].of_lease, written[-1]
    deployments, services = names(cluster, "deployments.apps", namespace), names(cluster, "services", namespace)
    judged = {name for name, state in names(cluster, "rsw", namespace, ".status.state").items() if state}
    assert set(deployments) == set(services) == judged
    assert judged


def test_sigterm_is_obeyed_while_nothing_is_answered(
    cluster: ControlCluster, operator_kubeconfig: Path, namespace: str, tmp_path: Path
) -> None:
    """With the Lease's usual times, after which its return is waited for the longest. In vain: the Lease is deleted here."""
    hanging: list[tuple[str, str]] = []

    def hangs(request: web.Request) -> bool:
        hanging.append((request.method, request.path))
        return True

    apply(cluster, here(namespace, raw_artifact(status="registered")))
    try:
        with proxied(cluster, operator_kubeconfig, tmp_path) as proxy, replica(cluster, proxy.kubeconfig(), "hung") as process:
            wait_for(lambda: holder(cluster) == "hung", "it to lead", 60)
            with proxy.fault(hangs, late(600)):
                apply(cluster, here(namespace, raw_workload()))
                wait_for(lambda: any(method != "GET" and "/leases/" not in path for method, path in hanging), "a write to hang")
                process.send_signal(signal.SIGTERM)
                assert process.wait(PROMISED_SECONDS + MARGIN_SECONDS) == 0
    finally:
        cluster.kubectl("delete", "lease", "roadstead-operator", "-n", NAMESPACE, "--ignore-not-found")


def names(cluster: ControlCluster, kind: str, namespace: str, path: str = ".metadata.uid") -> dict[str, str]:
    """The objects of a kind, each with what is at that path."""
    form = f'jsonpath={{range .items[*]}}{{.metadata.name}}={{{path}}}{{"\\n"}}{{end}}'
    lines = cluster.kubectl("get", kind, "-n", namespace, "-o", form).split()
    return dict(line.partition("=")[::2] for line in lines)
