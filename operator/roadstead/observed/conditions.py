"""Conditions: composing them, and keeping the time of the last change of a verdict."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any


class Verdict(StrEnum):
    """A condition's status."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition as decided now; the time of its last change comes from what was said before."""

    type: str
    status: Verdict
    reason: str
    message: str = ""


def not_ready(reason: str, message: str) -> list[Condition]:
    """Ready=False that waiting won't change; without Stalled beside it kstatus would take it for work in progress."""
    return [Condition(kind, verdict, reason, message) for kind, verdict in (("Ready", Verdict.FALSE), ("Stalled", Verdict.TRUE))]


def timestamp(now: datetime) -> str:
    """RFC 3339 in whole seconds, as metav1.Time."""
    return now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def render(conditions: Iterable[Condition], before: Iterable[Mapping[str, Any]], generation: int, now: datetime) -> list[dict[str, Any]]:
    """The conditions as JSON, sorted by type. ``lastTransitionTime`` moves only when a verdict flips."""
    known = {entry["type"]: entry for entry in before}
    rendered = []
    for condition in sorted(conditions, key=lambda condition: condition.type):
        old = known.get(condition.type)
        same = old is not None and old["status"] == condition.status
        rendered.append(
            {
                "type": condition.type,
                "status": str(condition.status),
                "reason": condition.reason,
                "message": condition.message,
                "observedGeneration": generation,
                "lastTransitionTime": old["lastTransitionTime"] if same and old else timestamp(now),
            }
        )
    return rendered
