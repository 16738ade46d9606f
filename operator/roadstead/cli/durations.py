"""Spans of time as people write and read them: ``5m`` on the command line, ``2d3h`` in a column."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Final

import typer

UNITS: Final = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
PART: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|h|m|s)")


def seconds(text: str) -> float:
    """Seconds of ``90``, ``90s``, ``5m`` or ``1h30m``. Raises BadParameter."""
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    if not re.fullmatch(f"(?:{PART.pattern})+", text):
        raise typer.BadParameter(f"{text!r} is no duration; write for example 90s, 5m or 1h30m")
    return sum(float(number) * UNITS[unit] for number, unit in PART.findall(text))


def age(since: str | None, now: datetime) -> str:
    """How long ago an RFC 3339 time was, in at most two units: 45s, 5m30s, 3h, 2d4h. Empty for no time."""
    if not since:
        return ""
    return span((now - datetime.fromisoformat(since)).total_seconds())


def span(length_seconds: float) -> str:
    """A length of time, the finer unit only where it still says something (as kubectl writes ages)."""
    whole = max(0, int(length_seconds))
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if whole < 120:
        return f"{whole}s"
    if minutes < 10:
        return _two(minutes, "m", whole % 60, "s")
    if hours < 3:
        return f"{minutes}m"
    if hours < 8:
        return _two(hours, "h", minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    return _two(days, "d", hours % 24, "h") if days < 8 else f"{days}d"


def _two(large: int, large_unit: str, small: int, small_unit: str) -> str:
    return f"{large}{large_unit}{small}{small_unit}" if small else f"{large}{large_unit}"
