"""The control tier: etcd, API server, controller manager and scheduler on loopback, in about four seconds and without root.

Nothing runs pods here (kwok can pretend to). Several clusters live side by side, each on ports of its own. Ports are probed and then
used, so another process can take one in between; a start that fails for that reason is tried again with other ports.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from hack.cluster import binaries
from hack.cluster.api import Cluster
from hack.cluster.components import ControlPlane
from hack.cluster.console import ClusterError
from hack.cluster.processes import Command, Identity, Running, answers, start, wait_until

LOOPBACK = "127.0.0.1"
SERVICES = "10.96.0.0/16"
FIRST_SERVICE = "10.96.0.1"
NAMES = ("localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc")
ATTEMPTS = 4
TEMPORARY_PREFIX = "roadstead-control-"
OWNER = "owner"
PORTS = range(20000, 32000)  # below the range from which the kernel takes ports for outgoing connections
RESERVED_SECONDS = 120.0
"""Within which whoever asked for a port listens on it."""


class _PortTakenError(ClusterError):
    pass


@dataclass(slots=True)
class ControlCluster(Cluster):
    """A control plane whose processes are children of this process."""

    processes: dict[str, Running] = field(default_factory=dict)

    def restart_apiserver(self) -> None:
        """Stop the API server and start it again on the same port and data; returns when it is ready."""
        self.stop_component("kube-apiserver")
        self.start_component("kube-apiserver")

    def stop_component(self, name: str) -> None:
        """Stop one component (``kube-apiserver``, ``kube-scheduler`` …) and leave it stopped."""
        self.processes[name].stop(grace_seconds=2)  # open watches would keep an API server for a minute

    def start_component(self, name: str) -> None:
        """Start a stopped component again; for the API server, returns when it is ready."""
        running = start(self.processes[name].command, self.state / "logs")
        self.processes[name] = running
        if name == "kube-apiserver":
            wait_until(self.ready, "the API server", 60, [running])

    def restart_controllers(self) -> None:
        """Start those anew that watch: to an API server that was away they would come back after up to a minute, each in its own time."""
        for name in ("kube-controller-manager", "kube-scheduler", "kwok"):
            if name in self.processes:
                self.stop_component(name)
                if name == "kwok":  # it would wait for its former self's to lapse
                    self.kubectl("delete", "leases", "--namespace=kube-node-lease", "--all")
                self.start_component(name)


@contextmanager
def control_cluster(
    *,
    kwok: bool = False,
    audit: bool = True,
    state: Path | None = None,
    extra_apiserver_flags: Sequence[str] = (),
) -> Iterator[ControlCluster]:
    """Run a control tier for the length of the ``with`` block; builds missing binaries first.

    ``state`` is a folder to keep (it must be empty or absent); without it a temporary one is used, in memory where possible.
    Raises ClusterError with the end of the guilty component's log.
    """
    binaries.ensure((*binaries.CONTROL_TIER, binaries.KWOK) if kwok else binaries.CONTROL_TIER)
    with contextlib.ExitStack() as stack:
        if state is None:
            state = _temporary_folder()
            stack.callback(shutil.rmtree, state, ignore_errors=True)
        for attempt in range(1, ATTEMPTS + 1):
            try:
                cluster = _start(state, kwok, audit, extra_apiserver_flags)
                break
            except _PortTakenError:
                if attempt == ATTEMPTS:
                    raise
                for leftover in state.iterdir():
                    if leftover.name != OWNER:
                        shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
        stack.callback(_stop, cluster.processes)
        yield cluster


def _start(state: Path, kwok: bool, audit: bool, extra: Sequence[str]) -> ControlCluster:
    api, etcd, peer, kwok_port = free_ports(4)
    url = f"https://{LOOPBACK}:{api}"
    plane = ControlPlane.create(state, url=url, etcd_ports=(etcd, peer), names=NAMES, addresses=(LOOPBACK, FIRST_SERVICE))
    plane.logs.mkdir(parents=True, exist_ok=True)
    cluster = ControlCluster(plane.admin, url, plane.authority.certificate, state, plane.audit_log if audit else None)

    def launch(command: Command) -> Running:
        cluster.processes[command.name] = start(command, plane.logs)
        return cluster.processes[command.name]

    try:
        database = launch(plane.etcd())
        wait_until(lambda: etcd_healthy(etcd), "etcd", 30, [database])
        flags = ("--endpoint-reconciler-type=none", *extra)
        server = plane.apiserver(port=api, bind=LOOPBACK, advertise=LOOPBACK, services=SERVICES, audit=audit, extra=flags)
        launch(server)
        watched = list(cluster.processes.values())
        wait_until(cluster.ready, "the API server", 60, watched)
        # A fake node that is taken for dead while the API server is away leaves its pods without readiness for ever: no kubelet says again
        # that they are ready.
        launch(plane.controller_manager("--node-monitor-grace-period=10m"))
        launch(plane.scheduler())
        if kwok:
            launch(plane.kwok(kwok_port))
        watched = list(cluster.processes.values())
        wait_until(lambda: has_default_account(cluster), "the default service account", 60, watched)
    except BaseException as error:
        _stop(cluster.processes)
        logs = "".join(running.tail() for running in cluster.processes.values())
        if isinstance(error, ClusterError) and "address already in use" in logs:
            raise _PortTakenError(str(error)) from error
        raise
    return cluster


def _stop(processes: dict[str, Running]) -> None:
    """Stop in reverse order of start: an API server without its etcd would hang for a minute."""
    for running in reversed(list(processes.values())):
        running.stop()


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody listens on, and that nobody else gets from here within RESERVED_SECONDS."""
    found: list[int] = []
    while len(found) < count:
        port = random.choice(PORTS)  # noqa: S311
        with socket.socket() as probe:
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
        if _reserved(port):
            found.append(port)
    return found


def _reserved(port: int) -> bool:
    """Whether a port could be set aside: two that ask at the same moment, in whatever process, would both find it free."""
    folder = Path(tempfile.gettempdir()) / f"roadstead-ports-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    mark = folder / str(port)
    try:
        mark.touch(exist_ok=False)
    except FileExistsError:
        if time.time() - mark.stat().st_mtime < RESERVED_SECONDS:
            return False
        mark.touch()
    return True


def etcd_healthy(port: int) -> bool:
    """Whether an etcd on this loopback port says it is healthy."""
    return answers(f"http://{LOOPBACK}:{port}/health")


def has_default_account(cluster: Cluster) -> bool:
    """Whether the controller manager has made the account without which no pod can be created."""
    return "default" in cluster.kubectl("get", "serviceaccount", "default", "--ignore-not-found", "-o", "name", check=False)


def _temporary_folder() -> Path:
    """A new folder, in memory where possible; folders of callers that were killed are removed on the way."""
    shared_memory = "/dev/shm"  # noqa: S108
    root = Path(shared_memory if os.access(shared_memory, os.W_OK) else tempfile.gettempdir())
    for leftover in root.glob(f"{TEMPORARY_PREFIX}*"):
        owner = Identity.load(leftover / OWNER)
        if owner is not None and not owner.alive:
            shutil.rmtree(leftover, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=TEMPORARY_PREFIX, dir=root))
    identity = Identity.of(os.getpid())
    assert identity is not None  # noqa: S101
    identity.save(folder / OWNER)
    return folder
