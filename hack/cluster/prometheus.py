"""Prometheus, for tests of the statistics: the machine's own, or out of Debian's package, which is not installed.

It is the one tool whose version isn't pinned: what it is asked (PromQL of 2.33 and later) must not hang on it. Building it would take
minutes, and half a gigabyte of modules for clouds that it can look for targets in.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import yaml

from hack.cluster.binaries import cache_root
from hack.cluster.console import ClusterError, say
from hack.cluster.debian import unpack
from hack.cluster.processes import Command, Running, answers, start, wait_until

LOOPBACK = "127.0.0.1"
READY_SECONDS = 60
PROGRAMS = ("prometheus", "promtool")


def binary(name: str = "prometheus") -> Path:
    """One of the PROGRAMS: from PATH, from the cache, or from the package. Raises ClusterError when it can't be had."""
    if found := shutil.which(name):
        return Path(found)
    target = cache_root() / "tools" / "prometheus" / "debian"
    if not target.exists():
        say("Downloading Prometheus (19 MB)")
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as folder:
            try:
                unpack(["prometheus"], Path(folder))
            except ClusterError as error:
                raise ClusterError(f"Prometheus can't be had; install one: {error}") from error
            with suppress(OSError):  # somebody else was quicker
                os.rename(Path(folder) / "usr" / "bin", target)
    return target / name


def command(
    folder: Path,
    port: int,
    targets: Sequence[str],
    path: str = "/metrics",
    *,
    jobs: Sequence[str] = ("roadstead",),
    labels: Mapping[str, str] | None = None,
) -> Command:
    """One that looks at host:port targets each second, in the name of each job; ``labels`` are added to what it finds. What it has found is
    kept in the folder, for as often as it is started.
    """
    found = [{"targets": list(targets), "labels": dict(labels or {})}]
    scraped = [{"job_name": job, "metrics_path": path, "static_configs": found} for job in jobs]
    config = {"global": {"scrape_interval": "1s", "scrape_timeout": "1s"}, "scrape_configs": scraped}
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    flags = (
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={LOOPBACK}:{port}",
    )
    return Command("prometheus", (str(binary()), *flags))


def started(one: Command, folder: Path, port: int) -> Running:
    """The process, once it answers. Its log is in the folder."""
    running = start(one, folder)
    wait_until(lambda: answers(f"http://{LOOPBACK}:{port}/-/ready"), "Prometheus", READY_SECONDS, [running])
    return running
