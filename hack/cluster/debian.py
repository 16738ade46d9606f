"""Debian's packages, unpacked without being installed."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path

from hack.cluster.console import ClusterError


def unpack(packages: Iterable[str], tree: Path) -> None:
    """Download packages and unpack them into the tree; their installation scripts don't run. Raises ClusterError if they can't be had."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            done = subprocess.run(["apt-get", "download", *packages], cwd=folder, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            raise ClusterError("there is no apt-get on this machine") from None
        if done.returncode != 0:
            raise ClusterError(f"apt-get download failed (apt-get update may help):\n{done.stderr.strip()}")
        for package in sorted(Path(folder).glob("*.deb")):
            subprocess.run(["dpkg-deb", "-x", str(package), str(tree)], check=True)
