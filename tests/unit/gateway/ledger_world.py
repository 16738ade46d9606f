"""Ledgers of several processes on one clock, who tell each other what they know."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import orjson

from roadstead.gateway.ledger.ledger import Ledger

W, D = "w-" + "0" * 24, "d-" + "1" * 24
BEGAN = 1_800_000_000.0
HOUR = 3600.0


@dataclass
class Clock:
    now: float = BEGAN

    def __call__(self) -> float:
        return self.now


@dataclass
class Replicas:
    """Ledgers of some processes on one clock; each has an Envoy of its own name."""

    clock: Clock = field(default_factory=Clock)

    def __call__(self, name: str, **more: Any) -> Ledger:
        return Ledger(name, clock=self.clock, **more)


def tell(source: Ledger, *others: Ledger) -> None:
    """All that one knows, to others."""
    for part in list(source.parts()):
        for other in others:
            other.merge(part)


def known(ledger: Ledger) -> Any:
    """All that a ledger knows, in an order that doesn't depend on how it came to know it."""
    found: dict[str, Any] = {"counts": {}}
    for part in ledger.parts():
        said = orjson.loads(part)
        for origin, endpoints in said.pop("counts", {}).items():
            for key, buckets in endpoints.items():
                found["counts"][origin, key] = [sorted(each) for each in buckets]
        found |= {name: value for name, value in said.items() if name not in ("process", "at")}
    found["wanted"] = {process: each for process, each in found["wanted"].items() if each["values"]}  # each begins with a word of its own
    return found
