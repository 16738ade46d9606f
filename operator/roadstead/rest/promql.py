"""What Prometheus is asked about an endpoint, and how its answer is read: text in, figures out, no I/O.

One expression asks for all counts, so that all are of the same moment; each part bears a label ``figure`` that says what it is. Another
asks for latencies, which are seven times as many samples: where they take too long, the counts are still there.

Not ``increase``, which estimates beyond its samples, and misses what a counter begins with: the request that wakes a Workload. A counter of
ours never falls and says when it began. So what it has added is its last value in the period, less the one that it had at the beginning:
exactly what Prometheus has seen, and the sum over neighbouring periods is that of the whole. Only what a process counts after Prometheus
has last looked at it is missed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from roadstead import series
from roadstead.counts import Figures
from roadstead.latencies import by_bounds

Labels: TypeAlias = Sequence[tuple[str, str]]
SHORTEST_SECONDS: Final = 10.0
"""Less is not asked for: too few samples tell of it."""
LONGEST_SECONDS: Final = 366 * 86_400.0
"""More is not asked for: each sample of the period is read."""
LOOKS: Final = 500
"""At so many moments of a period it is seen whether Prometheus looked at all."""
LATE_SECONDS: Final = 120.0
"""The last sample before a moment may be so old."""


@dataclass(frozen=True, slots=True)
class Span:
    """From, to: seconds since 1970."""

    start: float
    end: float

    @property
    def length(self) -> str:
        """As PromQL says it."""
        return f"{max(1, round(1000 * (self.end - self.start)))}ms"

    @property
    def step(self) -> int:
        """Seconds between two of the LOOKS."""
        return max(5, math.ceil((self.end - self.start) / LOOKS))


class _Sample(BaseModel):
    metric: dict[str, str]
    value: tuple[float, str]


class _Data(BaseModel):
    model_config = ConfigDict(populate_by_name=True)

    kind: Literal["vector"] = Field(alias="resultType")
    result: list[_Sample]


class _Answer(BaseModel):
    status: Literal["success"]
    data: _Data
    warnings: list[str] = []


def counted(key: str, span: Span, more: Labels = ()) -> str:
    """The expression for requests and errors, to be evaluated at the span's end. ``more`` are labels that the series have besides ours.

    Raises ValueError if ``key`` isn't the name by which an endpoint is counted.
    """
    theirs = f"{series.PROCESSES}{_braces(_matchers(more))}"
    seen = f"timestamp({theirs})[{span.length}:{span.step}s]"
    return _all(
        first=f"min(min_over_time({seen}))",
        last=f"max(max_over_time({seen}))",
        looks=f"max(count_over_time({theirs}[{span.length}]))",
        requests=_added(series.REQUESTS, key, span, more),
        errors=_added(series.ERRORS, key, span, more, "class"),
    )


def timed(key: str, span: Span, more: Labels = ()) -> str:
    """The expression for latencies; as ``counted``."""
    return _all(latencies=_added(f"{series.SECONDS}_bucket", key, span, more, "le"))


def requested(key: str, span: Span, more: Labels = ()) -> str:
    """The expression for the last request of a span; raises as ``counted``."""
    step = max(5, int(span.end - span.start) // 5000)  # processes tell of a request for a month, so that a look now and then will do
    return _all(requested=f"max(max_over_time({series.LAST}{_selector(key, more)}[{span.length}:{step}s]))")


def figures(answer: bytes, span: Span) -> Figures | None:
    """What the answer to ``counted`` says; None if nobody was looked at then. Raises ValueError if it can't be read, or isn't whole."""
    found: dict[str, list[tuple[Mapping[str, str], float]]] = {}
    for labels, value in _samples(answer):
        found.setdefault(labels.get("figure", ""), []).append((labels, value))
    if not {"first", "last", "looks"} <= found.keys() or found["looks"][0][1] < 2:
        return None
    first, last = found["first"][0][1], found["last"][0][1]
    start = span.start if first <= span.start + span.step else first
    end = span.end if last >= span.end - span.step - LATE_SECONDS else last
    if not span.start <= start < end <= span.end:  # seen for a moment only
        return None
    # What was added shows between two looks. Who was looked at and named no such endpoint has counted nothing there.
    errors = {labels.get("class"): round(value) for labels, value in found.get("errors", ())}
    return Figures(
        start=start,
        end=end,
        requests=sum(round(value) for _, value in found.get("requests", ())),
        user_errors=errors.get(series.USER, 0),
        server_errors=errors.get(series.SERVER, 0),
    )


def latencies(answer: bytes) -> list[int]:
    """What the answer to ``timed`` says, by latencies.BOUNDS. Raises as ``figures``."""
    return by_bounds(sorted((round(1000 * float(labels["le"]), 6), round(value)) for labels, value in _samples(answer) if "le" in labels))


def last_request(answer: bytes) -> float | None:
    """What the answer to ``requested`` says. Raises as ``figures``."""
    return max((value for _, value in _samples(answer)), default=None)


def _added(name: str, key: str, span: Span, more: Labels, *labels: str) -> str:
    """What counters have added in a span, by these labels."""
    mine = _selector(key, more)
    of, by = f"{name}{mine}", f"by ({', '.join(('counter', *labels))})"
    last = f"max {by} (max_over_time({of}[{span.length}]))"  # of one that is scraped twice, the larger
    # Of a counter that is older than the period, but wasn't looked at just before it: what it said first.
    early = f"max by (counter) (max_over_time({series.SINCE}{mine}[{span.length}])) <= {span.start:.3f}"
    first = f"min {by} (min_over_time({of}[{span.length}:{span.step}s])) and on (counter) ({early})"
    before = f"max {by} ({of} offset {span.length}) or ({first}) or 0 * {last}"
    return f"sum by ({', '.join(labels)}) ({last} - ({before}))"


def _samples(answer: bytes) -> list[tuple[Mapping[str, str], float]]:
    """Labels and values; numbers only."""
    try:
        read = _Answer.model_validate_json(answer)
    except ValidationError as error:
        raise ValueError(f"not an answer of Prometheus: {error.errors()[0]['msg']}") from error
    if read.warnings:  # of several places behind one address one didn't answer, for example
        raise ValueError(f"not a whole answer: {read.warnings[0][:200]}")
    return [(sample.metric, value) for sample in read.data.result if math.isfinite(value := float(sample.value[1]))]


def _all(**parts: str) -> str:
    return " or ".join(f'label_replace({part}, "figure", "{name}", "", "")' for name, part in parts.items())


def _selector(key: str, more: Labels) -> str:
    labels = series.labels(key)
    if labels is None:
        raise ValueError(f"{key!r} is not an endpoint's name")
    return _braces([labels, *_matchers(more)])


def _matchers(more: Labels) -> list[str]:
    for name, _ in more:
        if not series.LABEL.fullmatch(name):
            raise ValueError(f"{name!r} is not a label's name")
    return [f"{name}={_quoted(value)}" for name, value in more]


def _braces(matchers: Iterable[str]) -> str:
    return f"{{{','.join(matchers)}}}"


def _quoted(value: str) -> str:
    return '"' + value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n") + '"'
