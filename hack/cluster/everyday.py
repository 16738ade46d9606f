"""The everyday cluster behind ``make up``, ``make env`` and ``make demo``: which kind of cluster it is, and how to reach it.

``CLUSTER`` chooses: ``local`` (our own full tier, or a simulation where containers can't run), ``kind``, ``current`` (the kubeconfig in
force, whose context must be named in ``CONTEXT``), ``auto`` (kind where a container engine and kind answer, else local).
"""

from __future__ import annotations

import enum
import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from hack.cluster import binaries, full, kind, preflight, simulated
from hack.cluster.console import ClusterError, say
from hack.cluster.slot import EVERYDAY, Slot

SLOT = Slot(EVERYDAY)


class Engine(enum.StrEnum):
    """What runs the cluster."""

    LOCAL = "local"
    KIND = "kind"
    CURRENT = "current"
    SIMULATED = "simulated"


@dataclass(frozen=True, slots=True)
class Everyday:
    """The everyday cluster, up."""

    engine: Engine
    kubeconfig: Path

    def kubectl(self, *args: str, input: str | None = None, check: bool = True) -> str:
        """Run kubectl as administrator and return its standard output; raises ClusterError unless ``check`` is off."""
        command = [str(kubectl_folder() / "kubectl"), "--kubeconfig", str(self.kubeconfig), *self._context(), *args]
        done = subprocess.run(command, input=input, capture_output=True, text=True, check=False)
        if check and done.returncode != 0:
            raise ClusterError(f"kubectl {' '.join(args)}: {done.stderr.strip()}")
        return done.stdout

    def _context(self) -> list[str]:
        return ["--context", os.environ["CONTEXT"]] if self.engine is Engine.CURRENT else []


def kubectl_folder() -> Path:
    """The folder of the kubectl to use: the one built here, else the one on PATH."""
    if binaries.KUBERNETES.built:
        return binaries.KUBERNETES.directory
    found = shutil.which("kubectl")
    if found is None:
        raise ClusterError("There is no kubectl; run: python -m hack.cluster build kubernetes")
    return Path(found).parent


def find() -> Everyday | None:
    """The everyday cluster that is up now, if any."""
    if os.environ.get("CLUSTER") == Engine.CURRENT:
        return _current()
    if SLOT.ready:
        return Everyday(Engine.LOCAL, full.FullCluster.of(SLOT).kubeconfig)
    if (found := simulated.running()) is not None:
        return Everyday(Engine.SIMULATED, found.kubeconfig)
    return Everyday(Engine.KIND, _kind_kubeconfig()) if kind.is_up() else None


def up(tier: str) -> Everyday:
    """Start it as ``CLUSTER`` and the tier (``full`` or ``control``) say; harmless when it is up."""
    match choose(os.environ.get("CLUSTER") or "auto"):
        case Engine.CURRENT:
            return _current()
        case Engine.KIND:
            kind.up(_kind_kubeconfig())
            return Everyday(Engine.KIND, _kind_kubeconfig())
        case _ if tier == "control":
            return _simulated()
    problems = preflight.missing()
    if not problems:
        preflight.install_packages()
        problems = preflight.missing()  # some things can only be tried with the packages in place
    if problems:
        say("This machine can't run containers:")
        for problem in problems:
            say(f"  - {problem}")
        return _simulated()
    return Everyday(Engine.LOCAL, full.up(SLOT).kubeconfig)


def down() -> None:
    """Stop whichever runs and take its traces away."""
    if os.geteuid() == 0:
        full.down(SLOT)
        full.sweep()
    simulated.down()
    kind.down()
    _kind_kubeconfig().unlink(missing_ok=True)


def choose(wish: str) -> Engine:
    """The engine for a value of ``CLUSTER``; raises ClusterError for an unknown one."""
    if wish == "auto":
        return Engine.KIND if kind.engine_answers() and shutil.which("kind") else Engine.LOCAL
    if wish not in {Engine.LOCAL, Engine.KIND, Engine.CURRENT}:
        raise ClusterError(f"CLUSTER={wish} is none of auto, local, kind, current")
    return Engine(wish)


def logs_folder() -> Path:
    """Where the components of the cluster that is up write their logs."""
    if SLOT.ready or (SLOT.state / "logs").exists():
        return SLOT.state / "logs"
    return simulated.folder() / "control" / "logs"


def _simulated() -> Everyday:
    say("==> SIMULATED: an API server is real, its nodes and pods are not: kwok only pretends that they run <==")
    return Everyday(Engine.SIMULATED, simulated.up().kubeconfig)


def _kind_kubeconfig() -> Path:
    return simulated.folder() / "kind.kubeconfig"


def _current() -> Everyday:
    """The cluster of the kubeconfig in force, if the caller named its context."""
    kubeconfig = Path(os.environ.get("KUBECONFIG") or Path.home() / ".kube" / "config")
    command = [str(kubectl_folder() / "kubectl"), "--kubeconfig", str(kubeconfig), "config", "view", "--output", "json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ClusterError(f"CLUSTER=current: {done.stderr.strip()}")
    contexts = sorted(context["name"] for context in json.loads(done.stdout).get("contexts") or [])
    named = os.environ.get("CONTEXT")
    if named not in contexts:
        raise ClusterError(
            f"CLUSTER=current needs CONTEXT=<one of {', '.join(contexts) or 'none'}>, so that no cluster is changed by accident"
        )
    return Everyday(Engine.CURRENT, kubeconfig)
