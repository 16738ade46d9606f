"""Options that the long-running commands share: how they log, and where they tell of themselves."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, TypeAlias

import typer


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


LogFormatOption: TypeAlias = Annotated[LogFormat, typer.Option(envvar="ROADSTEAD_LOG_FORMAT", help="For people, or for machines.")]
LogLevelOption: TypeAlias = Annotated[
    LogLevel, typer.Option(envvar="ROADSTEAD_LOG_LEVEL", case_sensitive=False, help="The least severe lines that are written.")
]
HealthPort: TypeAlias = Annotated[
    int, typer.Option(envvar="ROADSTEAD_HEALTH_PORT", min=0, max=65535, help="Port of /livez and /readyz; 0: none.")
]
MetricsPort: TypeAlias = Annotated[int, typer.Option(envvar="ROADSTEAD_METRICS_PORT", min=0, max=65535, help="Port of /metrics; 0: none.")]
