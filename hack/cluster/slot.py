"""A slot: the numbered share of the machine that one full cluster uses, so that several live side by side.

Everything a cluster touches outside its own namespaces is named here and nowhere else: address ranges inside 198.18.0.0/15 (RFC 2544,
never routed), one veth end and three routes on the host, one cgroup folder per hierarchy, one state folder. ``cleanup`` takes all of it
away, whatever state a crash left it in. Slot 0 is the everyday cluster of ``make up``; tests take the next free one.

A slot is claimed with a file lock, which the kernel releases when its holder dies.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hack.cluster.console import ClusterError, say
from hack.cluster.processes import POLL_SECONDS, Identity

STATE_ROOT = Path("/var/lib/roadstead")
CGROUPS = Path("/sys/fs/cgroup")
COUNT = 16
EVERYDAY = 0
MASKED = tuple(map(Path, ("/run", "/var/lib/cni", "/var/lib/kubelet", "/var/log/containers")))
"""Folders whose paths are compiled into the programs: the cluster sees an empty one of its own in their place."""


@dataclass(frozen=True, slots=True)
class Slot:
    """The names and addresses of slot ``number`` (0 to 15)."""

    number: int

    @property
    def pods(self) -> str:
        return f"198.18.{16 * self.number}.0/20"

    @property
    def node(self) -> str:
        return f"198.19.{self.number}.1"

    @property
    def node_network(self) -> str:
        return f"198.19.{self.number}.0/24"

    @property
    def services(self) -> str:
        return f"198.19.{128 + 8 * self.number}.0/21"

    @property
    def first_service(self) -> str:
        return f"198.19.{128 + 8 * self.number}.1"

    @property
    def host_end(self) -> str:
        return f"198.19.{64 + self.number}.1"

    @property
    def inner_end(self) -> str:
        return f"198.19.{64 + self.number}.2"

    @property
    def host_link(self) -> str:
        return f"roadstead{self.number}"

    @property
    def cgroup(self) -> str:
        return f"roadstead-{self.number}"

    @property
    def registry(self) -> str:
        return f"{self.node}:5000"

    @property
    def url(self) -> str:
        return f"https://{self.node}:6443"

    @property
    def state(self) -> Path:
        return STATE_ROOT / f"slot-{self.number}"

    @property
    def supervisor(self) -> Identity | None:
        """The process that holds the cluster, if it was started; it may be dead."""
        return Identity.load(self.state / "supervisor")

    @property
    def ready(self) -> bool:
        """Whether a cluster is up in this slot and was ready once."""
        supervisor = self.supervisor
        return supervisor is not None and supervisor.alive and (self.state / "ready").exists()

    def cgroup_folders(self) -> list[Path]:
        """This slot's folder in every hierarchy: one on a cgroup v2 machine, about ten on cgroup v1; they may not exist."""
        if (CGROUPS / "cgroup.controllers").exists():
            return [CGROUPS / self.cgroup]
        return [hierarchy / self.cgroup for hierarchy in sorted(CGROUPS.iterdir()) if hierarchy.is_dir() and not hierarchy.is_symlink()]


@contextmanager
def claim(slot: Slot, *, wait: bool = True) -> Iterator[int]:
    """Hold the slot's lock and yield its descriptor; without ``wait`` raises BlockingIOError when somebody else holds it."""
    STATE_ROOT.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(STATE_ROOT / f"slot-{slot.number}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not wait:
                raise
            say(f"Slot {slot.number} is in use by another command; waiting for it")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def claim_free() -> Iterator[tuple[Slot, int]]:
    """Claim the lowest free slot except the everyday one."""
    with contextlib.ExitStack() as stack:
        for number in range(EVERYDAY + 1, COUNT):
            slot = Slot(number)
            try:
                descriptor = stack.enter_context(claim(slot, wait=False))
            except BlockingIOError:
                continue
            supervisor = slot.supervisor
            if supervisor is not None and supervisor.alive:  # somebody's everyday cluster, started by ``up --slot``
                continue
            yield slot, descriptor
            return
        raise ClusterError(f"All {COUNT - 1} slots for test clusters are in use")


def cleanup(slot: Slot) -> None:
    """Take away everything of the slot; harmless when there is nothing. The caller holds the slot's lock."""
    supervisor = slot.supervisor
    if supervisor is not None:
        supervisor.end(grace_seconds=0)
    folders = [folder for folder in slot.cgroup_folders() if folder.is_dir()]
    _kill_members(folders)
    if Path("/sys/class/net", slot.host_link).exists():  # goes by itself with the namespace, but a moment later
        subprocess.run(["ip", "link", "delete", slot.host_link], check=False, capture_output=True)
    for folder in folders:
        _remove_cgroup(folder)
    shutil.rmtree(slot.state, ignore_errors=True)
    if slot.state.exists():
        raise ClusterError(f"{slot.state} can't be removed; is something mounted or running there?")
    if not any(STATE_ROOT.glob("slot-*/")):
        for folder in MASKED[1:]:
            with contextlib.suppress(OSError):
                folder.rmdir()  # only if empty: we may have made it as a mount point


def _kill_members(folders: list[Path]) -> None:
    """SIGKILL to whatever is left in these cgroups, until nothing is. Membership is inherited, so nothing of the cluster is missed."""
    deadline = time.monotonic() + 30
    while members := {int(pid) for folder in folders for file in folder.rglob("cgroup.procs") for pid in _lines(file)}:
        for pid in members:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            raise ClusterError(f"Processes {sorted(members)} in {folders[0].name} do not end, even on SIGKILL")
        time.sleep(POLL_SECONDS)


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text().split()
    except OSError:  # the group went away meanwhile
        return []


def _remove_cgroup(folder: Path) -> None:
    """Remove a cgroup and those below it; the kernel may call one busy for a moment after its last process has gone."""
    deadline = time.monotonic() + 10
    while folder.exists():
        for inner in sorted((path for path in folder.rglob("*") if path.is_dir()), key=lambda path: len(path.parts), reverse=True):
            with contextlib.suppress(OSError):
                inner.rmdir()
        try:
            folder.rmdir()
        except OSError as error:
            if time.monotonic() > deadline:
                raise ClusterError(f"Control group {folder} can't be removed: {error.strerror}") from error
            time.sleep(POLL_SECONDS)
