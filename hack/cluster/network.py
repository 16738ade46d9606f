"""The full tier's mounts and network, made from inside its new namespaces so that the kernel removes them with the last process.

The host keeps one veth end and three routes, which go with the veth. No forwarding and no masquerading on the host: a pod reaches
nothing outside this machine.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from hack.cluster.console import ClusterError
from hack.cluster.slot import MASKED, Slot

BRIDGE = "node0"
INNER_LINK = "host0"


def mask(slot: Slot) -> None:
    """Give this mount namespace its own ``/run`` and the like, and a resolver configuration that asks the cluster's DNS."""
    resolver = Path("/etc/resolv.conf").resolve()
    for folder in MASKED:
        folder.mkdir(parents=True, exist_ok=True)
        run("mount", "-t", "tmpfs", "-o", "mode=755", "roadstead", str(folder))
    resolver.parent.mkdir(parents=True, exist_ok=True)  # it may have been below /run
    resolver.touch()
    ours = slot.state / "resolv.conf"
    ours.write_text(f"nameserver {slot.node}\n")
    run("mount", "--bind", str(ours), str(resolver))


def connect(slot: Slot, host_namespace: int) -> None:
    """Make the node's bridge and the veth to the host, whose network namespace is open as that descriptor."""
    host = f"/proc/self/fd/{host_namespace}"
    inherited = (host_namespace,)

    def on_host(*arguments: str) -> None:
        run("nsenter", f"--net={host}", "ip", *arguments, pass_fds=inherited)

    run("ip", "link", "set", "lo", "up")
    run("ip", "link", "add", BRIDGE, "type", "bridge")
    run("ip", "address", "add", f"{slot.node}/24", "dev", BRIDGE)
    run("ip", "link", "set", BRIDGE, "up")
    run("ip", "link", "add", INNER_LINK, "type", "veth", "peer", "name", slot.host_link, "netns", host, pass_fds=inherited)
    run("ip", "address", "add", f"{slot.inner_end}/30", "dev", INNER_LINK)
    run("ip", "link", "set", INNER_LINK, "up")
    on_host("address", "add", f"{slot.host_end}/30", "dev", slot.host_link)
    on_host("link", "set", slot.host_link, "up")
    for network in (slot.pods, slot.node_network, slot.services):
        on_host("route", "replace", network, "via", slot.inner_end)
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1\n")  # of this namespace only


def run(*command: str, pass_fds: tuple[int, ...] = ()) -> None:
    """Run a command of the system; raises ClusterError with what it said."""
    done = subprocess.run(command, capture_output=True, text=True, pass_fds=pass_fds, check=False)
    if done.returncode != 0:
        raise ClusterError(f"{' '.join(command)}: {done.stderr.strip()}")
