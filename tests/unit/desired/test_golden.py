"""Every case comes to exactly the committed children."""

from __future__ import annotations

import os

import pytest

from tests.golden.golden import Case, cases, rendered


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
def test_children_are_as_committed(case: Case) -> None:
    text = rendered(case)
    if os.environ.get("ROADSTEAD_UPDATE_GOLDEN") == "1":
        case.expected.write_text(text)
    assert case.expected.read_text() == text
