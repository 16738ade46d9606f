"""Points in time in a query: RFC 3339 and nothing else. Left to itself pydantic takes 978 for a quarter past midnight in 1970."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Final, TypeAlias

from pydantic import AfterValidator, AwareDatetime, BeforeValidator

RFC_3339: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", re.IGNORECASE)
FIRST_YEAR, LAST_YEAR = 1970, 9998
"""An offset may move a time by a day, and sums must not leave the calendar."""


def _in_form(value: Any) -> Any:
    if not isinstance(value, str) or not RFC_3339.fullmatch(value):
        raise ValueError("must be a date and time with an offset, such as 2026-09-30T15:26:54Z; + is written %2B in a URL")
    return value


def _in_utc(value: datetime) -> datetime:
    if not FIRST_YEAR <= value.year <= LAST_YEAR:
        raise ValueError(f"must lie in the years {FIRST_YEAR} to {LAST_YEAR}")
    return value.astimezone(UTC)


Moment: TypeAlias = Annotated[AwareDatetime, BeforeValidator(_in_form), AfterValidator(_in_utc)]
"""In UTC."""
