"""What ``roadstead describe`` tells, as text: what was asked for, what is, and how it came to that. Pure: objects in, lines out.

Values of environment variables are never shown, since people put secrets there.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from roadstead.cli.durations import age
from roadstead.cli.kinds import Target
from roadstead.cli.output import GAP, Table, printable
from roadstead.kube.resource import Body

INDENT: Final = "  "
LEAST_TEXT_WIDTH: Final = 24


@dataclass(frozen=True, slots=True)
class Section:
    """A titled part: named facts, a table whose last column may be long, or plain lines. Empty ones are left out."""

    title: str
    facts: tuple[tuple[str, str], ...] = ()
    table: Table | None = None
    lines: tuple[str, ...] = ()


def render(heading: str, sections: Iterable[Section], width: int | None) -> list[str]:
    """The whole story as lines; long texts wrap at ``width`` below their own beginning (None: they don't)."""
    lines = _wrapped("", heading, width)
    for section in sections:
        rows = [(name, value) for name, value in section.facts if value]
        if section.table is not None:
            rows_of_table = (section.table.columns, *section.table.rows) if section.table.rows else ()
            body = list(_columns(rows_of_table, width))
        else:
            body = list(_columns(rows, width)) + [INDENT + printable(text) for text in section.lines]
        if body:
            lines += ["", section.title, *body]
    return lines


def _columns(rows: Sequence[Sequence[str]], width: int | None) -> Iterator[str]:
    """Aligned rows; the last cell wraps below itself."""
    if not rows:
        return
    widths = [max(len(printable(cell)) for cell in column) for column in zip(*rows, strict=True)]
    for row in rows:
        first = INDENT + "".join(printable(cell).ljust(size + GAP) for cell, size in zip(row[:-1], widths[:-1], strict=True))
        yield from _wrapped(first, row[-1], width)


def _wrapped(first: str, text: str, width: int | None) -> list[str]:
    clean = printable(text)
    if width is None or width - len(first) < LEAST_TEXT_WIDTH:
        return [(first + clean).rstrip()]
    made = textwrap.wrap(
        clean, width, initial_indent=first, subsequent_indent=" " * len(first), break_long_words=False, break_on_hyphens=False
    )
    return made or [first.rstrip()]


def heading(target: Target, body: Body, now: datetime) -> str:
    """``workload/chat in namespace team is running since 5m: 2 of 2 replicas ready``."""
    status: Body = body.get("status") or {}
    metadata: Body = body["metadata"]
    place = f'{target} in namespace "{metadata["namespace"]}"'
    seen = status.get("observedGeneration", -1)
    if seen < 0:
        return f"{place} was made {age(metadata['creationTimestamp'], now)} ago, and the operator hasn't looked at it yet: does it run?"
    state = status.get("state") or body["spec"].get("status") or "there"
    since = f" since {age(status['runningSince'], now)}" if state == "running" and status.get("runningSince") else ""
    message = status.get("message")
    late = "" if seen >= metadata.get("generation", 0) else " (that is about an older version: the last change hasn't been looked at yet)"
    return f"{place} is {state}{since}{f': {message}' if message else ''}{late}"


def workload(body: Body, artifact: Body | None, now: datetime) -> list[Section]:
    """A Workload: its wish, its Artifact, where it answers, its replicas and why there are as many."""
    spec, status = body["spec"], body.get("status") or {}
    source = spec.get("artifact") or (artifact or {}).get("spec") or {}
    used = status.get("artifact") or {}
    name = used.get("name") or (spec.get("artifactRef") or {}).get("name") or ""
    version = f", version {used['version']}" if used.get("version") else ""
    absent = "" if source else " (it isn't there, or you may not see it)"
    runtime = spec.get("runtime") or {}
    scaler, wake = status.get("scaler") or {}, status.get("lastWake") or {}
    facts = (
        ("name for people", spec.get("displayName") or ""),
        ("artifact", f"{name}{version}{absent}"),
        *containers(source),
        ("bundle", ", ".join(one["resourceBundleId"] for one in runtime.get("resources") or ())),
        ("replicas", replicas(runtime)),
        ("pod settings", ", ".join(spec.get("template") or {})),
        ("stopped", "yes (spec.suspend)" if spec.get("suspend") else ""),
        ("deleted", "yes (spec.deleted)" if spec.get("deleted") else ""),
        ("restarted", f"{age(str(spec['restartedAt']), now)} ago" if spec.get("restartedAt") else ""),
    )
    reached = (
        ("from outside", status.get("endpoint") or ""),
        ("in the cluster", status.get("internalUrl") or ""),
        ("id", status.get("id") or ""),
    )
    pods = tuple(
        (pod["name"], pod.get("state") or "", str(pod.get("restarts") or 0), pod.get("node") or "")
        for pod in status.get("replicasDetail") or ()
    )
    more = (status.get("replicas") or 0) - len(pods)
    why = (
        ("scaled by", scaler.get("kind") or ""),
        ("why", f"{scaler['why']} ({age(scaler.get('when'), now)} ago)" if scaler.get("why") else ""),
        ("last wake", _wake(wake, now)),
    )
    return [
        Section("Asked for", facts),
        Section("Reached at", reached),
        Section("Replicas", table=Table(("POD", "STATE", "RESTARTS", "NODE"), pods)),
        Section("More replicas", (("not listed", str(more) if pods and more > 0 else ""),)),
        Section("Why as many", why),
    ]


def artifact(body: Body) -> list[Section]:
    """An Artifact: its containers, its version, who uses it."""
    spec, status = body["spec"], body.get("status") or {}
    used = status.get("usedBy") or {}
    names = ", ".join(used.get("names") or ())
    facts = (
        ("name for people", spec.get("displayName") or ""),
        ("description", spec.get("description") or ""),
        ("status", spec.get("status") or ""),
        ("version", f"{status['version']} of {spec.get('collection') or body['metadata']['name']}" if status.get("version") else ""),
        *containers(spec),
        ("deleted", "yes (spec.deleted)" if spec.get("deleted") else ""),
        ("used by", f"{used.get('count')} Workload{'' if used.get('count') == 1 else 's'}: {names}" if names else "no Workload"),
        ("id", status.get("id") or ""),
    )
    return [Section("What runs", facts)]


def deployment(body: Body) -> list[Section]:
    """A Deployment: where it leads."""
    spec, status = body["spec"], body.get("status") or {}
    wanted, active = spec["workloadRef"]["name"], status.get("activeWorkload") or ""
    facts = (
        ("name for people", spec.get("displayName") or ""),
        ("description", spec.get("description") or ""),
        ("importance", spec.get("importance") or "low"),
        ("workload", wanted),
        ("serves now", "" if active == wanted else active),
        ("from outside", status.get("endpoint") or ""),
        ("id", status.get("id") or ""),
    )
    return [Section("Asked for", facts)]


def truths(body: Body, now: datetime) -> list[Section]:
    """Conditions, and the last lines of a container that failed."""
    status = body.get("status") or {}
    rows = tuple(
        (one["type"], one["status"], age(one.get("lastTransitionTime"), now), one.get("reason") or "", one.get("message") or "")
        for one in status.get("conditions") or ()
    )
    return [
        Section("Conditions", table=Table(("TYPE", "STATUS", "SINCE", "REASON", "MESSAGE"), rows)),
        Section("Last lines of the failing container", lines=tuple(status.get("logTail") or ())),
    ]


def events(found: Sequence[Body], now: datetime) -> Section:
    """What was told about an object, oldest first."""
    rows = []
    for event in sorted(found, key=_last):
        count = (event.get("series") or {}).get("count") or event.get("count") or 1
        times = f" (x{count})" if count > 1 else ""
        rows.append((age(_last(event), now), event.get("type") or "", event.get("reason") or "", (event.get("message") or "") + times))
    return Section("Events", table=Table(("AGE", "TYPE", "REASON", "MESSAGE"), tuple(rows)))


def containers(spec: Body) -> Iterator[tuple[str, str]]:
    """One fact for each container."""
    for group in spec.get("containerGroups") or ():
        every = group.get("containers") or ()
        for number, one in enumerate(every, 1):
            primary = one.get("primary") or len(every) == 1
            name = one.get("name") or ("main" if number == 1 else f"main-{number}")
            address = f"{one.get('protocol') or 'http'} on port {one.get('port') or 8080}" if primary else ""
            asked = one.get("resourceRequest") or {}
            parts = (
                one.get("imageUri"),
                address,
                f"cpu {asked['cpu']}" if asked.get("cpu") else "",
                f"memory {asked['memory']}" if asked.get("memory") else "",
                f"{asked['gpu']} GPU{f' of type {kind}' if (kind := asked.get('gpuType')) else ''}" if asked.get("gpu") else "",
                f"environment: {', '.join(v['name'] for v in one['environmentVars'])}" if one.get("environmentVars") else "",
            )
            yield f"container {name}{' (primary)' if primary and len(every) > 1 else ''}", "; ".join(filter(None, parts))


def replicas(runtime: Body) -> str:
    """How many are asked for, in words."""
    scaling: dict[str, Any] = runtime.get("autoscaling") or {}
    if not scaling.get("enabled"):
        return str(runtime.get("replicaCount") or 1)
    policies = scaling.get("policies") or ()
    low = min((one.get("minCount", 1) for one in policies), default=1)
    high = max((one.get("maxCount", 1) for one in policies), default=1)
    reasons = ", ".join(f"{one['scalingMetric']} (target {one['target']:g})" for one in policies)
    return f"{low} to {high}, by {reasons}"


def _wake(wake: Body, now: datetime) -> str:
    if not wake.get("at"):
        return ""
    outcome = "succeeded" if wake.get("succeeded") else f"failed: {wake.get('message') or 'no reason given'}"
    return f"{age(wake['at'], now)} ago, {outcome}"


def _last(event: Body) -> str:
    series = event.get("series") or {}
    metadata: Body = event["metadata"]
    return str(series.get("lastObservedTime") or event.get("lastTimestamp") or event.get("eventTime") or metadata["creationTimestamp"])
