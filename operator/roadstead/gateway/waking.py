"""Requests that wait for a pod, and the wakes that bring one.

A request is held inside Envoy while nobody answers its question for permission; no byte of it passes through Python. A wake begins with
the first request that finds no ready pod. It ends with the first ready pod, or fails when the operator says that the Workload is errored
or when its time is over; whoever asked may have left long before. After a failure one request now and then may try again, so that a
broken service costs a try per back-off and not one per request.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from roadstead.api.conditions import State
from roadstead.desired.pods import DRAIN_SECONDS
from roadstead.gateway.coldstart import ColdStart
from roadstead.gateway.directory import WORKLOAD, Directory, Target
from roadstead.gateway.views import PodView, WorkloadView
from roadstead.kube.resource import Key

log = logging.getLogger(__name__)
FULL_RETRY_SECONDS: Final = 2.0
ERRORED_RETRY_SECONDS: Final = 10.0
LONGEST_VERDICT_SECONDS: Final = DRAIN_SECONDS - 1
"""A pod that goes answers for DRAIN_SECONDS more, which is how long Envoy's memory of a verdict may lead to it."""


@dataclass(frozen=True, slots=True)
class Go:
    """A pod is there, and Envoy knows it.

    ``verdict_seconds`` is how long Envoy may remember the permission; ``cold_start`` are the phases, if the request waited.
    """

    verdict_seconds: float = 0.0
    cold_start: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What the caller is told in place of the service's answer."""

    status: int
    detail: str
    retry_after: float | None = None


@dataclass(slots=True, eq=False)
class Held:
    """A request that waits."""

    target: Target
    since: float
    phases: ColdStart
    future: asyncio.Future[Go | Answer]
    _leave: Callable[[Held], None]
    limit: asyncio.TimerHandle | None = None

    def cancel(self) -> None:
        """The caller has left."""
        self._leave(self)


@dataclass(slots=True, eq=False)
class _Wake:
    phases: ColdStart
    armed: bool
    """An errored Workload is errored by this wake: since it began the operator has said something else, or tells of another failure."""
    failed_before: str | None
    """When the wake before it failed, as the operator said at its beginning."""
    limit: asyncio.TimerHandle


@dataclass(frozen=True, slots=True)
class _Overdue:
    """A wake that took too long: what is told of it, and the operator's name of it (None: the count had not left zero)."""

    cause: str
    since: str | None


class Shared(Protocol):
    """Demand, as all gateway processes see it together."""

    def set_demand(self, key: str, held: int, waking: bool) -> None: ...


@dataclass(slots=True)
class Counts:
    """For /metrics."""

    wakes: int = 0
    failed_wakes: int = 0
    refused: int = 0
    expired: int = 0
    left: int = 0
    disappointed: int = 0
    """Held ones that were told why there will be no pod for them: the wake has failed, or nobody wants it to run any more."""


class Waking:
    """``started`` is told of each Workload that is to leave zero; ``woken`` of each cold start that came to its end."""

    def __init__(self, directory: Directory, shared: Shared) -> None:
        self.started: Callable[[WorkloadView], None] = lambda _: None
        self.woken: Callable[[ColdStart], None] = lambda _: None
        self.counts = Counts()
        self._directory = directory
        self._shared = shared
        self._held: dict[Target, set[Held]] = {}
        self._wakes: dict[Key, _Wake] = {}
        self._retry_at: dict[Key, float] = {}
        self._overdue: dict[Key, _Overdue] = {}
        """Until a pod is ready, the operator itself says errored, or somebody tries again."""
        self._total = 0
        self._loop = asyncio.get_running_loop()
        directory.opened, directory.changed, directory.moved = self._opened, self._changed, self._moved
        directory.gone = self._gone

    @property
    def total(self) -> int:
        """How many requests wait."""
        return self._total

    def decide(self, target: Target) -> Go | Held | Answer:
        """What becomes of a request of somebody who may make it."""
        gateway = self._directory.platform.gateway
        if target.open:
            return Go(min(gateway.verdict_seconds, LONGEST_VERDICT_SECONDS))
        view = self._wakeable(target, self._directory.workload(target.serving))
        if isinstance(view, Answer):
            return view
        if self._failed(view) and not target.ready and not self._may_try(view):
            return self._errored(view)
        if self._total >= gateway.queue_total or self.waiting(view.key) >= gateway.queue_per_workload:
            self.counts.refused += 1
            return Answer(429, "Too many requests wait for a pod already; try again", FULL_RETRY_SECONDS)
        return self._hold(target, view, gateway.cold_start_limit_seconds)

    def waiting(self, key: Key) -> int:
        """How many requests wait here for that Workload."""
        return sum(len(self._held[target]) for target in self._directory.in_front(key) if target in self._held)

    def wakes(self, key: Key) -> bool:
        """Whether this process is waking it, or a Deployment is to be switched to it."""
        return key in self._wakes or self._directory.awaited(key)

    def answer_all(self, answer: Answer) -> None:
        """The process ends: nobody is left without a word."""
        for target in list(self._held):
            for held in list(self._held[target]):
                self._settle(held, answer)

    def _wakeable(self, target: Target, view: WorkloadView | None) -> WorkloadView | Answer:
        """The Workload, if its user wants it to run; else what callers are told."""
        if view is None or view.deleted:
            return Answer(503, f'Workload "{target.workload}", which serves this, does not exist any more', ERRORED_RETRY_SECONDS)
        if view.suspended:
            return Answer(503, view.message if view.state in (State.STOPPED, State.STOPPING) else "The workload is being stopped")
        return view

    def _failed(self, view: WorkloadView) -> bool:
        """Whether its last wake has failed: as the operator says, or since its time was over and it is that wake's pods that are there."""
        late = self._overdue.get(view.key)
        same = late is not None and (not view.replicas or (late.since is not None and late.since == view.waking_since))
        return view.state == State.ERRORED or (view.sleeps and same)

    def _errored(self, view: WorkloadView) -> Answer:
        wait = self._retry_at.get(view.key, 0.0) - self._loop.time()
        late = self._overdue.get(view.key) if view.state != State.ERRORED else None
        return Answer(503, (late.cause if late else view.message) or "The workload is errored", wait if wait > 0 else ERRORED_RETRY_SECONDS)

    def _may_try(self, view: WorkloadView) -> bool:
        """Whether a request may wake a Workload whose last wake failed: one per back-off, and only from zero."""
        due = self._loop.time() >= self._retry_at.get(view.key, 0.0)
        return view.sleeps and not view.replicas and view.key not in self._wakes and due

    def _hold(self, target: Target, view: WorkloadView, limit_seconds: float) -> Held:
        wake = self._wakes.get(view.key) or self._begin(view)
        held = Held(target, self._loop.time(), wake.phases, self._loop.create_future(), self._left)
        held.limit = self._loop.call_later(limit_seconds, self._expire, held, limit_seconds)
        self._held.setdefault(target, set()).add(held)
        self._total += 1
        self._share(view.key)
        return held

    def _begin(self, view: WorkloadView) -> _Wake:
        gateway = self._directory.platform.gateway
        if self._failed(view):  # this is the one that tries
            self._retry_at[view.key] = self._loop.time() + gateway.retry_seconds
            self._overdue.pop(view.key, None)
        limit = self._loop.call_later(gateway.wake_limit_seconds, self._time_over, view.key, gateway.wake_limit_seconds)
        wake = self._wakes[view.key] = _Wake(ColdStart(self._loop.time()), view.state != State.ERRORED, view.failed_wake, limit)
        for pod in self._directory.pods_of(view.key):
            wake.phases.saw(pod, wake.phases.began)
        self.counts.wakes += 1
        if view.sleeps and not view.replicas:
            log.info("Waking Workload %s/%s", *view.key)
            self.started(view)
        return wake

    def _opened(self, target: Target) -> None:
        """Pods are ready and Envoy knows them: who waits may go."""
        key, now = target.serving, self._loop.time()
        wake = self._wakes.pop(key, None)
        self._retry_at.pop(key, None)
        self._overdue.pop(key, None)
        if wake is not None:
            wake.limit.cancel()
            wake.phases.ended = now
            self.woken(wake.phases)
        for held in list(self._held.get(target, ())):
            self._settle(held, Go(cold_start=held.phases.told(held.since, now)))
        self._share(key)

    def _changed(self, key: Key) -> None:
        """The Workload, or what is in front of it, has changed."""
        view, wake = self._directory.workload(key), self._wakes.get(key)
        if wake is not None and view is not None and (view.state != State.ERRORED or view.failed_wake != wake.failed_before):
            wake.armed = True
        if view is None or view.suspended or view.deleted or view.state == State.ERRORED:
            self._overdue.pop(key, None)
        for target in list(self._directory.in_front(key)) if view is not None else [t for t in self._held if t.serving == key]:
            if target.open or not self._held.get(target):
                continue
            found = self._wakeable(target, view)
            if isinstance(found, Answer):
                self._refuse(target, found)
        if wake is None:
            if view is not None and self.waiting(key) and not self._directory.ready(key):  # they have come from another Workload
                self._adopt(view)
            self._share(key)
            return
        if view is None or view.suspended or view.deleted:
            self._end(key, wake)
        elif view.state == State.ERRORED and wake.armed and not self._directory.ready(key):
            self._fail(key, wake, view.message)
        else:
            self._share(key)

    def _adopt(self, view: WorkloadView) -> None:
        """Requests that waited for another Workload wait for this one now: as if they had just come."""
        if not self._failed(view) or self._may_try(view):
            self._begin(view)
            return
        for target in list(self._directory.in_front(view.key)):
            self._refuse(target, self._errored(view))

    def _gone(self, target: Target) -> None:
        """Nobody can call it any more, and another of its name is another."""
        key = target.serving
        if target.kind == WORKLOAD:
            self._retry_at.pop(key, None)
            self._overdue.pop(key, None)
            if (wake := self._wakes.get(key)) is not None:
                self._end(key, wake)
        self._refuse(target, Answer(404, f"{target.kind.removesuffix('s')} {target.id} not found"))

    def _time_over(self, key: Key, seconds: float) -> None:
        view = self._directory.workload(key)
        if (wake := self._wakes.get(key)) is not None:
            cause = f"No pod was ready within {seconds:g} s" + (f": {view.message}" if view and view.message else "")
            if view is not None and (not view.replicas or view.waking_since):  # else nothing would bring it back to zero
                self._overdue[key] = _Overdue(cause, view.waking_since)
            self._fail(key, wake, cause)

    def _fail(self, key: Key, wake: _Wake, cause: str) -> None:
        """The wake has failed: everybody who waits is told why."""
        log.warning("Could not wake Workload %s/%s: %s", *key, cause)
        seconds = float(self._directory.platform.gateway.retry_seconds)
        self._retry_at[key] = self._loop.time() + seconds
        self.counts.failed_wakes += 1
        self._end(key, wake)
        for target in list(self._directory.in_front(key)):
            self._refuse(target, Answer(503, cause, seconds))

    def _end(self, key: Key, wake: _Wake) -> None:
        wake.limit.cancel()
        self._wakes.pop(key, None)
        self._share(key)

    def _refuse(self, target: Target, answer: Answer) -> None:
        for held in list(self._held.get(target, ())):
            self.counts.disappointed += 1
            self._settle(held, answer)

    def _moved(self, key: Key, pod: PodView | None) -> None:
        wake = self._wakes.get(key)
        if wake is not None and pod is not None:
            wake.phases.saw(pod, self._loop.time())

    def _expire(self, held: Held, seconds: float) -> None:
        view = self._directory.workload(held.target.serving)
        self.counts.expired += 1
        self._settle(held, Answer(504, f"No pod was ready within {seconds:g} s" + (f": {view.message}" if view and view.message else "")))

    def _left(self, held: Held) -> None:
        if not held.future.done():
            held.future.cancel()
            self.counts.left += 1
        self._drop(held)

    def _settle(self, held: Held, outcome: Go | Answer) -> None:
        if not held.future.done():
            held.future.set_result(outcome)
        self._drop(held)

    def _drop(self, held: Held) -> None:
        if held.limit is not None:
            held.limit.cancel()
        waiting = self._held.get(held.target)
        if waiting is not None and held in waiting:
            waiting.remove(held)
            self._total -= 1
            if not waiting:
                del self._held[held.target]
            self._share(held.target.serving)

    def _share(self, key: Key) -> None:
        """Tell the other processes, and through them KEDA."""
        self._shared.set_demand("/".join(key), self.waiting(key), self.wakes(key))
