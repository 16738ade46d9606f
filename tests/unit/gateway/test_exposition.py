"""What Prometheus is told of endpoints: in its own format, by counters that never fall in their life."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families as families

from roadstead.gateway.exposition import Exposition
from roadstead.gateway.ledger.history import LATENCY, USER_ERRORS
from roadstead.gateway.ledger.ledger import RETENTION_SECONDS, Ledger
from roadstead.latencies import BOUNDS
from tests.unit.gateway.ledger_world import BEGAN, Clock, D, W


def told(ledger: Ledger) -> dict[tuple[str, ...], float]:
    """Values by name and labels, but for those that only name the process and the counter."""
    found: dict[tuple[str, ...], float] = {}
    for family in families("".join(Exposition(ledger).pieces())):
        for sample in family.samples:
            labels = (value for name, value in sorted(sample.labels.items()) if name not in ("process", "counter"))
            key = (sample.name.removeprefix("roadstead_gateway_endpoint").strip("_"), *labels)
            assert key not in found
            found[key] = sample.value
    return found


def counters(ledger: Ledger) -> set[str]:
    samples = [sample for family in families("".join(Exposition(ledger).pieces())) for sample in family.samples]
    return {sample.labels["counter"] for sample in samples if "counter" in sample.labels}


def test_a_process_that_has_counted_nothing_says_so() -> None:
    assert told(Ledger("a", clock=Clock())) == {("s",): 0}


def test_requests_errors_and_latencies_by_endpoint() -> None:
    ledger = Ledger('a"\\', clock=Clock())
    ledger.report("a", D, 1, 7, 2)
    ledger.report("a", f"{D}.h2c", 0, 1, 0)
    ledger.report("a", "authoriser", 0, 5, 0)
    ledger.count(D, BEGAN, [(USER_ERRORS, 3), (LATENCY, 4), (LATENCY + BOUNDS.index(2000), 2), (LATENCY + len(BOUNDS), 1)])
    ledger.report("a", W, 0, 1, 0)
    found = told(ledger)
    kind, id = "1" * 24, "deployments"
    mine = (kind, id)
    assert found["requests_total", *mine] == 8
    assert (found["errors_total", "4xx", *mine], found["errors_total", "5xx", *mine]) == (3, 2)
    steps = {le: found["request_seconds_bucket", kind, id, le] for le in ("0.001", "1", "2", "3600", "+Inf")}
    assert steps == {"0.001": 4, "1": 4, "2": 6, "3600": 6, "+Inf": 7}
    assert found["request_seconds_count", *mine] == 7
    assert found["since_timestamp_seconds", *mine] == found["last_request_timestamp_seconds", *mine] == BEGAN
    assert found["requests_total", "0" * 24, "workloads"] == 1
    assert not [key for key in found if "authoriser" in key]


def test_what_others_have_counted_is_theirs_to_tell_but_the_last_request_is_everybodys() -> None:
    clock = Clock()
    one, other = Ledger("a", clock=clock), Ledger("b", clock=clock)
    one.report("a", D, 0, 7, 0)
    for part in one.parts():
        other.merge(part)
    assert told(other) == {("s",): 0, ("last_request_timestamp_seconds", "1" * 24, "deployments"): BEGAN}


def test_a_counter_that_begins_anew_has_another_name() -> None:
    clock = Clock()
    ledger = Ledger("a", clock=clock)
    ledger.report("a", D, 0, 7, 0)
    before = counters(ledger)
    clock.now += 60
    ledger.report("a", D, 0, 7, 0)
    assert counters(ledger) == before
    again = Ledger("a", clock=clock)
    again.report("a", D, 0, 1, 0)
    assert counters(again).isdisjoint(before)
    clock.now += RETENTION_SECONDS + 1
    ledger.prune()
    assert told(ledger) == {("s",): 0}
    ledger.report("a", D, 0, 1, 0)
    assert counters(ledger).isdisjoint(before)


def test_many_endpoints_come_piece_by_piece() -> None:
    ledger = Ledger("a", clock=Clock())
    for number in range(200):
        ledger.report("a", f"d-{number:024x}", 0, 1, 0)
    assert max(len(piece) for piece in Exposition(ledger).pieces()) < 60_000
    assert len(told(ledger)) == 1 + 200 * (1 + 2 + len(BOUNDS) + 2 + 1 + 1)
