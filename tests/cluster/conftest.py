"""Tests of the cluster scripts themselves: they start real clusters, or are skipped with the reason why this machine can't."""

from __future__ import annotations

import pytest

from hack.cluster import preflight


@pytest.fixture(scope="session")
def container_machine() -> None:
    """Skip where containers can't run, saying what is missing."""
    if problems := preflight.missing():
        pytest.skip("This machine can't run containers: " + "; ".join(problems))
