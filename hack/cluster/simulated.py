"""The everyday control tier: kept alive by a holder process in the background, with fake GPU nodes on which kwok pretends to run pods.

For machines that can't run containers. Its state folder is the user's own; the holder leaves its record there before it starts anything
and its children die with it, so ``down`` finds and ends all of it, also after a kill -9 of ``up``.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hack.cluster import binaries
from hack.cluster.api import Cluster
from hack.cluster.console import ClusterError
from hack.cluster.control import control_cluster
from hack.cluster.node import GPU_LABELS, GPUS
from hack.cluster.processes import Command, Identity, Running, start, wait_until

REPOSITORY_ROOT = Path(__file__).parents[2]
FAKE_NODES = 2
COMPONENTS = ("operator", "api")
"""Of ours: their pods are only pretended, so they run as processes of this machine."""
TICK_SECONDS = 0.2
RESTART_SECONDS = 1.0


def folder() -> Path:
    """``${XDG_STATE_HOME:-~/.local/state}/roadstead``: the holder's record and log, and the cluster's state below ``control``."""
    base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(base) / "roadstead"


def running() -> Cluster | None:
    """The everyday control tier, if it is up and was ready."""
    state = folder() / "control"
    holder = Identity.load(folder() / "holder")
    if holder is None or not holder.alive or not (folder() / "ready").exists():
        return None
    url = (folder() / "ready").read_text().strip()
    return Cluster(state / "admin.kubeconfig", url, state / "pki" / "ca.crt", state, state / "audit.jsonl")


def up() -> Cluster:
    """Start it, or return the one that runs."""
    binaries.ensure((*binaries.CONTROL_TIER, binaries.KWOK))
    with _claim() as lock:
        if (found := running()) is not None:
            return found
        _cleanup()
        folder().mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "hack.cluster.simulated", str(lock)]
        with (folder() / "holder.log").open("wb") as output:
            holder = subprocess.Popen(
                command,
                cwd=REPOSITORY_ROOT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=(lock,),
                start_new_session=True,
            )
        wait_until(lambda: (folder() / "ready").exists() or holder.poll() is not None, "the control tier", 120)
        if holder.poll() is not None:
            raise ClusterError(f"The control tier did not start:\n{(folder() / 'holder.log').read_text()[-3000:]}")
        holder.returncode = 0  # its record stands for it from here on; keeps Popen from warning that it outlives the object
        cluster = running()
        assert cluster is not None  # noqa: S101
        return cluster


def down() -> None:
    """Stop it and remove its state; harmless when there is nothing."""
    if folder().exists():
        with _claim():
            _cleanup()


def _cleanup() -> None:
    holder = Identity.load(folder() / "holder")
    if holder is not None:
        holder.end(grace_seconds=20)
    for name in ("holder", "ready", "holder.log"):
        (folder() / name).unlink(missing_ok=True)
    shutil.rmtree(folder() / "control", ignore_errors=True)


@contextmanager
def _claim() -> Iterator[int]:
    folder().mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder() / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


def add_fake_nodes(cluster: Cluster, count: int) -> None:
    """Nodes with GPUs that exist only as objects."""
    capacity = {"cpu": "64", "memory": "512Gi", "pods": "250", "nvidia.com/gpu": str(GPUS)}
    for number in range(count):
        metadata = {"name": f"simulated-{number}", "annotations": {"kwok.x-k8s.io/node": "fake"}, "labels": GPU_LABELS}
        node = {"apiVersion": "v1", "kind": "Node", "metadata": metadata, "status": {"capacity": capacity, "allocatable": capacity}}
        cluster.kubectl("create", "-f", "-", input=json.dumps(node))


def run(component: str, arguments: list[str]) -> None:
    """Have the holder run a component as a process of this machine, in the place of an earlier one."""
    wish = folder() / "control" / f"{component}.json"
    _write(wish, json.dumps(arguments))
    wait_until(lambda: not wish.exists(), f"the holder to start the {component}", 30)


def service_account(namespace: str, name: str) -> Path:
    """A kubeconfig with the rights of a service account and no others, in the everyday control tier."""
    cluster = running()
    if cluster is None:
        raise ClusterError("The control tier is not up")
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}")
    return cluster.client_kubeconfig(f"system:serviceaccount:{namespace}:{name}", groups)


def hold(lock: int) -> None:
    """Be the holder: leave the record, release the lock, run the cluster until SIGTERM."""
    identity = Identity.of(os.getpid())
    assert identity is not None  # noqa: S101
    identity.save(folder() / "holder")
    os.close(lock)
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    state = folder() / "control"
    state.mkdir(exist_ok=True)
    with control_cluster(kwok=True, state=state) as cluster:
        add_fake_nodes(cluster, FAKE_NODES)
        _write(folder() / "ready", cluster.url + "\n")
        started: dict[str, Running] = {}
        while not ended.wait(TICK_SECONDS):
            for component in COMPONENTS:
                wish = state / f"{component}.json"
                if wish.exists():
                    arguments = tuple(json.loads(wish.read_text()))
                    wish.unlink()
                    if component in started:
                        started[component].stop()
                    started[component] = start(Command(component, arguments), state / "logs")
                elif component in started and not started[component].alive:
                    ended.wait(RESTART_SECONDS)
                    started[component] = start(started[component].command, state / "logs")


def _write(path: Path, text: str) -> None:
    scratch = path.with_name(path.name + ".tmp")
    scratch.write_text(text)
    scratch.rename(path)


if __name__ == "__main__":
    hold(int(sys.argv[1]))
