"""What Prometheus is asked, as text, and its answers: nobody's text gets into a question, and what isn't known stays None."""

from __future__ import annotations

import json
from typing import Any

import pytest

from roadstead.counts import Figures
from roadstead.latencies import BOUNDS
from roadstead.rest.promql import Span, counted, figures, last_request, latencies, requested, timed

KEY = "d-" + "0123456789ab" * 2
MINE = '{kind="deployments",id="0123456789ab0123456789ab"}'
AT = 1_800_000_000.0
HOUR = Span(AT, AT + 3600)


def answer(*samples: tuple[str, float | str, dict[str, str]], **more: Any) -> bytes:
    """As Prometheus gives it."""
    result = [{"metric": {"figure": name, **labels}, "value": [AT, str(value)]} for name, value, labels in samples]
    return json.dumps({"status": "success", "data": {"resultType": "vector", "result": result}, **more}).encode()


def looked(first: float = AT, last: float = AT + 3600, looks: int = 100) -> list[tuple[str, float | str, dict[str, str]]]:
    return [("first", first, {}), ("last", last, {}), ("looks", looks, {})]


def test_what_a_counter_has_added_is_its_last_value_less_the_one_before() -> None:
    text = counted(KEY, HOUR)
    name = f"roadstead_gateway_endpoint_requests_total{MINE}"
    last = f"max by (counter) (max_over_time({name}[3600000ms]))"
    since = f"roadstead_gateway_endpoint_since_timestamp_seconds{MINE}"
    early = f"max by (counter) (max_over_time({since}[3600000ms])) <= {AT:.3f}"
    first = f"min by (counter) (min_over_time({name}[3600000ms:8s])) and on (counter) ({early})"
    assert f"sum by () ({last} - (max by (counter) ({name} offset 3600000ms) or ({first}) or 0 * {last}))" in text
    for figure in ("first", "last", "looks", "requests", "errors"):
        assert f'"figure", "{figure}", "", "")' in text
    assert "_bucket" not in text
    assert timed(KEY, HOUR).startswith("label_replace(sum by (le) (max by (counter, le) (max_over_time(")
    assert "increase(" not in text + timed(KEY, HOUR)


def test_labels_of_the_administrators_stand_in_every_selector() -> None:
    more = (("cluster", 'pr"od\\\n'),)
    for text in (counted(KEY, HOUR, more), timed(KEY, HOUR, more), requested(KEY, HOUR, more)):
        assert text.count("{") == text.count('cluster="pr\\"od\\\\\\n"}')


@pytest.mark.parametrize(
    "key", ["", "d-", "d-0123", "x-" + "0" * 24, KEY + '"', KEY + "\n", KEY.upper(), 'd-"} or up{id="', "d-" + "0" * 25, "answers"]
)
def test_nothing_but_an_endpoints_name_is_asked_about(key: str) -> None:
    for question in (counted, timed, requested):
        with pytest.raises(ValueError, match="not an endpoint's name"):
            question(key, HOUR)


@pytest.mark.parametrize("name", ["", "a-b", "1a", 'a"', "a\n", "ä"])
def test_a_label_has_a_labels_name(name: str) -> None:
    with pytest.raises(ValueError, match="not a label's name"):
        counted(KEY, HOUR, ((name, "x"),))


def test_the_longer_the_period_the_less_often_it_is_looked_whether_anybody_looked() -> None:
    for seconds, step in ((60, 5), (3600, 8), (31 * 86_400, 5357), (366 * 86_400, 63_245)):
        assert Span(AT, AT + seconds).step == step


def test_figures_of_an_answer() -> None:
    errors = [("errors", 5, {"class": "4xx"}), ("errors", 3, {"class": "5xx"})]
    found = figures(answer(*looked(AT + 4, AT + 3590), ("requests", 20, {}), *errors), HOUR)
    assert found == Figures(start=AT, end=AT + 3600, requests=20, user_errors=5, server_errors=3)


def test_latencies_of_an_answer() -> None:
    buckets = [("latencies", 18 if bound < 1000 else 20, {"le": f"{bound / 1000:g}"}) for bound in BOUNDS[4:]]
    found = latencies(answer(("latencies", 21, {"le": "+Inf"}), *reversed(buckets)))
    assert {bound: count for bound, count in zip((*BOUNDS, "more"), found, strict=True) if count} == {20: 18, 1000: 2, "more": 1}
    assert sum(latencies(answer())) == 0


def test_who_was_looked_at_and_named_no_endpoint_has_counted_none() -> None:
    found = figures(answer(*looked()), HOUR)
    assert found == Figures(start=AT, end=AT + 3600, requests=0, user_errors=0, server_errors=0)


@pytest.mark.parametrize(
    "samples",
    [
        [],
        looked(looks=1),
        looked(first=AT + 3600, last=AT + 3600),
        looked(first=1e300),
        looked(last=-1e300),
        [("requests", 4.0, {})],
        [*looked()[:2], ("looks", "NaN", {})],
    ],
)
def test_of_what_nobody_looked_at_nothing_is_known(samples: list[Any]) -> None:
    assert figures(answer(*samples), HOUR) is None


def test_the_period_is_the_part_of_it_in_which_prometheus_looked() -> None:
    found = figures(answer(*looked(AT + 1000, AT + 2000)), HOUR)
    assert found is not None
    assert (found.start, found.end) == (AT + 1000, AT + 2000)


def test_the_last_request() -> None:
    assert last_request(answer(("requested", AT + 0.5, {}))) == AT + 0.5
    assert last_request(answer()) is None


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        (b"", "not an answer"),
        (b"<html>", "not an answer"),
        (b'{"status":"error","error":"x"}', "not an answer"),
        (b'{"status":"success","data":{"resultType":"matrix","result":[]}}', "not an answer"),
        (answer(*looked(), warnings=["store 2 is away"]), "not a whole answer: store 2 is away"),
        (answer(("first", "soon", {})), "soon"),
    ],
)
def test_what_cannot_be_read_or_is_not_whole_is_an_error(said: bytes, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        figures(said, HOUR)
    with pytest.raises(ValueError, match="much"):
        latencies(answer(("latencies", 1, {"le": "much"})))
