"""What our questions mean to a real Prometheus: histories are written into it, and asked for by our own client."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from hack.cluster import prometheus
from hack.cluster.console import ClusterError
from hack.cluster.control import free_ports
from roadstead.counts import Figures
from roadstead.latencies import BOUNDS
from roadstead.rest.prometheus import Prometheus
from roadstead.rest.promql import Span

AT = 1_700_000_000
"""When the histories begin. Prometheus looks every 30 s, for two hours."""
EVERY, END = 30, AT + 7200
HOUR = Span(AT + 3600, END)
AWAY = range(AT + 3000, AT + 4201)
"""In one of the worlds Prometheus looks at nothing meanwhile."""
Value = int | float | None
Samples = Iterable[tuple[str, Value, int]]


def key(name: str) -> str:
    """An endpoint's, by a word."""
    return f"d-{name.encode().hex():0<24.24}"


def moments(world: str) -> Iterator[int]:
    return (at for at in range(AT, END + 1, EVERY) if world != "away" or at not in AWAY)


def counter(
    name: str, since: int, value: Callable[[int], Value], *, counter: str = "a/1", job: str = "one", world: str = "here"
) -> Samples:
    """One counter of requests. All are errors too and take half a second. None: it isn't told (any more)."""
    shared = f'cluster="{world}",job="{job}",kind="deployments",id="{key(name)[2:]}",counter="{counter}"'
    of = "roadstead_gateway_endpoint"
    for at in moments(world):
        if at < since or (told := value(at)) is None:
            continue
        yield f"{of}_requests_total{{{shared}}}", told, at
        yield f'{of}_errors_total{{{shared},class="5xx"}}', told, at
        yield f'{of}_errors_total{{{shared},class="4xx"}}', 0, at
        for bound in BOUNDS:
            yield f'{of}_request_seconds_bucket{{{shared},le="{bound / 1000:g}"}}', told if bound >= 500 else 0, at
        yield f'{of}_request_seconds_bucket{{{shared},le="+Inf"}}', told, at
        yield f"{of}_since_timestamp_seconds{{{shared}}}", since, at


def histories() -> Samples:
    for world in ("here", "away"):
        for job in ("one", "other"):
            for at in moments(world):
                yield f'roadstead_gateway_endpoints{{cluster="{world}",job="{job}",process="a"}}', 1, at
    yield from counter("steady", AT - 9999, lambda at: 1000 + (at - AT) // EVERY)
    yield from counter("woken", AT + 5000, lambda _: 7)
    yield from counter("once", AT + 7190, lambda _: 1)
    yield from counter("before", AT, lambda at: 50 if at < AT + 3000 else None)
    # Its process ends, and another begins that has soon counted as many.
    yield from counter("restarted", AT, lambda at: 50 + (at > AT + 4000) if at < AT + 5000 else None)
    yield from counter("restarted", AT + 5100, lambda _: 51, counter="a/2")
    yield from counter("side by side", AT, lambda at: (at - AT) // 600, counter="a/1")
    yield from counter("side by side", AT, lambda at: (at - AT) // 1200, counter="b/1")
    for job in ("one", "other"):
        yield from counter("twice", AT, lambda at: (at - AT) // 600, job=job)
    yield from counter("old", AT - 9999, lambda at: 1000 + (at - AT) // EVERY, world="away")
    yield from counter("new", AT + 4000, lambda at: (at - AT - 4000) // EVERY, world="away")
    labels = f'cluster="here",kind="deployments",id="{key("woken")[2:]}"'
    for process, ago, until in (("a", 60, AT + 600), ("b", 0, END)):
        for at in (at for at in moments("here") if at <= until):
            yield f'roadstead_gateway_endpoint_last_request_timestamp_seconds{{{labels},process="{process}"}}', AT - ago + 0.25, at


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder, port = tmp_path_factory.mktemp("prometheus"), free_ports(1)[0]
    try:
        command = prometheus.command(folder, port, ())
    except ClusterError as error:
        pytest.skip(str(error))
    written(folder, histories())
    running = prometheus.started(command, folder, port)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        running.stop()


def written(folder: Path, samples: Samples) -> None:
    """Into what Prometheus keeps."""
    lines = [f"{series} {value} {at}\n" for series, value, at in sorted(samples, key=lambda sample: (sample[0], sample[2]))]
    (folder / "history").write_text("".join((*lines, "# EOF\n")))
    making = [str(prometheus.binary("promtool")), "tsdb", "create-blocks-from", "openmetrics", "history", "data"]
    done = subprocess.run(making, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture
async def here(url: str) -> AsyncIterator[Prometheus]:
    client = Prometheus(url, labels=(("cluster", "here"),))
    yield client
    await client.close()


@pytest.fixture
async def away(url: str) -> AsyncIterator[Prometheus]:
    client = Prometheus(url, labels=(("cluster", "away"),))
    yield client
    await client.close()


def expected(requests: int, span: Span) -> Figures:
    latencies = [0] * (len(BOUNDS) + 1)
    latencies[BOUNDS.index(500)] = requests
    return Figures(start=span.start, end=span.end, requests=requests, server_errors=requests, user_errors=0, latencies=latencies)


@pytest.mark.parametrize(
    ("name", "requests"),
    [("steady", 120), ("woken", 7), ("once", 1), ("before", 0), ("restarted", 52), ("side by side", 9), ("twice", 6), ("never", 0)],
)
async def test_so_many_were_added_exactly(here: Prometheus, name: str, requests: int) -> None:
    assert await here.figures(key(name), HOUR) == expected(requests, HOUR)


@pytest.mark.parametrize("name", ["steady", "woken", "restarted", "side by side", "twice"])
async def test_periods_side_by_side_add_up(here: Prometheus, name: str) -> None:
    edges = [AT + 600, AT + 3601, AT + 5013, AT + 5105.5, AT + 6000, END]
    parts = [await here.figures(key(name), Span(*span)) for span in pairwise(edges)]
    whole = await here.figures(key(name), Span(edges[0], edges[-1]))
    assert whole is not None
    assert sum(part.requests or 0 for part in parts if part is not None) == whole.requests
    assert None not in parts


async def test_where_prometheus_was_away_when_the_period_began(away: Prometheus) -> None:
    seen = AWAY.stop - 1 + EVERY
    old = await away.figures(key("old"), HOUR)
    assert old is not None
    assert old.start == pytest.approx(seen, abs=EVERY), "from when on it was looked at"
    assert old.requests == pytest.approx((END - seen) // EVERY, abs=1), "and not all that it had counted before"
    new = await away.figures(key("new"), HOUR)
    assert new is not None
    assert new.requests == (END - AT - 4000) // EVERY, "it began within, so that all of it counts"


async def test_the_period_is_where_somebody_looked(here: Prometheus) -> None:
    early = await here.figures(key("steady"), Span(AT - 1800, AT + 1800))
    late = await here.figures(key("steady"), Span(AT + 5400, END + 3600))
    assert early is not None
    assert late is not None
    assert (early.start, early.end) == (pytest.approx(AT, abs=10), AT + 1800)
    assert (late.start, late.end) == (AT + 5400, pytest.approx(END, abs=10))
    for nobody in (Span(AT - 7200, AT - 3600), Span(END + 3600, END + 7200)):
        assert await here.figures(key("steady"), nobody) is None


async def test_the_last_request_is_the_latest_that_any_process_told(here: Prometheus) -> None:
    assert await here.last_request(key("woken"), Span(AT, END)) == AT + 0.25
    assert await here.last_request(key("woken"), Span(AT, END + 30 * 86_400)) == AT + 0.25
    assert await here.last_request(key("never"), Span(AT, END)) is None
