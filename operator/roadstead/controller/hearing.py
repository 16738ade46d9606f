"""Asking for the Events of a pod, where only they tell what is wrong and nobody has heard them when they came.

The API server finds them by reading all Events of the namespace, so it is asked seldom: for one pod at a time, not twice within five
seconds for one Workload, and ever more seldom while there is no answer.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from roadstead.kube.client import ApiClient
from roadstead.kube.errors import ApiError
from roadstead.kube.resource import CORE_EVENTS
from roadstead.observed.hearing import Doubt, Heard, Kill, Topic, answers, heard_of, is_killed
from roadstead.observed.views import PodView

log = logging.getLogger(__name__)
PAUSE = timedelta(seconds=5)
"""Between two questions of one Workload, whatever they are about."""
FIRST_WAIT = timedelta(seconds=10)
"""Before the same question is asked again; the kubelet may not have met the trouble yet."""
LONGEST_WAIT = timedelta(minutes=10)
EVENTS_LIMIT = 50
Question = tuple[str, Topic]
"""A pod's uid and what is asked about it."""


@dataclass(slots=True)
class Hearing:
    """What was asked for one Workload, when and how often, and what was heard."""

    heard: dict[str, tuple[Heard, ...]] = field(default_factory=dict)
    asked: dict[Question, tuple[int, datetime]] = field(default_factory=dict)
    settled: set[Question] = field(default_factory=set)

    def of(self, pods: Iterable[PodView], kills: Mapping[str, Kill]) -> Mapping[str, tuple[Heard, ...]]:
        """What was heard of these pods; all others are forgotten.

        So is what was heard of one that is ready, unless it is being killed: when it isn't ready again, that is another trouble. How often
        was asked stays, lest a pod that comes and goes make us ask at each turn.
        """
        known = {pod.uid: pod for pod in pods}
        troubled = {uid for uid, pod in known.items() if not pod.ready or is_killed(pod, kills)}
        self.heard = {uid: heard for uid, heard in self.heard.items() if uid in troubled}
        self.settled = {question for question in self.settled if question[0] in troubled}
        self.asked = {question: times for question, times in self.asked.items() if question[0] in known}
        return self.heard

    def wait_seconds(self, doubt: Doubt, now: datetime, *, overheard: bool = False) -> float | None:
        """How long to wait before asking, 0 for now; None where the answer is known. What was overheard needs no asking, only time."""
        question = (doubt.uid, doubt.topic)
        if question in self.settled:
            return None
        if overheard:
            return max(0.0, (doubt.due - now).total_seconds())
        times, last = self.asked.get(question, (0, None))
        due = [doubt.due, *(at + PAUSE for _, at in self.asked.values())]
        if last is not None:
            due.append(last + min(FIRST_WAIT * 2 ** min(times - 1, 6), LONGEST_WAIT))
        return max(0.0, (max(due) - now).total_seconds())

    def note(self, doubt: Doubt, heard: tuple[Heard, ...], now: datetime) -> None:
        """Remember that it was asked, and what was heard."""
        question = (doubt.uid, doubt.topic)
        self.asked[question] = (self.asked.get(question, (0, None))[0] + 1, now)
        if heard or doubt.topic is Topic.END:
            self.heard[doubt.uid] = heard
        if answers(doubt.topic, heard):
            self.settled.add(question)


async def listen(client: ApiClient, namespace: str, doubt: Doubt, hearing: Hearing, overheard: Heard | None) -> bool:
    """Take what was overheard, or else ask, if it is time to; returns whether anything was heard.

    That the API server doesn't answer is logged, and holds nothing up.
    """
    now = datetime.now(UTC)
    if hearing.wait_seconds(doubt, now, overheard=overheard is not None) != 0:
        return False
    if overheard is not None:
        hearing.note(doubt, (overheard, *hearing.heard.get(doubt.uid, ())), now)
        return True
    selector = f"involvedObject.uid={doubt.uid}"
    heard: tuple[Heard, ...] = ()
    try:
        async with aclosing(client.pages(CORE_EVENTS, namespace=namespace, field_selector=selector, limit=EVENTS_LIMIT)) as pages:
            async for page in pages:
                heard = heard_of(page.items)
                break
    except ApiError as error:
        log.warning("Events of a pod of namespace %s can't be read, so its status says less: %s", namespace, error)
    hearing.note(doubt, heard, now)
    return bool(heard)
