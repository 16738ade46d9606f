"""Several operators beside one another, and what the API server's audit log says of who wrote when."""

from __future__ import annotations

import itertools
import subprocess
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from hack.cluster.api import Cluster
from tests.build import raw_artifact, raw_workload
from tests.clusters import NAMESPACE, apply, audit_events, running_operator
from tests.world import here

LEASE_SECONDS = 4.0
QUICK_LEASE = {
    "ROADSTEAD_LEASE_SECONDS": str(LEASE_SECONDS),
    "ROADSTEAD_RENEW_DEADLINE_SECONDS": "2.5",
    "ROADSTEAD_RETRY_SECONDS": "0.3",
}


@dataclass(frozen=True, slots=True)
class Write:
    """A write that reached the API server: when (seconds since the epoch) its request came, whose it was, and what it was about."""

    at: float
    replica: str
    verb: str
    resource: str
    name: str
    code: int

    @property
    def of_lease(self) -> bool:
        return self.resource == "leases"


def replica(
    cluster: Cluster, kubeconfig: Path, identity: str, *, ready: bool = True, **environment: str
) -> AbstractContextManager[subprocess.Popen[bytes]]:
    """An operator of that identity."""
    return running_operator(cluster, kubeconfig, ready=ready, ROADSTEAD_IDENTITY=identity, **environment)


def audited(cluster: Cluster, since: int = 0) -> list[Write]:
    """All writes of replicas after ``since``, a position in the audit log, Leases included, in the order in which they came."""
    found = []
    for event in audit_events(cluster, since):
        agent, ref = event.get("userAgent", ""), event.get("objectRef") or {}
        if not agent.startswith("roadstead-operator/") or event["verb"] in ("get", "list", "watch"):
            continue
        at = datetime.fromisoformat(event["requestReceivedTimestamp"]).timestamp()
        identity = agent.partition("(")[2].rstrip(")")
        resource = ref.get("resource", "") + ("/" + ref["subresource"] if ref.get("subresource") else "")
        found.append(Write(at, identity, event["verb"], resource, ref.get("name", ""), event["responseStatus"]["code"]))
    return sorted(found, key=lambda write: write.at)


def writers(cluster: Cluster, since: int) -> set[str]:
    """Who has written anything but the Lease after ``since``."""
    return {write.replica for write in audited(cluster, since) if not write.of_lease}


def strays(cluster: Cluster, since: int, lease_seconds: float) -> list[str]:
    """Writes that came when their replica's lease had passed, or when somebody else had taken it. ``since`` must be before its first."""
    renewed: dict[str, float] = {}
    holder, found = "", []
    for write in audited(cluster, since):
        if write.of_lease:
            if write.code < 300:
                holder, renewed[write.replica] = write.replica, write.at
            continue
        late = write.at - renewed.get(write.replica, 0.0) - lease_seconds
        if late > 0 or holder != write.replica:
            held = f"{holder} held the lease" if holder != write.replica else "its lease had passed"
            found.append(f"{write.replica} {write.verb} {write.resource} {write.name} ({write.code}), {late:.3f} s late, {held}")
    return found


def holder(cluster: Cluster) -> str:
    """Who holds the operator's Lease; empty for nobody."""
    path = "jsonpath={.spec.holderIdentity}"
    identity = cluster.kubectl("get", "lease", "roadstead-operator", "-n", NAMESPACE, "-o", path, "--ignore-not-found").strip()
    return identity.rpartition("_")[0]


@contextmanager
def unrest(cluster: Cluster, namespace: str, count: int = 20) -> Iterator[None]:
    """For the length of the block somebody changes Workloads without a pause, so that the leader always has something to write."""
    apply(cluster, here(namespace, raw_artifact(status="registered")))
    done = threading.Event()
    trouble: list[BaseException] = []

    def change() -> None:
        for turn in itertools.count():
            bodies = (raw_workload(f"busy-{number}", runtime={"replicaCount": 1 + turn % 2}) for number in range(count))
            try:
                apply(cluster, *(here(namespace, body) for body in bodies))
            except Exception as error:
                trouble.append(error)
            if trouble or done.is_set():
                return

    thread = threading.Thread(target=change, name="unrest", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join(60)
    assert not trouble, trouble
