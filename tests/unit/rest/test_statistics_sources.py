"""Who is asked for which part of a period, and how the parts become one: the gateway's word first, never an invented number."""

from __future__ import annotations

import pytest

from roadstead.counts import Figures, Question
from roadstead.latencies import BOUNDS, at_quantile, slower
from roadstead.rest.promql import LONGEST_SECONDS, Span
from roadstead.rest.statistics import Gaps, gaps, joined, wanted

NOW = 1_800_000_000.0
DAY = 86_400.0
ASKED = Question(endpoints=["d-" + "0" * 24], start=NOW - 60 * DAY, quantile=0.5, slow_milliseconds=2000)
PERIOD = Span(NOW - 60 * DAY, NOW)


def latencies(**by_bound: int) -> list[int]:
    """``_10=3``: three took up to ten milliseconds, and more than those of the bound before."""
    found = [0] * (len(BOUNDS) + 1)
    for name, count in by_bound.items():
        found[BOUNDS.index(int(name[1:]))] = count
    return found


def gateways(start: float, **more: object) -> Figures:
    some = latencies(_10=90, _5000=10)
    known = {
        "start": start,
        "end": NOW,
        "requests": 100,
        "server_errors": 1,
        "user_errors": 2,
        "latencies": some,
        "response_milliseconds": at_quantile(some, 0.5),
        "slow_requests": slower(some, 2000),
        "in_flight": 3,
        "last_request_at": NOW - 5,
    }
    return Figures.model_validate({**known, **more})


BEFORE = Figures(
    start=NOW - 50 * DAY, end=NOW - 31 * DAY, requests=1000, server_errors=10, user_errors=20, latencies=latencies(_10=900, _1000=100)
)


@pytest.mark.parametrize(
    ("question", "span"),
    [
        (Question(endpoints=["d"]), Span(NOW - 3600, NOW)),
        (Question(endpoints=["d"], end=NOW - DAY), Span(NOW - DAY - 3600, NOW - DAY)),
        (Question(endpoints=["d"], start=NOW - DAY, end=NOW + DAY), Span(NOW - DAY, NOW)),
        (Question(endpoints=["d"], start=NOW - DAY, not_before=NOW - 60), Span(NOW - 60, NOW)),
        (Question(endpoints=["d"], start=0), Span(NOW - LONGEST_SECONDS, NOW)),
        (Question(endpoints=["d"], end=NOW + DAY), Span(NOW + DAY - 3600, NOW)),
    ],
)
def test_the_period_that_can_be_known(question: Question, span: Span) -> None:
    assert wanted(question, NOW) == span


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (None, Gaps(PERIOD, None)),
        (Figures(in_flight=1), Gaps(PERIOD, None)),
        (gateways(NOW - 60 * DAY), Gaps(None, None)),
        (gateways(NOW - 60 * DAY - 1800), Gaps(None, None)),
        (gateways(NOW - 60 * DAY + 9), Gaps(None, None)),
        (gateways(NOW - 31 * DAY), Gaps(Span(NOW - 60 * DAY, NOW - 31 * DAY), None)),
        (
            gateways(NOW - 31 * DAY, user_errors=None, slow_requests=None),
            Gaps(Span(NOW - 60 * DAY, NOW - 31 * DAY), Span(NOW - 31 * DAY, NOW)),
        ),
        (gateways(NOW - 60 * DAY, latencies=None), Gaps(None, None)),  # an older gateway, which tells estimates only
    ],
)
def test_only_what_the_gateway_leaves_open_is_asked_for(found: Figures | None, expected: Gaps) -> None:
    assert gaps(found, PERIOD) == expected


def test_nothing_is_asked_about_what_is_yet_to_come() -> None:
    assert gaps(None, Span(NOW + 60, NOW)) == Gaps(None, None)


def test_the_gateways_word_stands_where_it_has_one() -> None:
    found = gateways(NOW - 60 * DAY)
    assert joined(ASKED, found, None, None) is found
    assert joined(ASKED, None, None, None) is None


def test_two_periods_are_one() -> None:
    whole = joined(ASKED, gateways(NOW - 31 * DAY), BEFORE, None)
    some = latencies(_10=990, _1000=100, _5000=10)
    assert whole == Figures(
        start=NOW - 50 * DAY,
        end=NOW,
        requests=1100,
        server_errors=11,
        user_errors=22,
        latencies=some,
        response_milliseconds=at_quantile(some, 0.5),
        slow_requests=10,
        in_flight=3,
        last_request_at=NOW - 5,
    )


def test_what_one_of_two_periods_leaves_open_is_open() -> None:
    whole = joined(ASKED, gateways(NOW - 31 * DAY, user_errors=None, slow_requests=None, latencies=None), BEFORE, None)
    assert whole is not None
    assert (whole.requests, whole.server_errors) == (1100, 11)
    assert (whole.user_errors, whole.latencies, whole.response_milliseconds, whole.slow_requests) == (None, None, None, None)


def test_latencies_in_other_steps_are_not_added() -> None:
    whole = joined(ASKED, gateways(NOW - 31 * DAY, latencies=[1, 2]), BEFORE, None)
    assert whole is not None
    assert (whole.requests, whole.latencies, whole.slow_requests) == (1100, None, None)


def test_what_the_gateway_does_not_know_of_its_own_period_is_taken_from_prometheus() -> None:
    found = gateways(NOW - 3600, user_errors=None, latencies=None, response_milliseconds=None, slow_requests=None)
    within = Figures(start=NOW - 3600, end=NOW, requests=99, server_errors=0, user_errors=4, latencies=latencies(_10=99))
    whole = joined(ASKED, found, None, within)
    assert whole is not None
    assert (whole.requests, whole.server_errors, whole.user_errors, whole.slow_requests) == (100, 1, 4, 0)
    assert whole.response_milliseconds == pytest.approx(7.5)
    both = joined(ASKED, found, BEFORE, within)
    assert both is not None
    assert (both.start, both.requests, both.user_errors) == (NOW - 50 * DAY, 1100, 24)


@pytest.mark.parametrize("found", [None, Figures(in_flight=3, last_request_at=NOW)])
def test_of_a_period_that_the_gateway_does_not_know_prometheus_tells_all_but_the_present(found: Figures | None) -> None:
    whole = joined(ASKED, found, BEFORE, None)
    assert whole is not None
    assert (whole.start, whole.end, whole.requests) == (BEFORE.start, BEFORE.end, 1000)
    assert (whole.in_flight, whole.last_request_at) == ((3, NOW) if found else (None, None))
    assert whole.slow_requests == 0
