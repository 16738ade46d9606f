"""The full tier: a one-node Kubernetes with real pods, Services and DNS in namespaces of its own, ready in about eight seconds.

Tests use ``full_cluster()``, which takes a free slot and dies with its process. The everyday cluster of ``make up`` lives in slot 0 and
outlives its command. Both go the same way: claim the slot's lock, take away what an earlier life left, start the supervisor, wait.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hack.cluster import binaries, images, preflight, registry
from hack.cluster.api import Cluster
from hack.cluster.console import ClusterError, Progress
from hack.cluster.oci import Image
from hack.cluster.processes import POLL_SECONDS, wait_until
from hack.cluster.slot import COUNT, EVERYDAY, Slot, claim, claim_free, cleanup

READY_SECONDS = 180
EXPECTED_SECONDS = 10
REPOSITORY_ROOT = Path(__file__).parents[2]


@dataclass(slots=True)
class FullCluster(Cluster):
    """A cluster with real pods; ``registry`` is the host and port its images come from."""

    slot: Slot
    registry: str

    @classmethod
    def of(cls, slot: Slot) -> FullCluster:
        """The cluster in that slot, supposed to be up."""
        state = slot.state
        return cls(state / "admin.kubeconfig", slot.url, state / "pki" / "ca.crt", state, state / "audit.jsonl", slot, slot.registry)

    def push_image(self, image: Image | Path, repository: str) -> str:
        """Push an image (or the OCI layout folder of one) to the cluster's registry; returns its reference by digest."""
        return registry.push(image if isinstance(image, Image) else Image(image), self.registry, repository)

    def restart_apiserver(self) -> None:
        """Stop the API server and start it again; returns when it is ready."""
        self.stop_component("kube-apiserver")
        self.start_component("kube-apiserver")

    def stop_component(self, name: str) -> None:
        """Stop a component (``kubelet``, ``kube-apiserver``, ``coredns`` …) and leave it stopped."""
        self._tell(f"stop {name}")

    def start_component(self, name: str) -> None:
        """Start a stopped component again; for the API server, returns when it is ready."""
        self._tell(f"start {name}")
        if name == "kube-apiserver":
            wait_until(self.ready, "the API server", 60)

    def _tell(self, request: str) -> None:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(30)
            connection.connect(str(self.state / "control.sock"))
            connection.sendall(request.encode())
            answer = connection.recv(1000).decode()
        if answer != "ok":
            raise ClusterError(f"{request}: {answer}")


@contextmanager
def full_cluster(slot: Slot | None = None) -> Iterator[FullCluster]:
    """Run a full tier for the length of the ``with`` block, in the lowest free slot unless one is given.

    It dies with the thread that entered the block. Raises ClusterError when this machine can't run containers (see
    ``preflight.missing``) or when a component doesn't start.
    """
    with contextlib.ExitStack() as stack:
        if slot is None:
            slot, lock = stack.enter_context(claim_free())
        else:
            lock = stack.enter_context(claim(slot))
        stack.callback(cleanup, slot)
        yield start_cluster(slot, lock, dies_with_caller=True)


def up(slot: Slot) -> FullCluster:
    """Start the cluster of the slot and leave it running; harmless when it runs already."""
    with claim(slot) as lock:
        return FullCluster.of(slot) if slot.ready else start_cluster(slot, lock, dies_with_caller=False)


def down(slot: Slot) -> None:
    """Stop the cluster of the slot and take everything of it away; harmless when there is nothing."""
    with claim(slot):
        cleanup(slot)


def sweep() -> None:
    """Take away what killed test runs left in the other slots; clusters in use, and those whose supervisor lives, are left alone."""
    for slot in map(Slot, range(EVERYDAY + 1, COUNT)):
        if not slot.state.exists():
            continue
        with contextlib.suppress(BlockingIOError), claim(slot, wait=False):
            if slot.supervisor is None or not slot.supervisor.alive:
                cleanup(slot)


def start_cluster(slot: Slot, lock: int, *, dies_with_caller: bool) -> FullCluster:
    """Start a cluster in the claimed slot, whose lock is the open descriptor ``lock``; leftovers are taken away first and on failure."""
    problems = preflight.missing()
    if not problems:
        preflight.install_packages()
        problems = preflight.missing()  # some things can only be tried with the packages in place
    if problems:
        raise ClusterError("This machine can't run containers:\n" + "\n".join(f"  - {problem}" for problem in problems))
    binaries.ensure(binaries.FULL_TIER)
    pause = images.pause_image()
    cleanup(slot)
    (slot.state / "logs").mkdir(parents=True)
    shutil.copytree(pause.folder, slot.state / "pause")
    command = [sys.executable, "-m", "hack.cluster.supervisor", str(slot.number), str(lock)]
    if dies_with_caller:
        command = ["setpriv", "--pdeathsig", "KILL", *command]
    with (slot.state / "logs" / "supervisor.log").open("ab") as output:
        supervisor = subprocess.Popen(
            command,
            cwd=REPOSITORY_ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=(lock,),
            start_new_session=True,
        )
    try:
        _wait(slot, supervisor)
    except BaseException:
        cleanup(slot)
        supervisor.kill()  # only matters before it has left its record
        supervisor.wait()
        raise
    supervisor.returncode = 0  # from here on its record stands for it; keeps Popen from warning that it outlives the object
    return FullCluster.of(slot)


def _wait(slot: Slot, supervisor: subprocess.Popen[bytes]) -> None:
    progress = Progress(f"Starting a Kubernetes {binaries.KUBERNETES_VERSION} node in slot {slot.number}", EXPECTED_SECONDS)
    notes, told = slot.state / "progress", 0
    deadline = time.monotonic() + READY_SECONDS
    while not (slot.state / "ready").exists():
        lines = notes.read_text().splitlines() if notes.exists() else []
        for line in lines[told:]:
            progress.step(line, EXPECTED_SECONDS / 4)
        told = len(lines)
        if supervisor.poll() is not None:
            failure = slot.state / "failure"
            log = slot.state / "logs" / "supervisor.log"
            raise ClusterError(failure.read_text() if failure.exists() else f"The supervisor ended:\n{log.read_text()[-2000:]}")
        if time.monotonic() > deadline:
            raise ClusterError(f"The node was not ready after {READY_SECONDS} s; see {slot.state / 'logs'}")
        time.sleep(POLL_SECONDS)
    progress.done()
