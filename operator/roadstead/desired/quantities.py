"""Numbers of the API as Kubernetes quantities."""

from __future__ import annotations

from decimal import Decimal


def cpu(cores: float) -> str:
    """Cores as a quantity in whole millicores, at least 1m: 0.5 -> 500m, 2.0 -> 2."""
    millicores = max(1, round(cores * 1000))
    return str(millicores // 1000) if millicores % 1000 == 0 else f"{millicores}m"


def memory(amount: int | str) -> str:
    """Bytes, or a quantity as the user wrote it, as a quantity."""
    return str(amount)


def plain(number: float) -> str:
    """A number without exponent or trailing zeros: 10.0 -> 10, 0.5 -> 0.5."""
    return f"{Decimal(repr(number)).normalize():f}"
