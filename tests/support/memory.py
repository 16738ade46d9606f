"""What the kernel says of a process's memory, in MiB."""

from __future__ import annotations

from pathlib import Path

FLAT_MIB = 64
"""How much more memory Envoy may take for bodies of any size: some buffers of 1 MiB for each connection."""


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
