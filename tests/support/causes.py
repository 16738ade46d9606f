"""One cause of trouble after another, from the first sign to the cure: what the status said of it, how soon, and at what cost of writes.

A case says what is applied, what the status must show, how one sees that the cluster itself knows, and what cures it. Each is played in
a namespace of its own, all side by side.
"""

from __future__ import annotations

import queue
import re
import time
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from threading import Event
from typing import Any

import yaml

from hack.cluster.full import FullCluster
from tests.clusters import wait_for
from tests.support.argo import Health, argo_health
from tests.support.doorman import Doorman
from tests.support.kstatus import Kstatus, kstatus
from tests.support.scaler import Scaler
from tests.support.timeline import Entry, Match, Timeline
from tests.world import condition

Body = dict[str, Any]
SCRIPT = (Path(__file__).parents[2] / "deploy" / "argocd" / "health.lua").read_text()
WORKLOAD, ENDPOINT = "workloads.roadstead.dev", "deployments.roadstead.dev"
WATCHED = {
    WORKLOAD: "/apis/roadstead.dev/v1alpha1/workloads",
    ENDPOINT: "/apis/roadstead.dev/v1alpha1/deployments",
    "pods": "/api/v1/pods",
    "deployments.apps": "/apis/apps/v1/deployments",
    "horizontalpodautoscalers": "/apis/autoscaling/v2/horizontalpodautoscalers",
    "events": "/api/v1/events",
    "nodes": "/api/v1/nodes",
}
Verdicts = tuple[Kstatus, Health]
FAILED: Verdicts = (Kstatus.FAILED, Health.DEGRADED)
IN_PROGRESS: Verdicts = (Kstatus.IN_PROGRESS, Health.PROGRESSING)
CURRENT: Verdicts = (Kstatus.CURRENT, Health.HEALTHY)
SUSPENDED: Verdicts = (Kstatus.CURRENT, Health.SUSPENDED)


@dataclass
class World:
    """A cluster with the operator, and what cases need of it: ``login`` is a registry that asks for one, ``dark`` one that isn't up yet.

    ``stack`` ends with the cluster. ``calls`` are run by the main thread, since what starts processes must outlive the case's own.
    """

    cluster: FullCluster
    image: str
    login: Doorman
    dark: Doorman
    timeline: Timeline
    scaler: Scaler
    stack: ExitStack
    calls: queue.SimpleQueue[Callable[[], None]] = field(default_factory=queue.SimpleQueue)
    fights: dict[str, Event] = field(default_factory=dict)
    """By namespace; a fight ends when its event is set."""

    def apply(self, namespace: str, *bodies: Body) -> None:
        """`kubectl apply --server-side` into that namespace; what isn't namespaced stays so."""
        text = yaml.safe_dump_all({**body, "metadata": {"name": body["metadata"]["name"], **body["metadata"]}} for body in bodies)
        self.cluster.kubectl("apply", "--server-side", "-n", namespace, "-f", "-", input=text)

    def in_main(self, call: Callable[[], object]) -> None:
        """Have the main thread do it; returns when it is done."""
        done, trouble = Event(), []

        def run() -> None:
            try:
                call()
            except Exception as error:
                trouble.append(error)
            finally:
                done.set()

        self.calls.put(run)
        done.wait()
        if trouble:
            raise trouble[0]


Step = Callable[[World, str], None]
"""Something done in a namespace."""


@dataclass(frozen=True)
class Shows:
    """What must be said: the state, the reason in that condition, and words of the message (in any case of letters)."""

    state: str
    reason: str
    words: tuple[str, ...] = ()
    tools: Verdicts = FAILED
    kind: str = "Ready"

    def named(self, body: Body) -> bool:
        """Whether the cause is named, whatever the state and the reason beside it."""
        status = body.get("status") or {}
        message = f"{status.get('message', '')} {condition(status, self.kind).get('message', '')}".lower()
        return all(word.lower() in message for word in self.words)

    def message(self, body: Body) -> str:
        """The message that names it: the status's own, else the condition's."""
        own, said = body["status"].get("message", ""), condition(body["status"], self.kind)["message"]
        return own if all(word.lower() in own.lower() for word in self.words) else f"{own} ({self.kind}: {said})" if own else said

    def fully(self, body: Body) -> bool:
        """Whether the reason and the state are said too, and other people's tools agree."""
        status = body.get("status") or {}
        said = (status.get("state"), condition(status, self.kind).get("reason"))
        return self.named(body) and said == (self.state, self.reason) and tools(body) == self.tools


def tools(body: Body) -> Verdicts:
    """What Flux and Argo CD make of it."""
    return kstatus(body), argo_health(SCRIPT, body)[0]


def well(body: Body) -> bool:
    """Whether nothing is wrong, and everybody says so."""
    status = body.get("status") or {}
    return status.get("state") == "running" and condition(status, "Ready").get("status") == "True" and tools(body) == CURRENT


@dataclass(frozen=True)
class Case:
    """A cause of issue 5, by its number there. ``start`` brings it about, once what ``first`` applies is well."""

    number: str
    cause: str
    start: Step
    shows: Shows
    known: Match
    cure: Step
    first: Step | None = None
    labels: dict[str, str] = field(default_factory=dict)
    well: Callable[[Body], bool] = well
    kind: str = WORKLOAD
    name: str = "chat"
    after: str = ""
    seconds: float = 240
    remark: str = ""


@dataclass(frozen=True)
class Row:
    """What was seen: seconds from the cluster's own word to ours, from the cure to the end (and how much of it was ours), writes."""

    case: Case
    state: str
    reason: str
    message: str
    shown_seconds: float
    healed_seconds: float
    our_seconds: float
    writes: int
    log_tail: tuple[str, ...]


def play(case: Case, world: World) -> Row:
    """Bring about, wait for the word, cure, wait for the end. Raises AssertionError where the status falls short."""
    namespace = f"c{case.number}-{uuid.uuid4().hex[:5]}"
    labels = {"pod-security.kubernetes.io/enforce": "restricted", **case.labels}
    world.apply(namespace, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": labels}})
    kubectl, timeline = world.cluster.kubectl, world.timeline

    def ours(test: Callable[[Body], bool]) -> Match:
        return lambda entry: entry.kind == case.kind and entry.name == case.name and test(entry.body)

    if case.first is not None:
        case.first(world, namespace)
    began = time.monotonic()
    case.start(world, namespace)
    wanted = f"{case.number} ({case.cause}) to be named: {case.shows.words}"
    named = timeline.wait(namespace, ours(case.shows.named), wanted, case.seconds, began)
    wanted = f"{case.number} ({case.cause}): {case.shows.state}, {case.shows.kind} {case.shows.reason}, {case.shows.tools}"
    settled = timeline.wait(namespace, ours(case.shows.fully), wanted, case.seconds, began)
    known = wait_for(  # each kind is told by a stream of its own: the cause may come after the word on it
        lambda: timeline.first(namespace, case.known, began) or timeline.first("", case.known, began),
        f"{case.number}: what the cluster knows of it; it is named: {named.body['status']}",
    )
    assert known is not None

    cured = time.monotonic()
    case.cure(world, namespace)
    healed = timeline.wait(namespace, ours(case.well), f"{case.number} ({case.cause}) to heal", case.seconds, cured)
    if case.well is well:
        kubectl("wait", "--for=condition=Ready", f"{case.kind}/{case.name}", "-n", namespace, "--timeout=60s")
    entries = timeline.of(namespace, began)
    theirs = [entry.at for entry in entries if cured <= entry.at <= healed.at and entry.kind not in (WORKLOAD, ENDPOINT, "events")]
    statuses = [entry.body.get("status") for entry in entries if ours(lambda _: True)(entry) and entry.at <= healed.at]
    kubectl("delete", WORKLOAD, "--all", "-n", namespace, "--wait=false")
    kubectl("delete", "namespace", namespace, "--wait=false")
    status = settled.body["status"]
    return Row(
        case,
        status["state"],
        case.shows.reason,
        case.shows.message(settled.body),
        max(0.0, named.at - known.at),
        healed.at - cured,
        healed.at - max(theirs, default=cured),
        sum(old != new for old, new in pairwise([None, *statuses])),
        tuple(status.get("logTail", ())),
    )


def anonymous(message: str) -> str:
    """The message without what differs from run to run: the names of pods and the registries' addresses."""
    message = re.sub(r"\b(chat|urgent|low)-[0-9a-f]{6,10}-[0-9a-z]{5}\b", r"\1-6d5f8b7c9-x2x4z", message)
    message = re.sub(r"\bc[0-9]+[a-z]?-[0-9a-f]{5}\b", "team", message)
    return re.sub(r"\b198\.1[89]\.\d+\.\d+(:\d+)?", "registry.example.com", message)


# How one sees that the cluster knows


def container(reason: str = "", words: str = "") -> Match:
    """A container waits or has ended for that reason, with these words."""

    def match(entry: Entry) -> bool:
        if entry.kind != "pods":
            return False
        for one in entry.body.get("status", {}).get("containerStatuses", ()):
            for states in (one.get("state") or {}, one.get("lastState") or {}):
                for kind in ("waiting", "terminated"):
                    told = states.get(kind)
                    if told and told.get("reason") == reason and words in told.get("message", ""):
                        return True
        return False

    return match


def has_condition(kind: str, type_: str, *, reason: str = "", verdict: str = "", words: str = "") -> Match:
    """An object of that kind bears that condition; words, verdict and reason that aren't given may be any."""

    def match(entry: Entry) -> bool:
        said = condition(entry.body.get("status") or {}, type_) if entry.kind == kind else {}
        return (
            bool(said) and reason in ("", said.get("reason")) and verdict in ("", said.get("status")) and words in said.get("message", "")
        )

    return match


def event(reason: str, words: str = "") -> Match:
    """Somebody else than us told so in an Event."""
    return lambda entry: entry.kind == "events" and entry.body.get("reason") == reason and words in entry.body.get("message", "")


def declared(kind: str = WORKLOAD) -> Match:
    """The cause is in what was declared, so the cluster knows with the object's arrival."""
    return lambda entry: entry.kind == kind


def table(rows: list[Row], failures: dict[str, str]) -> str:
    """The rows as Markdown."""
    lines = [
        "| # | cause | state | reason | message | shown after | healed after | of it ours | writes |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        case = row.case
        times = f"{row.shown_seconds:.1f} s | {row.healed_seconds:.1f} s | {row.our_seconds:.1f} s"
        message = anonymous(row.message).replace("|", "\\|")
        cause = case.cause + (f" ({case.remark})" if case.remark else "")
        lines.append(f"| {case.number} | {cause} | `{row.state}` | `{row.reason}` | {message} | {times} | {row.writes} |")
    lines.extend(f"| {number} | {cause} | - | - | not as it should be in this run | - | - | - | - |" for number, cause in failures.items())
    return "\n".join(lines)
