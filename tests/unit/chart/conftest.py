"""Renderings of the chart that most tests look at; nobody changes them."""

from __future__ import annotations

import pytest

from tests.unit.chart.rendering import FULL, Body, objects


@pytest.fixture(scope="session")
def defaults() -> list[Body]:
    """The objects of a default installation, hooks included."""
    return objects()


@pytest.fixture(scope="session")
def full() -> list[Body]:
    """The objects with every value set."""
    return objects(*FULL)
