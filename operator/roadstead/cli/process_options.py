"""Options that the long-running commands share, each spelt and explained once; and how such a command runs."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, TypeAlias, TypeVar

import typer

from roadstead.cli.failure import fail
from roadstead.settings import ProcessSettings

S = TypeVar("S", bound=ProcessSettings)


class LogFormat(StrEnum):
    """How log lines look."""

    TEXT = "text"
    JSON = "json"


class LogLevel(StrEnum):
    """The least severe lines that are written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


OwnNamespace: TypeAlias = Annotated[
    str, typer.Option(envvar="ROADSTEAD_NAMESPACE", help="Where Roadstead is installed: the operator's Lease and the gateway's replicas.")
]
Identity: TypeAlias = Annotated[
    str, typer.Option(envvar="ROADSTEAD_IDENTITY", help="Name of this replica, for example the pod's. Absent: host name and process id.")
]
LogFormatOption: TypeAlias = Annotated[LogFormat, typer.Option(envvar="ROADSTEAD_LOG_FORMAT", help="For people, or for machines.")]
LogLevelOption: TypeAlias = Annotated[
    LogLevel, typer.Option(envvar="ROADSTEAD_LOG_LEVEL", case_sensitive=False, help="The least severe lines that are written.")
]
HealthPort: TypeAlias = Annotated[
    int, typer.Option(envvar="ROADSTEAD_HEALTH_PORT", min=0, max=65535, help="Port of /livez and /readyz; 0: none.")
]
MetricsPort: TypeAlias = Annotated[int, typer.Option(envvar="ROADSTEAD_METRICS_PORT", min=0, max=65535, help="Port of /metrics; 0: none.")]
Audience: TypeAlias = Annotated[
    str, typer.Option(envvar="ROADSTEAD_AUDIENCE", help="Tokens for this audience may read and invoke, but not write.")
]
VerdictSeconds: TypeAlias = Annotated[
    float, typer.Option(envvar="ROADSTEAD_VERDICT_SECONDS", min=0, help="How long the API server's word on tokens and rights is kept.")
]
RefusalSeconds: TypeAlias = Annotated[
    float, typer.Option(envvar="ROADSTEAD_REFUSAL_SECONDS", min=0, help="How long its refusals are kept.")
]
Certificates: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        envvar="ROADSTEAD_CERTIFICATES",
        help="Folder of tls.crt, tls.key and ca.crt for what gateway, API and KEDA tell each other; absent: no peers, TLS or statistics.",
    ),
]
PeerService: TypeAlias = Annotated[
    str, typer.Option(envvar="ROADSTEAD_PEER_SERVICE", help="Headless Service whose endpoints are the gateway's replicas; empty: none.")
]
DrainSeconds: TypeAlias = Annotated[
    float, typer.Option(envvar="ROADSTEAD_DRAIN_SECONDS", min=0, help="How long requests are still taken after SIGTERM.")
]

LOG_FORMAT = LogFormat(ProcessSettings().log_format)
LOG_LEVEL = LogLevel(ProcessSettings().log_level.lower())


def run_process(run: Callable[[S], None], settings: S) -> None:
    """Run until it is told to stop; ends with exit code 1 and a sentence if no way to the cluster is known."""
    from roadstead.kube.config import ConfigError  # noqa: PLC0415 - only these commands need it

    try:
        run(settings)
    except ConfigError as error:
        fail(f"The cluster can't be reached: {error}")
