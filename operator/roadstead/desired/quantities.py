"""Numbers of the API as Kubernetes quantities."""

from __future__ import annotations

import re
from decimal import ROUND_CEILING, Decimal
from typing import Final

FACTORS: Final = {
    **{prefix + "i": Decimal(1024) ** power for power, prefix in enumerate("KMGTPE", 1)},
    **{prefix: Decimal(1000) ** power for power, prefix in enumerate("kMGTPE", 1)},
    **{prefix: Decimal(1000) ** -power for power, prefix in enumerate("mun", 1)},
}

QUANTITY: Final = re.compile(f"([+-]?(?:[0-9]+[.]?[0-9]*|[.][0-9]+)(?:[eE][+-]?[0-9]{{1,3}})?)({'|'.join(FACTORS)})?")


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
    found = QUANTITY.fullmatch(amount)
    if found is None:
        raise ValueError(f"{amount!r} is no quantity")
    number, suffix = found.groups()
    return int((Decimal(number) * FACTORS.get(suffix, Decimal(1))).to_integral_value(ROUND_CEILING))
