"""HTTP probes as the kubelet takes them, with the defaults that hold when a field is absent (REST contract, ProbeConfig)."""

from __future__ import annotations

from roadstead.api.container import (
    DEFAULT_FAILURE_THRESHOLD,
    DEFAULT_PORT,
    DEFAULT_PROBE_SECONDS,
    Container,
    Probe,
)
from roadstead.desired.child import Body

MINIMUM_PROGRESS_SECONDS = 600
PULL_ALLOWANCE_SECONDS = 300


def probe(declared: Probe) -> Body:
    """A Kubernetes probe. The success threshold stays Kubernetes' own (1).

    A host becomes the Host header: Pod Security "restricted" refuses probes that connect to another host (since Kubernetes 1.34).
    """
    action: Body = {
        "path": declared.path,
        "port": DEFAULT_PORT if declared.port is None else declared.port,
        "scheme": "HTTP" if declared.scheme is None else str(declared.scheme),
    }
    headers = dict(declared.http_headers or {})
    if declared.host is not None and not any(name.lower() == "host" for name in headers):
        headers["Host"] = declared.host
    if headers:
        action["httpHeaders"] = [{"name": name, "value": value} for name, value in sorted(headers.items())]
    return {
        "httpGet": action,
        "initialDelaySeconds": _or(declared.initial_delay_seconds, DEFAULT_PROBE_SECONDS),
        "periodSeconds": _or(declared.period_seconds, DEFAULT_PROBE_SECONDS),
        "timeoutSeconds": _or(declared.timeout_seconds, DEFAULT_PROBE_SECONDS),
        "failureThreshold": _or(declared.failure_threshold, DEFAULT_FAILURE_THRESHOLD),
    }


def progress_deadline_seconds(containers: tuple[Container, ...]) -> int:
    """How long a new pod may take before the rollout counts as failed.

    The slowest container's start-up allowance (startup probe: delay + period x threshold), then its readiness probe, plus time to
    pull the image; never less than Kubernetes' default of 600.
    """
    slowest = max((_allowance(container.startup_probe) + _first_answer(container.readiness_probe) for container in containers), default=0)
    return max(MINIMUM_PROGRESS_SECONDS, slowest + PULL_ALLOWANCE_SECONDS)


def _allowance(declared: Probe | None) -> int:
    if declared is None:
        return 0
    timing = probe(declared)
    return int(timing["initialDelaySeconds"] + timing["periodSeconds"] * timing["failureThreshold"] + timing["timeoutSeconds"])


def _first_answer(declared: Probe | None) -> int:
    if declared is None:
        return 0
    timing = probe(declared)
    return int(timing["initialDelaySeconds"] + timing["periodSeconds"] + timing["timeoutSeconds"])


def _or(value: int | None, default: int) -> int:
    return default if value is None else value
