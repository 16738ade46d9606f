"""Who can be called, and where their pods are: from mirrors of the cluster to the clusters that Envoy knows.

A lookup does no I/O. What Envoy knows follows the mirrors change by change: a cluster is made with the first pod of an endpoint and
taken away a while after the last, so that a Workload at zero costs Envoy nothing, and no change costs more for there being more of them.
An endpoint is *open* while pods are ready and Envoy has said that it knows them; only then is a request let through.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from roadstead.api.container import Protocol as Wire
from roadstead.api.platform import Platform, PlatformSpec
from roadstead.gateway.views import (
    Address,
    EndpointView,
    PodView,
    SliceView,
    WorkloadView,
    endpoint_view,
    pod_view,
    slice_view,
    workload_view,
)
from roadstead.kube.client import ApiClient
from roadstead.kube.reflector import Reflector
from roadstead.kube.resource import ENDPOINT_SLICES, PODS, Key
from roadstead.names import CHILDREN_SELECTOR
from roadstead.resources import ENDPOINTS, PLATFORM_NAME, PLATFORMS, WORKLOADS

log = logging.getLogger(__name__)
WORKLOAD, DEPLOYMENT = "workloads", "deployments"
LETTERS: Final = {WORKLOAD: "w", DEPLOYMENT: "d"}
KEEP_SECONDS: Final = 60.0
"""How long Envoy keeps a cluster without pods: longer than it keeps verdicts that name it, and than its figures wait to be read."""


class Upstreams(Protocol):
    """What Envoy is told."""

    def put(self, cluster: str, protocol: Wire, addresses: Iterable[Address]) -> None:
        """Make or change a cluster."""

    def drop(self, cluster: str) -> None:
        """Take it away."""

    async def acknowledged(self, cluster: str) -> None:
        """Return when every Envoy that listens knows the cluster's present addresses."""


@dataclass(slots=True, eq=False)
class Target:
    """An endpoint that can be called: a Workload, or a Deployment of ours in front of one. One object for the life of the endpoint."""

    kind: str
    id: str
    uid: str
    namespace: str
    name: str
    workload: str
    """Name of the Workload that serves."""
    cluster: str = ""
    """What Envoy calls it now; empty before its first pod."""
    ready: bool = False
    open: bool = False
    epoch: int = 0
    """How often it has become ready."""

    @property
    def figures(self) -> str:
        """What it is counted under."""
        return f"{LETTERS[self.kind]}-{self.id}"

    @property
    def serving(self) -> Key:
        """Key of the Workload that serves."""
        return self.namespace, self.workload


class Directory:
    """Targets by kind and id. ``opened`` and ``changed`` are told of what happens to targets and to Workloads, ``moved`` of pods."""

    def __init__(self, client: ApiClient, upstreams: Upstreams) -> None:
        self.workloads = Reflector(client, WORKLOADS, project=workload_view, notify=self._workload)
        self.endpoints = Reflector(client, ENDPOINTS, project=endpoint_view, notify=self._endpoint)
        self.slices = Reflector(client, ENDPOINT_SLICES, project=slice_view, notify=self._slice, label_selector=CHILDREN_SELECTOR)
        self.pods = Reflector(client, PODS, project=pod_view, notify=self._pod, label_selector=CHILDREN_SELECTOR)
        self._platforms: Reflector[PlatformSpec] = Reflector(
            client, PLATFORMS, project=lambda body: Platform.model_validate(body).spec, notify=self._platform
        )
        self.opened: Callable[[Target], None] = lambda _: None
        self.changed: Callable[[Key], None] = lambda _: None
        self.moved: Callable[[Key, PodView | None], None] = lambda *_: None
        self.configured: Callable[[PlatformSpec], None] = lambda _: None
        self._without = PlatformSpec()
        self._upstreams = upstreams
        self._targets: dict[tuple[str, str], Target] = {}
        self._slices: defaultdict[Key, set[Key]] = defaultdict(set)
        """By Workload."""
        self._front: defaultdict[Key, dict[str, Target]] = defaultdict(dict)
        """The Deployments that refer to a Workload or are served by it, by id."""
        self._pods: defaultdict[Key, set[Key]] = defaultdict(set)
        """By Workload."""
        self._waits: dict[str, asyncio.Task[None]] = {}
        self._fading: dict[str, asyncio.TimerHandle] = {}

    @property
    def platform(self) -> PlatformSpec:
        """The administrator's settings; the defaults where there is none."""
        return self._platforms.items.get(("", PLATFORM_NAME), self._without)

    @property
    def reflectors(self) -> tuple[Reflector[Any], ...]:
        return (self._platforms, self.workloads, self.endpoints, self.slices, self.pods)

    def loops(self) -> Mapping[str, Coroutine[Any, Any, None]]:
        """The coroutines to run for the life of the process."""
        return {f"mirror of {reflector.resource.plural}": reflector.run() for reflector in self.reflectors}

    @property
    def filled(self) -> bool:
        """Whether every mirror has been filled once."""
        return all(reflector.synced.is_set() for reflector in self.reflectors)

    async def wait_filled(self) -> None:
        """Return when every mirror has been filled once."""
        await asyncio.gather(*(reflector.synced.wait() for reflector in self.reflectors))

    def find(self, kind: str, id: str) -> Target | None:
        """What can be called under the id; None if nobody knows it, or it is deleted."""
        return self._targets.get((kind, id))

    def workload(self, key: Key) -> WorkloadView | None:
        """The Workload of that namespace and name."""
        return self.workloads.items.get(key)

    def in_front(self, key: Key) -> Iterator[Target]:
        """The targets that this Workload serves: its own, and the Deployments' that it stands behind."""
        view = self.workloads.items.get(key)
        if view is not None and (own := self._targets.get((WORKLOAD, view.id))) is not None:
            yield own
        for target in self._front.get(key, {}).values():
            if target.serving == key:
                yield target

    def awaited(self, key: Key) -> bool:
        """Whether a Deployment is to be switched to this Workload, and waits for its first ready pod."""
        return any(
            (view := self.endpoints.items.get((target.namespace, target.name))) is not None and view.wanted == key[1] != view.active
            for target in self._front.get(key, {}).values()
        )

    def pods_of(self, key: Key) -> Iterator[PodView]:
        """The Workload's pods."""
        return (self.pods.items[pod] for pod in self._pods.get(key, ()))

    def ready(self, key: Key) -> int:
        """How many ready pods the Workload has."""
        return sum(len(self.slices.items[part].ready) for part in self._slices.get(key, ()))

    def _workload(self, key: Key, old: WorkloadView | None, new: WorkloadView | None) -> None:
        if old is not None and (new is None or new.uid != old.uid or new.deleted):
            self._forget(WORKLOAD, old.id)
        if new is not None and not new.deleted and (WORKLOAD, new.id) not in self._targets:
            self._targets[WORKLOAD, new.id] = Target(WORKLOAD, new.id, new.uid, new.namespace, new.name, new.name)
        self._follow(key)
        self.changed(key)

    def _endpoint(self, key: Key, old: EndpointView | None, new: EndpointView | None) -> None:
        if old is not None:
            for name in {old.wanted, old.active}:
                self._front[old.namespace, name].pop(old.id, None)
            if new is None or new.uid != old.uid:
                self._forget(DEPLOYMENT, old.id)
        if new is None:
            return
        target = self._targets.get((DEPLOYMENT, new.id))
        if target is None:
            target = Target(DEPLOYMENT, new.id, new.uid, new.namespace, new.name, new.active)
            self._targets[DEPLOYMENT, new.id] = target
        for name in {new.wanted, new.active, target.workload}:
            self._front[new.namespace, name][new.id] = target
        self._aim(target)
        for name in {new.wanted, new.active}:
            self.changed((new.namespace, name))

    def _slice(self, key: Key, old: SliceView | None, new: SliceView | None) -> None:
        for view in (old, new):
            if view is not None:
                workload = key[0], view.workload
                (self._slices[workload].add if view is new else self._slices[workload].discard)(key)
                self._follow(workload)
                self.changed(workload)

    def _pod(self, key: Key, old: PodView | None, new: PodView | None) -> None:
        view = new or old
        if view is None or not view.workload:
            return
        workload = key[0], view.workload
        (self._pods[workload].add if new is not None else self._pods[workload].discard)(key)
        self.moved(workload, new)

    def _platform(self, *_: object) -> None:
        self.configured(self.platform)

    def _follow(self, key: Key) -> None:
        """The Workload or its pods have changed: so have the targets in front of it."""
        view = self.workloads.items.get(key)
        if view is not None and (own := self._targets.get((WORKLOAD, view.id))) is not None:
            self._tell(own)
        for target in list(self._front.get(key, {}).values()):
            self._aim(target)

    def _aim(self, target: Target) -> None:
        """Let a Deployment's target follow the active Workload, once that has a ready pod; as long as it has none the former one serves."""
        view = self.endpoints.items.get((target.namespace, target.name))
        if view is not None and target.workload != view.active:
            former = self.workloads.items.get(target.serving)
            usable = former is not None and not former.suspended and not former.deleted and self.ready(target.serving)
            if self.ready((target.namespace, view.active)) or not usable:
                if target.workload != view.wanted:
                    self._front[target.serving].pop(target.id, None)
                target.workload = view.active
        self._tell(target)

    def _tell(self, target: Target) -> None:
        """Bring what Envoy knows of a target, and whether it is open, into line with the mirrors."""
        parts = [self.slices.items[part] for part in self._slices.get(target.serving, ())]
        ready = [address for part in parts for address in part.ready]
        addresses = ready or [address for part in parts for address in part.leaving]
        if ready and not target.ready:
            target.epoch += 1
        target.ready = bool(ready)
        if not target.ready:
            target.open = False
        if addresses:
            protocol = next(part.protocol for part in parts if part.ready or part.leaving)
            self._reach(target, protocol, addresses)
        elif target.cluster:
            self._fade(target, emptied=True)

    def _reach(self, target: Target, protocol: Wire, addresses: list[Address]) -> None:
        cluster = target.figures if protocol is Wire.HTTP else f"{target.figures}.{protocol}"
        if cluster != target.cluster:
            if target.cluster:  # another protocol: verdicts that Envoy keeps name the old one for a moment
                self._fade(target, emptied=False)
            target.cluster, target.open = cluster, False
        if (timer := self._fading.pop(cluster, None)) is not None:
            timer.cancel()
        self._upstreams.put(cluster, protocol, addresses)
        if target.ready and not target.open and cluster not in self._waits:
            task = asyncio.create_task(self._open(target, cluster))
            self._waits[cluster] = task
            task.add_done_callback(lambda _: self._waits.pop(cluster, None))

    async def _open(self, target: Target, cluster: str) -> None:
        while target.ready and not target.open and target.cluster == cluster:
            epoch = target.epoch
            await self._upstreams.acknowledged(cluster)
            if target.ready and target.epoch == epoch and target.cluster == cluster:
                target.open = True
                self.opened(target)

    def _fade(self, target: Target, *, emptied: bool) -> None:
        """No pods any more: Envoy hears so at once, and forgets the cluster after a while."""
        cluster = target.cluster
        if cluster in self._fading:
            return
        if emptied:
            self._upstreams.put(cluster, _protocol(cluster), ())
        loop = asyncio.get_running_loop()
        self._fading[cluster] = loop.call_later(KEEP_SECONDS, self._faded, target, cluster)

    def _faded(self, target: Target, cluster: str) -> None:
        self._fading.pop(cluster, None)
        self._upstreams.drop(cluster)
        if target.cluster == cluster:
            target.cluster = ""

    def _forget(self, kind: str, id: str) -> None:
        target = self._targets.pop((kind, id), None)
        if target is not None:
            target.open = target.ready = False
            if target.cluster:
                self._fade(target, emptied=True)


def _protocol(cluster: str) -> Wire:
    _, dot, suffix = cluster.partition(".")
    return Wire(suffix) if dot else Wire.HTTP
