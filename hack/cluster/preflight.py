"""Whether this machine can run the full tier, found out by trying, and the Debian packages it needs."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from hack.cluster.console import ClusterError, say
from hack.cluster.slot import CGROUPS

PACKAGES = {
    "containerd": "containerd",
    "runc": "runc",
    "docker-registry": "docker-registry",
    "ip": "iproute2",
    "iptables": "iptables",
    "nft": "nftables",
    "conntrack": "conntrack",
    "/usr/lib/cni/bridge": "containernetworking-plugins",
}
"""Program -> the Debian package that has it."""
BASICS = ("unshare", "nsenter", "setpriv", "mount")
CONTROLLERS_V1 = ("cpu", "cpuset", "memory", "pids", "devices", "freezer")
CONTROLLERS_V2 = ("cpu", "cpuset", "memory", "pids")


def missing() -> list[str]:
    """What keeps this machine from running containers, one sentence each; empty when nothing does."""
    if os.geteuid() != 0:
        return ["Containers need root, and this is user " + str(os.geteuid())]
    problems = [f"{program} (package util-linux) is not installed" for program in BASICS if shutil.which(program) is None]
    if problems:
        return problems
    problems += _without_controllers()
    if not _works("unshare", "--mount", "--net", "--pid", "--fork", "--mount-proc", "true"):
        problems.append("The kernel or the sandbox refuses new mount, network and pid namespaces (unshare --mount --net --pid)")
    elif not _overlay_works():
        problems.append("overlayfs can't be mounted, and containerd's images need it")
    absent = absent_packages()
    if absent and shutil.which("apt-get") is None:
        problems.append(f"{', '.join(absent)} not installed, and there is no apt-get to install them with")
    elif not absent and not _works("unshare", "--net", "ip", "link", "add", "probe", "type", "veth", "peer", "name", "probe1"):
        problems.append("The kernel has no veth links")
    elif not absent and not _works("unshare", "--net", "nft", "add", "table", "ip", "probe"):
        problems.append("The kernel has no nftables, which kube-proxy uses")
    return problems


def absent_packages() -> list[str]:
    """The Debian packages whose programs are not there."""
    return [package for program, package in PACKAGES.items() if shutil.which(program) is None]


def install_packages() -> None:
    """Install what is absent with apt-get; raises ClusterError with the command to run when that can't be done here."""
    absent = absent_packages()
    if not absent:
        return
    command = ["apt-get", "install", "--yes", "--quiet", "--no-install-recommends", *absent]
    if os.geteuid() != 0:
        raise ClusterError(f"Packages are missing and only root can install them; run: sudo {' '.join(command)}")
    say(f"Installing Debian packages: {', '.join(absent)}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for step in (["apt-get", "update", "--quiet"], command):
        done = subprocess.run(step, env=environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise ClusterError(f"{' '.join(step[:2])} failed:\n{done.stderr.strip() or done.stdout.strip()[-2000:]}")


def _without_controllers() -> list[str]:
    unified = CGROUPS / "cgroup.controllers"
    if unified.exists():
        absent = set(CONTROLLERS_V2) - set(unified.read_text().split())
        probe = CGROUPS / "roadstead-probe"
    else:
        absent = {name for name in CONTROLLERS_V1 if not (CGROUPS / name / "cgroup.procs").exists()}
        probe = CGROUPS / "memory" / "roadstead-probe"
    if absent:
        return [f"Control groups without {', '.join(sorted(absent))} under {CGROUPS}"]
    try:
        probe.mkdir(exist_ok=True)
        probe.rmdir()
    except OSError as error:
        return [f"Control groups under {CGROUPS} can't be made: {error.strerror}"]
    return []


def _overlay_works() -> bool:
    with tempfile.TemporaryDirectory(dir="/var/lib") as folder:
        for name in ("lower", "upper", "work", "merged"):
            Path(folder, name).mkdir()
        options = f"lowerdir={folder}/lower,upperdir={folder}/upper,workdir={folder}/work"
        return _works("unshare", "--mount", "mount", "-t", "overlay", "overlay", "-o", options, f"{folder}/merged")


def _works(*command: str) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0
