"""From what the gateway knows to the contract's words."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from roadstead.counts import Figures, Question
from roadstead.rest.records import EndpointRecord, endpoint_record
from roadstead.rest.v241.models import Stats
from roadstead.rest.v241.stats import metrics, question, stats

START, END = datetime(2026, 11, 25, 10, tzinfo=UTC), datetime(2026, 11, 25, 11, tzinfo=UTC)
AT = START.timestamp()
ALL = Figures(
    start=AT,
    end=AT + 1800,
    requests=60,
    server_errors=3,
    user_errors=6,
    response_milliseconds=12.5,
    slow_requests=2,
    in_flight=4,
    last_request_at=AT + 1799.5,
)


def record() -> EndpointRecord:
    metadata = {
        "name": "front",
        "namespace": "team",
        "uid": "u",
        "resourceVersion": "1",
        "creationTimestamp": "2026-11-25T10:30:00Z",
    }
    return endpoint_record({"metadata": metadata, "spec": {"workloadRef": {"name": "chat"}}})


def test_everything_that_is_known() -> None:
    assert metrics(ALL) == {
        "totalRequests": 60,
        "requestsPerMinute": 2.0,
        "concurrentRequests": 4,
        "responseTime": 12.5,
        "slowRequests": 2,
        "serverErrors": 3,
        "serverErrorRate": 0.05,
        "userErrors": 6,
        "userErrorRate": 0.1,
        "totalErrorRate": 0.15,
        "lastRequestAt": "2026-11-25T10:29:59.500000+00:00",
    }


def test_the_period_is_the_figures_own() -> None:
    said = stats(ALL, START, END)
    Stats.model_validate(said, by_alias=True, by_name=False)
    assert said["period"] == {"start": "2026-11-25T10:00:00.000000+00:00", "end": "2026-11-25T10:30:00.000000+00:00"}


@pytest.mark.parametrize("found", [None, Figures(), Figures(in_flight=2, last_request_at=AT)])
def test_of_a_period_of_which_nothing_is_known_everything_is_null(found: Figures | None) -> None:
    said = stats(found, START, END)
    assert said["period"] == {"start": "2026-11-25T10:00:00.000000+00:00", "end": "2026-11-25T11:00:00.000000+00:00"}
    known = {name for name, value in said["metrics"].items() if value is not None}
    assert known == ({"concurrentRequests", "lastRequestAt"} if found is not None and found.in_flight else set())


def test_no_requests_are_a_known_number_but_have_no_rates() -> None:
    none = metrics(Figures(start=AT, end=AT + 60, requests=0, server_errors=0, user_errors=0, slow_requests=0, in_flight=0))
    zero = {"totalRequests", "requestsPerMinute", "concurrentRequests", "serverErrors", "userErrors", "slowRequests"}
    assert {name for name, value in none.items() if value == 0} == zero
    assert {value for name, value in none.items() if name not in zero} == {None}


def test_refusals_that_were_not_counted_are_not_taken_for_none() -> None:
    some = metrics(ALL.model_copy(update={"user_errors": None}))
    assert (some["serverErrorRate"], some["userErrors"], some["userErrorRate"], some["totalErrorRate"]) == (0.05, None, None, None)


def test_more_errors_than_requests_are_all_of_them() -> None:
    edge = metrics(ALL.model_copy(update={"requests": 1, "server_errors": 2}))
    assert (edge["serverErrors"], edge["serverErrorRate"], edge["totalErrorRate"]) == (2, 1.0, 1.0)


def test_a_moment_is_no_period() -> None:
    assert metrics(ALL.model_copy(update={"end": AT}))["requestsPerMinute"] is None


def test_what_is_asked_for() -> None:
    one = record()
    made = datetime(2026, 11, 25, 10, 30, tzinfo=UTC).timestamp()
    assert question(one, None, None, 0.5, 2000) == Question(endpoints=[f"d-{one.id}"], not_before=made)
    assert question(one, START, END, 0.99, 500) == Question(
        endpoints=[f"d-{one.id}"], start=AT, end=AT + 3600, not_before=made, quantile=0.99, slow_milliseconds=500
    )
    assert question(replace(one, created_at="yesterday"), None, None, 0.5, 2000).not_before == 0
    assert question(replace(one, created_at="0001-01-01T00:00:00Z"), None, None, 0.5, 2000).not_before == 0
