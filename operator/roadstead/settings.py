"""Settings of the processes: one frozen object, filled from flags and ``ROADSTEAD_*`` variables by the command line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of ``roadstead operator``."""

    kubeconfig: Path | None = None
    """File to reach the cluster by; None: the pod's service account, else the user's own kubeconfig."""
    context: str | None = None
    """Context of that file; None: its current one."""
    namespace: str = "roadstead-system"
    """Where the leader's Lease lives."""
    identity: str = ""
    """Name of this replica in the Lease; empty: host name and process id."""
    log_format: str = "text"
    """``text`` for people, ``json`` for machines."""
    log_level: str = "INFO"
    workers: int = 16
    """Reconciles under way at once. They wait for the API server most of the time."""
    health_port: int = 8081
    """``/livez`` and ``/readyz``; 0 switches the listener off."""
    metrics_port: int = 8080
    """``/metrics``; 0 switches the listener off."""
    lease_seconds: float = 15.0
    """A leader that has not renewed for so long is replaced."""
    renew_deadline_seconds: float = 10.0
    """A leader gives up when it could not renew for so long."""
    retry_seconds: float = 2.0
    """Pause between attempts to take or renew the Lease."""
    sweep_seconds: float = 600.0
    """Pause between sweeps for deletions that kopf's watches missed."""
    resync_seconds: float = 36_000.0
    """Pause between looks at every object, changed or not."""
