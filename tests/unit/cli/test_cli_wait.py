"""When waiting is over."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import typer

from roadstead.cli.durations import age, seconds, span
from roadstead.cli.wait import instead, verdict, wish
from roadstead.observed.conditions import timestamp
from tests.build import raw_workload


def body(state: str | None, seen: int = 1, **conditions: str) -> dict[str, Any]:
    listed = [{"type": name, "status": value} for name, value in conditions.items()]
    status: dict[str, Any] = {"observedGeneration": seen, "conditions": listed}
    return {**raw_workload(), "status": status if state is None else {**status, "state": state}}


@pytest.mark.parametrize(
    ("wanted", "seen", "expected"),
    [
        ("state=running", body("running"), True),
        ("state=running", body("running", seen=0), None),
        ("state=running", raw_workload(), None),
        ("state=running", body("initializing"), None),
        ("state=running", body("errored"), False),
        ("state=running", body("errored", seen=0), None),
        ("state=errored", body("errored"), True),
        ("state=stopped", body("errored"), None),
        ("state=stopped", body("stopped"), True),
        ("condition=Ready", body("running", Ready="True"), True),
        ("condition=Ready", body("errored", Ready="False"), False),
        ("condition=Ready", body(None, Ready="False"), None),
        ("condition=Ready=false", body("errored", Ready="False"), True),
        ("condition=UpToDate", body("errored"), None),
        ("delete", body("running"), None),
    ],
)
def test_verdict(wanted: str, seen: dict[str, Any], expected: bool | None) -> None:
    assert verdict(seen, wish(wanted)) is expected


@pytest.mark.parametrize(
    ("status", "text"),
    [
        ({}, "not looked at yet: does the operator run?"),
        ({"observedGeneration": -1}, "not looked at yet: does the operator run?"),
        ({"observedGeneration": 1, "state": "submitted", "message": "no room"}, "submitted: no room"),
        ({"observedGeneration": 1, "conditions": [{"type": "Ready", "message": "it is a draft"}]}, "it is a draft"),
    ],
)
def test_what_it_is_instead(status: dict[str, Any], text: str) -> None:
    assert instead({"status": status}) == text


@pytest.mark.parametrize(
    ("text", "said"), [("state=on", "submitted, initializing, running"), ("running", "state=running"), ("condition=", "condition=Ready")]
)
def test_a_wish_that_makes_no_sense(text: str, said: str) -> None:
    with pytest.raises(typer.BadParameter) as caught:
        wish(text)

    assert said in caught.value.message


@pytest.mark.parametrize(("text", "expected"), [("90", 90), ("90s", 90), ("5m", 300), ("1h30m", 5400), ("500ms", 0.5), ("0s", 0)])
def test_durations_are_read(text: str, expected: float) -> None:
    assert seconds(text) == expected


@pytest.mark.parametrize("text", ["", "5 minutes", "m5", "5d", "-5m"])
def test_no_durations(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="90s, 5m or 1h30m"):
        seconds(text)


@pytest.mark.parametrize(
    ("length", "text"),
    [
        (0, "0s"),
        (119, "119s"),
        (125, "2m5s"),
        (1500, "25m"),
        (4 * 3600 + 60, "4h1m"),
        (30 * 3600, "30h"),
        (3 * 86400, "3d"),
        (90 * 86400, "90d"),
    ],
)
def test_spans_as_kubectl_writes_them(length: float, text: str) -> None:
    assert span(length) == text


def test_age() -> None:
    now = datetime(2026, 11, 25, 12, tzinfo=UTC)

    assert age(timestamp(now - timedelta(minutes=3)), now) == "3m"
    assert age(timestamp(now + timedelta(seconds=5)), now) == "0s", "clocks differ"
    assert age(None, now) == ""
