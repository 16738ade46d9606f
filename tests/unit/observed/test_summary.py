"""What a message becomes in a column of kubectl."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadstead.observed.summary import SUMMARY_LIMIT, summary
from tests.unit.observed.test_tools_agree import CASES, NOW, observe

POD = "Pod chat-7b8f6c7f5d-x2k4q, container main: "
PULL = 'image not found; correct imageUri (failed to pull and unpack image "registry.test/chat:1": not found (404))'


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("2 of 2 replicas ready", "2 of 2 replicas ready"),
        ("Pod a, container b: running", "Pod a, container b: running"),
        (POD + PULL, "Image not found; correct imageUri"),
        (
            POD + "exited with code 3, restarted 4 times: ValueError: no such model",
            "Exited with code 3, restarted 4 times: ValueError: no such…",
        ),
        (f"1 of 3 replicas ready; {POD}exited with code 3", "1 of 3 replicas ready; exited with code 3"),
        (
            "Pod chat-7b8f6c7f5d-x2k4q has no node: 0/3 nodes are available: 3 Insufficient nvidia.com/gpu.",
            "Pod has no node: 0/3 nodes are available: 3 Insufficient…",
        ),
        (
            'Artifact "model" does not exist in namespace team; create it or correct it',
            'Artifact "model" does not exist in namespace team; create…',
        ),
        ("x" * 100, "X" + "x" * (SUMMARY_LIMIT - 2) + "…"),
    ],
)
def test_a_line(message: str, expected: str) -> None:
    assert summary(message) == expected


@given(st.text())
def test_it_fits(message: str) -> None:
    line = summary(message)
    assert len(line) <= SUMMARY_LIMIT
    assert bool(line.strip()) or len(message.strip()) == 0 or "(" in message


@pytest.mark.parametrize("name", CASES)
def test_every_cause_says_something(name: str) -> None:
    status = observe(CASES[name][0], {}, NOW).status
    assert 0 < len(status["summary"]) <= SUMMARY_LIMIT
