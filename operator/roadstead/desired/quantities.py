"""Numbers of the API as Kubernetes quantities."""

from __future__ import annotations

from decimal import ROUND_CEILING, Decimal
from typing import Final

FACTORS: Final = {
    **{prefix + "i": Decimal(1024) ** power for power, prefix in enumerate("KMGTPE", 1)},
    **{prefix: Decimal(1000) ** power for power, prefix in enumerate("kMGTPE", 1)},
    **{prefix: Decimal(1000) ** -power for power, prefix in enumerate("mun", 1)},
}


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


def in_bytes(amount: int | str) -> int:
    """Bytes, or a Kubernetes quantity (512Mi, 1.5G, 1e9, 100m), in whole bytes, rounded up. Raises ValueError if it is neither."""
    if isinstance(amount, int):
        return amount
    suffix = next((amount[-length:] for length in (2, 1) if amount[-length:] in FACTORS), "")
    try:
        number = Decimal(amount[: len(amount) - len(suffix)]) * FACTORS.get(suffix, Decimal(1))
        return int(number.to_integral_value(ROUND_CEILING))
    except (ArithmeticError, ValueError) as error:
        raise ValueError(f"{amount!r} is no quantity") from error
