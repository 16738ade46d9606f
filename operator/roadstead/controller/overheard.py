"""What kubelets say of our pods in Events, heard as it is said.

Two streams, none of them kept: the Events of containers that are ended, and all warnings about pods. Of these, one in each matter is
remembered for each pod of ours, as long as the pod is there. Whoever was away when it was said can still ask (``hearing``).
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from roadstead.kube.client import ApiClient
from roadstead.kube.listener import Listener
from roadstead.kube.resource import CORE_EVENTS, Body
from roadstead.observed.hearing import Doubt, Heard, Kill, Topic, heard_of, kill_of, topic_of
from roadstead.observed.views import PodView

KILLS = "involvedObject.kind=Pod,reason=Killing"
"""One for each container that a kubelet ends, also with its pod."""
WARNINGS = "involvedObject.kind=Pod,type=Warning"
"""A kubelet repeats one about a pod every five minutes at most, after the first few (client-go's spam filter)."""


class Overheard:
    """``pod`` finds a pod of ours by namespace and name; ``notify`` is called with it when something was said that changes a verdict."""

    def __init__(self, client: ApiClient, pod: Callable[[tuple[str, str]], PodView | None], notify: Callable[[str, PodView], None]) -> None:
        self._pod = pod
        self._notify = notify
        self._kills: dict[str, Kill] = {}
        self._answers: dict[str, dict[Topic, Heard]] = {}
        self._listeners = [Listener(client, CORE_EVENTS, field_selector=chosen, tell=self._tell) for chosen in (KILLS, WARNINGS)]

    def loops(self) -> list[Coroutine[Any, Any, None]]:
        """The coroutines to run for the life of the process."""
        return [listener.run() for listener in self._listeners]

    def kills(self, pods: Iterable[PodView]) -> dict[str, Kill]:
        """The last kill for a failing probe of each of these pods, by uid."""
        return {pod.uid: kill for pod in pods if (kill := self._kills.get(pod.uid)) is not None}

    def answer(self, doubt: Doubt) -> Heard | None:
        """What was last said in that matter."""
        return self._answers.get(doubt.uid, {}).get(doubt.topic)

    def forget(self, uid: str) -> None:
        """The pod is gone."""
        self._kills.pop(uid, None)
        self._answers.pop(uid, None)

    def _tell(self, event: Body) -> None:
        about = event["involvedObject"]
        pod = self._pod((about.get("namespace", ""), about.get("name", "")))
        if pod is None or not pod.workload or pod.uid != about.get("uid"):
            return
        if (kill := kill_of(event)) is not None:
            self._kills[pod.uid] = kill
            self._notify(about["namespace"], pod)
            return
        (heard,) = heard_of([event])
        if (topic := topic_of(heard)) is not None:
            known = self._answers.setdefault(pod.uid, {})
            before, known[topic] = known.get(topic), heard
            if (before is None or before.message != heard.message) and not pod.ready:
                self._notify(about["namespace"], pod)
