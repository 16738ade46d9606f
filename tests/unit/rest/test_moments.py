"""Points in time of a query."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from roadstead.rest.v241.moments import Moment

MOMENT: TypeAdapter[Moment] = TypeAdapter(Moment)


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2026-09-30T15:26:54Z", "2026-09-30T15:26:54+00:00"),
        ("2026-09-30t15:26:54.349z", "2026-09-30T15:26:54.349000+00:00"),
        ("1970-01-01T00:00:00+14:00", "1969-12-31T10:00:00+00:00"),
        ("9998-12-31T23:59:59-12:00", "9999-01-01T11:59:59+00:00"),
    ],
)
def test_rfc_3339(text: str, utc: str) -> None:
    assert MOMENT.validate_python(text).isoformat() == utc


@pytest.mark.parametrize(
    "text", ["978", "2026-09-30", "2026-09-30T15:26:54", "2026-09-30 15:26:54Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00"]
)
def test_nothing_else(text: str) -> None:
    with pytest.raises(ValidationError, match="must"):
        MOMENT.validate_python(text)
