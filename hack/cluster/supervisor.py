"""The one process that holds a full cluster: pid 1 of its namespaces. When it ends, the kernel ends everything it started.

``python -m hack.cluster.supervisor <slot> <lock descriptor>`` first notes who it is (pid and start time), joins the slot's cgroup, and
only then lets go of the slot's lock and turns into ``unshare``. So from the first trace of a cluster on there is a record by which
``down`` or the next ``up`` finds it, wherever a kill -9 strikes; and whatever escapes the record is still in the cgroup.

Inside, it starts the components, restarts one that ends, buries orphans as a pid 1 has to, and takes ``stop <component>`` and
``start <component>`` on a socket in the state folder.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import time
import traceback
from pathlib import Path

from hack.cluster import network, registry
from hack.cluster.api import Cluster
from hack.cluster.components import ControlPlane
from hack.cluster.console import ClusterError
from hack.cluster.control import NAMES, etcd_healthy, has_default_account
from hack.cluster.node import GPUS, NODE_NAME, Node
from hack.cluster.oci import Image
from hack.cluster.processes import Command, Identity, Running, start, wait_until
from hack.cluster.slot import CGROUPS, Slot

INSIDE = "inside"
ETCD_PORTS = (2379, 2380)
TICK_SECONDS = 0.2
RESTART_SECONDS = 1.0
GPU_WATCH_SECONDS = 30.0
CPUSET_FILES = ("cpuset.cpus", "cpuset.mems")


def enter(slot: Slot, lock: int) -> None:
    """Leave a record, join the cgroup, release the lock, become ``unshare`` (same pid, same start time)."""
    identity = Identity.of(os.getpid())
    assert identity is not None  # noqa: S101
    identity.save(slot.state / "supervisor")
    _join_cgroup(slot)
    host_namespace = os.open("/proc/self/ns/net", os.O_RDONLY)
    os.set_inheritable(host_namespace, True)
    os.close(lock)
    inside = [sys.executable, "-m", "hack.cluster.supervisor", str(slot.number), str(host_namespace), INSIDE]
    os.execvp("unshare", ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", *inside])  # noqa: S606


def _join_cgroup(slot: Slot) -> None:
    """Make the slot's folders, which the kubelet wants to find, and move this process into a leaf of the first one that takes it."""
    folders = slot.cgroup_folders()
    for folder in folders:
        folder.mkdir(exist_ok=True)
        for name in CPUSET_FILES:  # cgroup v1: empty until copied from the parent, and nothing can join before
            if (folder / name).exists() and not (CGROUPS / "cgroup.controllers").exists():
                (folder / name).write_text((folder.parent / name).read_text())
    preferred = sorted(folders, key=lambda folder: folder.parent.name not in {"pids", "freezer"})
    leaf = preferred[0] / "system"
    leaf.mkdir(exist_ok=True)
    (leaf / "cgroup.procs").write_text(f"{os.getpid()}\n")


class Supervisor:
    """Starts the components of one slot and keeps them running."""

    def __init__(self, slot: Slot) -> None:
        self.slot = slot
        self.logs = slot.state / "logs"
        self.components: dict[str, Running] = {}
        self.stopped: set[str] = set()
        self.restart_at: dict[str, float] = {}
        self.watch_gpus_until = 0.0
        self.next_gpu_look = 0.0

    def launch(self, command: Command) -> Running:
        self.components[command.name] = start(command, self.logs)
        if command.name == "kubelet":
            self.watch_gpus_until = time.monotonic() + GPU_WATCH_SECONDS
        return self.components[command.name]

    def note(self, text: str) -> None:
        """Tell ``up``, which reads the file, what is going on."""
        with (self.slot.state / "progress").open("a") as file:
            file.write(text + "\n")

    def start_all(self, host_namespace: int) -> Cluster:
        """Bring the cluster up to a Ready node with GPUs; raises ClusterError with the guilty log's end."""
        slot, state = self.slot, self.slot.state
        began = time.monotonic()
        self.note("namespaces, mounts and network")
        network.mask(slot)
        network.connect(slot, host_namespace)
        os.close(host_namespace)
        addresses = ("127.0.0.1", slot.node, slot.first_service)
        plane = ControlPlane.create(state, url=slot.url, etcd_ports=ETCD_PORTS, names=NAMES, addresses=addresses)
        node = Node(slot, plane.authority)
        cluster = Cluster(plane.admin, slot.url, plane.authority.certificate, state, plane.audit_log)

        self.note("etcd, registry and API server")
        etcd = self.launch(plane.etcd())
        images = self.launch(node.registry())
        wait_until(lambda: etcd_healthy(ETCD_PORTS[0]), "etcd", 30, [etcd])
        flags = plane.apiserver(port=6443, bind="0.0.0.0", advertise=slot.node, services=slot.services, audit=True)  # noqa: S104
        api = self.launch(flags)
        wait_until(lambda: registry.answers(slot.registry), "the registry", 30, [images])
        pause = registry.push(Image(state / "pause"), slot.registry, "pause")
        runtime = self.launch(node.containerd(pause))
        wait_until(cluster.ready, "the API server", 60, [etcd, api, runtime])

        self.note("controller manager, scheduler, kubelet, kube-proxy and DNS")
        wait_until(Path("/run/containerd/containerd.sock").exists, "containerd", 30, [runtime])
        for command in (plane.controller_manager(), plane.scheduler(), node.kubelet(), node.proxy(), node.coredns()):
            self.launch(command)
        watched = list(self.components.values())
        wait_until(lambda: NODE_NAME in cluster.kubectl("get", "nodes", "-o", "name", check=False), "the node to register", 60, watched)
        self.note("GPUs of the node, and the node to become Ready")
        wait_until(lambda: self._offer_gpus(cluster), "the node to be Ready with GPUs", 60, watched)
        wait_until(lambda: has_default_account(cluster), "the default service account", 30, watched)
        self.note("ready")
        (state / "ready").write_text(f"{time.monotonic() - began:.1f}\n")
        return cluster

    def _offer_gpus(self, cluster: Cluster) -> bool:
        """Patch the GPUs into the node's capacity, from where the kubelet takes them; True when it has and is Ready."""
        status = json.loads(cluster.kubectl("get", "node", NODE_NAME, "-o", "json"))["status"]
        if status["capacity"].get("nvidia.com/gpu") != str(GPUS):
            patch = [{"op": "add", "path": "/status/capacity/nvidia.com~1gpu", "value": str(GPUS)}]
            cluster.kubectl("patch", "node", NODE_NAME, "--subresource=status", "--type=json", "-p", json.dumps(patch))
            return False
        ready = any(condition["type"] == "Ready" and condition["status"] == "True" for condition in status["conditions"])
        return ready and status["allocatable"].get("nvidia.com/gpu") == str(GPUS)

    def keep(self, control: socket.socket, cluster: Cluster) -> None:
        """Serve the control socket, restart what ended and bury orphans, for ever."""
        while True:
            with contextlib.suppress(TimeoutError):
                connection, _ = control.accept()
                with connection:
                    connection.settimeout(5)
                    connection.sendall(self.obey(connection.recv(200).decode()).encode())
            self.bury()
            now = time.monotonic()
            if self.next_gpu_look < now < self.watch_gpus_until:  # a starting kubelet takes back what no device plugin vouches for
                self.next_gpu_look = now + 1
                with contextlib.suppress(ClusterError):
                    self._offer_gpus(cluster)
            for name, running in list(self.components.items()):
                if running.alive or name in self.stopped:
                    continue
                if now >= self.restart_at.setdefault(name, now + RESTART_SECONDS):
                    del self.restart_at[name]
                    self.note(f"{name} ended with {running.process.returncode}; starting it again")
                    self.launch(running.command)

    def obey(self, request: str) -> str:
        verb, _, name = request.strip().partition(" ")
        if name not in self.components:
            return f"no component {name!r}; there are {', '.join(self.components)}"
        if verb == "stop":
            self.stopped.add(name)
            self.components[name].stop(grace_seconds=2)
        elif verb == "start":
            self.stopped.discard(name)
            if not self.components[name].alive:
                self.launch(self.components[name].command)
        else:
            return f"no command {verb!r}"
        return "ok"

    def bury(self) -> None:
        """Reap orphans, but leave our own components' exit codes to ``Popen``."""
        own = {running.process.pid for running in self.components.values()}
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is not None:
                if ended.si_pid in own:
                    for running in self.components.values():
                        running.process.poll()
                else:
                    os.waitpid(ended.si_pid, 0)


def main() -> None:
    slot, descriptor = Slot(int(sys.argv[1])), int(sys.argv[2])
    if sys.argv[3:] != [INSIDE]:
        enter(slot, descriptor)
    try:
        supervisor = Supervisor(slot)
        with socket.socket(socket.AF_UNIX) as control:
            control.bind(str(slot.state / "control.sock"))
            control.listen()
            control.settimeout(TICK_SECONDS)
            supervisor.keep(control, supervisor.start_all(descriptor))
    except Exception as error:  # whatever it is: this is the last place that can say so
        (slot.state / "failure").write_text(f"{error}\n")
        traceback.print_exc()
        sys.exit(1)


if __name__ == "__main__":
    main()
