"""What the kernel says of a process's memory, in MiB."""

from __future__ import annotations

from pathlib import Path


def resident_mib(pid: int) -> float:
    """What is resident at present."""
    return _mib(pid, "VmRSS:")


def peak_mib(pid: int) -> float:
    """The most that was ever resident."""
    return _mib(pid, "VmHWM:")


def _mib(pid: int, which: str) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(which):
            return int(line.split()[1]) / 1024
    raise AssertionError(f"process {pid} has no memory")
