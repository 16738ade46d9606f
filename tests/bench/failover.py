"""How long nobody writes when the leader goes: ``python -m tests.bench.failover [--rounds N] [--write]``, on the control tier.

Two operators with the default Lease settings; somebody changes Workloads all the time. The leader is stopped (SIGTERM), killed
(SIGKILL), or paused until the other one has taken over and then woken (SIGSTOP, SIGCONT). Everything is read from the API server's
audit log. *Without a writer*: from the signal to the first write of the other one. *Strays*: writes that came after their writer's lease
had passed, or while the other one held it.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from statistics import median

from hack.cluster.control import ControlCluster, control_cluster
from roadstead.settings import Settings
from tests.bench.document import HELP, write
from tests.clusters import NAMESPACE, add_fake_nodes, audit_position, install_crds, install_rbac, wait_admission, wait_for
from tests.support.replicas import audited, holder, replica, strays, unrest

WARM_WRITES = 50
AFTER_SECONDS = 5.0
"""How long to go on looking after the takeover."""


@dataclass(frozen=True, slots=True)
class Round:
    """One failover: seconds without a writer, seconds until the leader had ended (None: it didn't), and strays."""

    gap_seconds: float
    exit_seconds: float | None
    strays: list[str]


def main() -> None:
    parser = argparse.ArgumentParser(description="How long nobody writes when the leader goes")
    parser.add_argument("--rounds", type=int, default=3, help="of each kind")
    parser.add_argument("--write", action="store_true", help=HELP)
    chosen = parser.parse_args()
    lines = ["| leader | without a writer, min / median / max, s | gone after, max, s | strays |", "| --- | ---: | ---: | ---: |"]
    with control_cluster(kwok=True) as cluster:
        install_crds(cluster)
        install_rbac(cluster)
        add_fake_nodes(cluster)
        wait_admission(cluster)
        for number, (name, end) in enumerate(ENDS.items()):
            lines.append(row(name, [failover(cluster, f"bench-{number}-{turn}", end) for turn in range(chosen.rounds)]))
            print(lines[-1], flush=True)
    if chosen.write:
        write("failover", f"python -m tests.bench.failover --rounds {chosen.rounds}", "\n".join((*lines, "")))


def row(name: str, rounds: list[Round]) -> str:
    """A line of the table. Strays are printed."""
    gaps = [each.gap_seconds for each in rounds]
    exits = [each.exit_seconds for each in rounds if each.exit_seconds is not None]
    found = [stray for each in rounds for stray in each.strays]
    for stray in found:
        print(f"  {stray}")
    gone = f"{max(exits):.2f}" if exits else ""
    return f"| {name} | {min(gaps):.2f} / {median(gaps):.2f} / {max(gaps):.2f} | {gone} | {len(found)} |"


def failover(cluster: ControlCluster, namespace: str, end: Callable[[subprocess.Popen[bytes], Callable[[], bool]], float | None]) -> Round:
    cluster.kubectl("create", "namespace", namespace)
    kubeconfig = cluster.client_kubeconfig(f"system:serviceaccount:{NAMESPACE}:roadstead-operator")
    since = audit_position(cluster)
    with ExitStack() as stack:
        first = stack.enter_context(replica(cluster, kubeconfig, "first"))
        wait_for(lambda: holder(cluster) == "first", "a leader", 60)
        stack.enter_context(replica(cluster, kubeconfig, "second"))
        with unrest(cluster, namespace):
            wait_for(lambda: len(audited(cluster, since)) > WARM_WRITES, "writes", 60)
            began = time.time()
            exit_seconds = end(first, lambda: taken_over(cluster, since) is not None)
            at = wait_for(lambda: taken_over(cluster, since), "the other one to write", 60)
            time.sleep(AFTER_SECONDS)
    cluster.kubectl("delete", "namespace", namespace)
    return Round(at - began, exit_seconds, strays(cluster, since, Settings().lease_seconds))


def taken_over(cluster: ControlCluster, since: int) -> float | None:
    """When the other one's first write came."""
    return next((write.at for write in audited(cluster, since) if write.replica == "second" and not write.of_lease), None)


def stop(leader: subprocess.Popen[bytes], _: Callable[[], bool]) -> float:
    return ended(leader, signal.SIGTERM)


def kill(leader: subprocess.Popen[bytes], _: Callable[[], bool]) -> float:
    return ended(leader, signal.SIGKILL)


def pause(leader: subprocess.Popen[bytes], over: Callable[[], bool]) -> None:
    leader.send_signal(signal.SIGSTOP)
    try:
        wait_for(over, "the other one to write", 60)
    finally:
        leader.send_signal(signal.SIGCONT)


def ended(leader: subprocess.Popen[bytes], number: signal.Signals) -> float:
    began = time.monotonic()
    leader.send_signal(number)
    leader.wait(30)
    return time.monotonic() - began


ENDS = {"stopped (SIGTERM)": stop, "killed (SIGKILL)": kill, "paused beyond its lease, then woken": pause}


if __name__ == "__main__":
    main()
