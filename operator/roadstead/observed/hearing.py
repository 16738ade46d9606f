"""What only Events tell: a probe's answer, for which probe the kubelet killed a container, why a volume isn't there.

Events aren't mirrored: they are many and short-lived. When a pod leaves such a question open, ``find_doubt`` says so, and the shell takes
what it has heard meanwhile, or asks. One thing no pod gives a hint of: that the kubelet is about to end a container for a failing probe.
It is ready until its container has drained, so there the Event itself is the news (``Kill``).
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from roadstead.observed.views import Body, ContainerView, PodView

PROBE_SECONDS = 4
"""How long after its initial delay a probe has mostly been answered."""
MOUNT_SECONDS = 4
"""How long volumes and network mostly take at most, from the scheduler's word on."""
SIGNALLED = (0, 137, 143)
"""Exit codes of a container that was asked to end: killed, terminated, or ended well."""


class Topic(StrEnum):
    """A question to the Events of a pod."""

    STARTUP = "startup"
    READINESS = "readiness"
    KILL = "kill"
    SETUP = "setup"
    END = "end"


SETUP_REASONS = ("FailedMount", "FailedAttachVolume", "FailedCreatePodSandBox")
"""As the kubelet and the attach-detach controller say it (pkg/kubelet/events/event.go)."""


@dataclass(frozen=True, slots=True)
class Heard:
    """An Event of a pod, about one of its containers or ("") the whole of it."""

    reason: str
    message: str
    container: str


@dataclass(frozen=True, slots=True)
class Doubt:
    """A question that a pod leaves open, and from when on it makes sense to ask."""

    uid: str
    topic: Topic
    due: datetime


@dataclass(frozen=True, slots=True)
class Kill:
    """The kubelet's word that it ends a container since that probe, startup or liveness, failed; ``at`` as the API server writes it."""

    container: str
    probe: str
    at: str


def kill_of(body: Body) -> Kill | None:
    """A core Event as a kill; None for every other, the ends of pods among them, which are called Killing as well."""
    probe = _failed_probe(body.get("message") or "") if body.get("reason") == "Killing" else None
    at = body.get("lastTimestamp") or body.get("eventTime")
    return Kill(_container(body), probe, at) if probe is not None and at else None


def under_way(container: ContainerView, kill: Kill | None) -> bool:
    """Whether the container is still the one that is to be ended: it began before. Both times are its node's, in whole seconds."""
    if kill is None or kill.container != container.name or container.state != "running" or not container.running_since:
        return False
    return datetime.fromisoformat(container.running_since) < datetime.fromisoformat(kill.at)


def is_killed(pod: PodView, kills: Mapping[str, Kill]) -> bool:
    """Whether a container of a pod that stays is about to be ended."""
    return pod.alive and any(under_way(container, kills.get(pod.uid)) for container in pod.containers)


def heard_of(bodies: Iterable[Body]) -> tuple[Heard, ...]:
    """Core Events, newest first."""
    found = sorted(bodies, key=lambda body: str(body.get("lastTimestamp") or body.get("eventTime") or ""), reverse=True)
    return tuple(Heard(body.get("reason", ""), body.get("message", ""), _container(body)) for body in found)


def answers(topic: Topic, heard: Iterable[Heard]) -> bool:
    """Whether what was heard settles the question."""
    match topic:
        case Topic.KILL:
            return any(event.reason == "Killing" for event in heard)
        case Topic.SETUP:
            return setup_words(heard) is not None
        case Topic.END:
            return True  # what there was to hear of a pod that has ended was heard
    return any(event.reason == "Unhealthy" and event.message.startswith(_opening(topic)) for event in heard)


def topic_of(event: Heard) -> Topic | None:
    """The question about a pod that goes on which an Event settles."""
    return next((topic for topic in (Topic.STARTUP, Topic.READINESS, Topic.SETUP) if answers(topic, (event,))), None)


def kill_doubt(pods: Iterable[PodView], kills: Mapping[str, Kill], now: datetime) -> Doubt | None:
    """The question what a probe got, for which the kubelet is about to end a container."""
    for pod in pods:
        if is_killed(pod, kills):
            return Doubt(pod.uid, Topic.KILL, now)
    return None


def find_doubt(pods: Iterable[PodView], heard: Container[str], now: datetime) -> Doubt | None:
    """The question of the newest pod that leaves one open; first of those that have ended. ``heard`` are the uids of those asked about.

    A pod of ours never ends by itself. One that was evicted, but ended well when told to, bears no reason: its Events alone do.
    """
    newest_first = sorted(pods, key=lambda pod: (pod.created, pod.name), reverse=True)
    for pod in newest_first:
        if pod.finished and not pod.reason and not pod.terminating and pod.uid not in heard:
            return Doubt(pod.uid, Topic.END, now)
    for pod in newest_first:
        if not pod.alive or pod.ready or pod.node is None:
            continue
        if pod.sandboxed is False and pod.scheduled_at:
            return Doubt(pod.uid, Topic.SETUP, datetime.fromisoformat(pod.scheduled_at) + timedelta(seconds=MOUNT_SECONDS))
        for container in pod.containers:
            if was_signalled(container):
                return Doubt(pod.uid, Topic.KILL, now)
            if container.state == "running" and not container.ready and container.running_since:
                delay = container.readiness_delay if container.started else container.startup_delay
                since = datetime.fromisoformat(container.running_since)
                topic = Topic.READINESS if container.started else Topic.STARTUP
                return Doubt(pod.uid, topic, since + timedelta(seconds=delay + PROBE_SECONDS))
    return None


def was_signalled(container: ContainerView) -> bool:
    """Whether its last run may have been ended by the kubelet."""
    ended = container.state == "terminated"
    reason = container.reason if ended else container.last_reason
    return (container.exit_code if ended else container.last_exit_code) in SIGNALLED and reason != "OOMKilled"


def killed_for(container: ContainerView, heard: Iterable[Heard]) -> str | None:
    """The probe, startup or liveness, for which the kubelet ended the container's last run; None if it isn't known to have."""
    if not was_signalled(container):
        return None
    for event in heard:
        if event.reason == "Killing" and event.container == container.name:
            return _failed_probe(event.message)
    return None


def probe_answer(container: ContainerView, probe: str, heard: Iterable[Heard]) -> str | None:
    """What the probe last got: "HTTP probe failed with statuscode: 503"."""
    opening = _opening(probe)
    for event in heard:
        if event.reason == "Unhealthy" and event.container == container.name and event.message.startswith(opening):
            return event.message.removeprefix(opening)
    return None


def eviction_words(heard: Iterable[Heard]) -> str | None:
    """Why the kubelet evicted the pod, if it did."""
    return next((event.message for event in heard if event.reason == "Evicted"), None)


def setup_words(heard: Iterable[Heard]) -> str | None:
    """Why the pod's volumes or network aren't there."""
    return next((event.message for event in heard if event.reason in SETUP_REASONS), None)


def _failed_probe(words: str) -> str | None:
    return next((probe for probe in ("startup", "liveness") if f"failed {probe} probe" in words), None)


def _opening(probe: str) -> str:
    return f"{probe.capitalize()} probe failed: "


def _container(body: Body) -> str:
    path: str = (body.get("involvedObject") or {}).get("fieldPath") or ""
    return path.removeprefix("spec.containers{").removesuffix("}") if path.startswith("spec.containers{") else ""
