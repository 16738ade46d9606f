"""Log output: Kubernetes style text, or one JSON object a line. Whatever is logged while an object is reconciled names it."""

from __future__ import annotations

import logging
import sys
from contextvars import ContextVar
from datetime import UTC, datetime

import orjson

from roadstead.kube.workers import LOOKED_AT

log = logging.getLogger(__name__)
REQUEST: ContextVar[str] = ContextVar("request", default="")
"""Id of the request that is being answered."""


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, and the traceback where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if looked_at := LOOKED_AT.get():
            entry["object"] = looked_at
        if request := REQUEST.get():
            entry["request"] = request
        if audit := getattr(record, "audit", None):
            entry["audit"] = audit
        if record.exc_info:
            entry["error"] = self.formatException(record.exc_info)
        return orjson.dumps(entry).decode()


class TextFormatter(logging.Formatter):
    """A line for people; the object stands at its end."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - its name in the standard library
        text = super().formatMessage(record)
        looked_at = LOOKED_AT.get()
        if audit := getattr(record, "audit", None):
            text += "".join(f" {name}={orjson.dumps(value).decode()}" for name, value in audit.items())
        if looked_at:
            text += f" object={looked_at}"
        if request := REQUEST.get():
            text += f" request={request}"
        return text


def configure(log_format: str, log_level: str) -> None:
    """Set up the root logger. kopf reports every event at INFO; only its warnings are kept."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    handler.addFilter(_without_kopfs_traceback)
    logging.basicConfig(level=log_level, handlers=[handler], force=True)
    logging.getLogger("kopf").setLevel(logging.WARNING)


def _without_kopfs_traceback(record: logging.LogRecord) -> bool:
    """A watch that ends in half a line ends all of kopf's, each with a traceback through nothing but kopf. The message says it all."""
    if record.name.startswith("kopf.") and not logging.getLogger().isEnabledFor(logging.DEBUG):
        record.exc_info = None
    return True


def set_level(level: str) -> None:
    """Log from this level on, from now on."""
    root = logging.getLogger()
    number = logging.getLevelNamesMapping()[level]
    if number == root.level:
        return
    root.setLevel(min(number, root.level))  # so that this line is seen whichever way it goes
    log.warning("Logs from level %s on", level)
    root.setLevel(number)
