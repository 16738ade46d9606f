"""The same cluster by kind, where a container engine answers. It can't be tried on a machine without one."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from hack.cluster.console import ClusterError, say

NAME = "roadstead"
HERE = Path(__file__).parent
REPOSITORY_ROOT = HERE.parents[1]
OPERATOR, WHOAMI = "roadstead-operator:demo", "roadstead-whoami:demo"


def engine_answers() -> bool:
    """Whether ``docker info`` succeeds."""
    return shutil.which("docker") is not None and subprocess.run(["docker", "info"], capture_output=True, check=False).returncode == 0


def is_up() -> bool:
    """Whether our kind cluster exists."""
    if shutil.which("kind") is None or not engine_answers():
        return False
    return NAME in _run("kind", "get", "clusters").split()


def up(kubeconfig: Path) -> None:
    """Create the cluster unless it exists, write its kubeconfig, and give its node GPUs."""
    if shutil.which("kind") is None:
        raise ClusterError("A container engine answers but kind is not installed (https://kind.sigs.k8s.io); or choose CLUSTER=local")
    if not is_up():
        say("Creating a kind cluster (a minute or two, most of it the node image)")
        _run("kind", "create", "cluster", "--config", str(HERE / "kind.yaml"), "--wait", "120s")
    kubeconfig.parent.mkdir(parents=True, exist_ok=True)
    kubeconfig.touch(mode=0o600)
    kubeconfig.write_text(_run("kind", "get", "kubeconfig", "--name", NAME))
    patch = '[{"op": "add", "path": "/status/capacity/nvidia.com~1gpu", "value": "8"}]'
    node = f"{NAME}-control-plane"
    _run("kubectl", "--kubeconfig", str(kubeconfig), "patch", "node", node, "--subresource=status", "--type=json", "-p", patch)


def down() -> None:
    """Delete the cluster if it exists."""
    if is_up():
        _run("kind", "delete", "cluster", "--name", NAME)


def load_images() -> tuple[str, str]:
    """Build the operator's and the example's image with the Dockerfiles and load them into the node; returns their names."""
    _run("docker", "build", "--tag", OPERATOR, str(REPOSITORY_ROOT))
    build = ("--build-arg", f"BASE={OPERATOR}", "--file", str(HERE / "whoami.Dockerfile"), str(REPOSITORY_ROOT))
    _run("docker", "build", "--tag", WHOAMI, *build)
    _run("kind", "load", "docker-image", "--name", NAME, OPERATOR, WHOAMI)
    return OPERATOR, WHOAMI


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ClusterError(f"{' '.join(command[:3])} failed:\n{done.stderr.strip()[-3000:]}")
    return done.stdout
