"""Who can be called, and where their pods are: from mirrors of the cluster to the clusters that Envoy knows.

A lookup does no I/O. What Envoy knows follows the mirrors change by change: a cluster is made with the first pod of an endpoint and
taken away a while after the last, so that a Workload at zero costs Envoy nothing, and no change costs more for there being more of them.
An endpoint is *open* while pods are ready and Envoy has said that it knows them; only then is a request let through.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

from roadstead import counts
from roadstead.api.container import Protocol as Wire
from roadstead.api.platform import PlatformSpec
from roadstead.gateway.views import Address, EndpointView, PodView, SliceView, WorkloadView
from roadstead.kube.resource import Key

log = logging.getLogger(__name__)
V = TypeVar("V")
I = TypeVar("I")  # noqa: E741 - what identifies a V
WORKLOAD, DEPLOYMENT = "workloads", "deployments"
KEEP_SECONDS: Final = 60.0
"""How long Envoy keeps a cluster without pods: longer than it keeps verdicts that name it, and than its figures wait to be read."""
PARTING_SECONDS: Final = 3.0
"""How long a switched Deployment's cluster keeps the pods of the Workload before: until Envoy has reported what they were asked last."""


class Upstreams(Protocol):
    """What Envoy is told."""

    def put(self, cluster: str, protocol: Wire, addresses: Iterable[Address], unready: Iterable[Address] = ()) -> None:
        """Make or change a cluster. Nobody is sent to the pods that are unready, but what is under way there counts."""

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
    opened_at: float = 0.0
    """When it was last opened, by the loop's clock."""
    parting: tuple[Address, ...] = ()
    """Pods of the Workload that has served until a moment ago."""

    @property
    def figures(self) -> str:
        """What it is counted under."""
        return counts.key(self.kind, self.id)

    @property
    def serving(self) -> Key:
        """Key of the Workload that serves."""
        return self.namespace, self.workload


class Directory:
    """Targets by kind and id. Told of every change of a view, it tells in turn: ``opened`` a target that is open now, ``changed`` the key
    of a Workload that isn't as it was, ``moved`` how far a pod of it has come, ``gone`` a target that nobody can call any more.
    """

    def __init__(self, upstreams: Upstreams) -> None:
        self.platform = PlatformSpec()
        """The administrator's settings; the defaults where there is none."""
        self.opened: Callable[[Target], None] = lambda _: None
        self.changed: Callable[[Key], None] = lambda _: None
        self.moved: Callable[[Key, PodView | None], None] = lambda *_: None
        self.gone: Callable[[Target], None] = lambda _: None
        self._upstreams = upstreams
        self._workloads: dict[Key, WorkloadView] = {}
        self._endpoints: dict[Key, EndpointView] = {}
        self._slices: dict[Key, dict[Key, SliceView]] = {}
        """By Workload."""
        self._pods: dict[Key, dict[Key, PodView]] = {}
        """By Workload."""
        self._targets: dict[tuple[str, str], Target] = {}
        self._front: dict[Key, dict[str, Target]] = {}
        """The Deployments that refer to a Workload or are served by it, by id."""
        self._waits: dict[Target, asyncio.Task[None]] = {}
        self._fading: dict[str, asyncio.TimerHandle] = {}

    def find(self, kind: str, id: str) -> Target | None:
        """What can be called under the id; None if nobody knows it, or it is deleted."""
        return self._targets.get((kind, id))

    def workload(self, key: Key) -> WorkloadView | None:
        """The Workload of that namespace and name."""
        return self._workloads.get(key)

    def in_front(self, key: Key) -> Iterator[Target]:
        """The targets that this Workload serves: its own, and the Deployments' that it stands behind."""
        view = self._workloads.get(key)
        if view is not None and (own := self._targets.get((WORKLOAD, view.id))) is not None:
            yield own
        for target in self._front.get(key, {}).values():
            if target.serving == key:
                yield target

    def awaited(self, key: Key) -> bool:
        """Whether a Deployment is to be switched to this Workload, and waits for its first ready pod."""
        return any(
            (view := self._endpoints.get((target.namespace, target.name))) is not None and view.wanted == key[1] != view.active
            for target in self._front.get(key, {}).values()
        )

    def pods_of(self, key: Key) -> Iterator[PodView]:
        """The Workload's pods."""
        return iter(self._pods.get(key, {}).values())

    def ready(self, key: Key) -> int:
        """How many ready pods the Workload has."""
        return sum(len(part.ready) for part in self._slices.get(key, {}).values())

    def put_workload(self, key: Key, old: WorkloadView | None, new: WorkloadView | None) -> None:
        """A Workload has come, changed or gone."""
        _put(self._workloads, key, new)
        if old is not None and (new is None or new.uid != old.uid or new.deleted):
            self._forget(WORKLOAD, old.id)
        if new is not None and not new.deleted and (WORKLOAD, new.id) not in self._targets:
            self._targets[WORKLOAD, new.id] = Target(WORKLOAD, new.id, new.uid, new.namespace, new.name, new.name)
        self._follow(key)
        self.changed(key)

    def put_endpoint(self, key: Key, old: EndpointView | None, new: EndpointView | None) -> None:
        """A Deployment of ours has come, changed or gone."""
        _put(self._endpoints, key, new)
        if old is not None:
            former = self._targets.get((DEPLOYMENT, old.id))
            for name in {old.wanted, old.active, former.workload if former is not None else old.active}:
                _keep(self._front, (old.namespace, name), old.id, None)
            if new is None or new.uid != old.uid:
                self._forget(DEPLOYMENT, old.id)
        if new is not None:
            target = self._targets.get((DEPLOYMENT, new.id))
            if target is None:
                target = Target(DEPLOYMENT, new.id, new.uid, new.namespace, new.name, new.active)
                self._targets[DEPLOYMENT, new.id] = target
            for name in {new.wanted, new.active, target.workload}:
                _keep(self._front, (new.namespace, name), new.id, target)
            self._aim(target)
        for view in (old, new):
            for name in {view.wanted, view.active} if view is not None else ():
                self.changed((key[0], name))

    def put_slice(self, key: Key, old: SliceView | None, new: SliceView | None) -> None:
        """Part of a Workload's endpoints has come, changed or gone."""
        if old is not None:
            _keep(self._slices, (key[0], old.workload), key, None)
        if new is not None:
            _keep(self._slices, (key[0], new.workload), key, new)
        for name in {view.workload for view in (old, new) if view is not None}:
            self._follow((key[0], name))
            self.changed((key[0], name))

    def put_pod(self, key: Key, old: PodView | None, new: PodView | None) -> None:
        """A pod has come, changed or gone."""
        view = new or old
        if view is not None and view.workload:
            workload = key[0], view.workload
            _keep(self._pods, workload, key, new)
            self.moved(workload, new)

    def _follow(self, key: Key) -> None:
        """The Workload or its pods have changed: so have the targets in front of it."""
        view = self._workloads.get(key)
        if view is not None and (own := self._targets.get((WORKLOAD, view.id))) is not None:
            self._tell(own)
        for target in list(self._front.get(key, {}).values()):
            self._aim(target)

    def _aim(self, target: Target) -> None:
        """Let a Deployment's target follow the active Workload, once that has a ready pod; as long as it has none the former one serves."""
        view, before = self._endpoints.get((target.namespace, target.name)), target.serving
        if view is not None and target.workload != view.active:
            former = self._workloads.get(target.serving)
            usable = former is not None and not former.suspended and not former.deleted and self.ready(target.serving)
            if self.ready((target.namespace, view.active)) or not usable:
                if target.workload != view.wanted:
                    _keep(self._front, target.serving, target.id, None)
                self._part(target)
                target.workload = view.active
        self._tell(target)
        if target.serving != before:  # who waits there waits for another now
            self.changed(before)
            self.changed(target.serving)

    def _part(self, target: Target) -> None:
        """It is about to be served by another Workload."""
        parting = tuple(address for part in self._slices.get(target.serving, {}).values() for address in part.ready)

        def parted() -> None:
            if target.parting is parting and self._targets.get((target.kind, target.id)) is target:
                target.parting = ()
                self._tell(target)

        if parting:
            target.parting = parting
            asyncio.get_running_loop().call_later(PARTING_SECONDS, parted)

    def _tell(self, target: Target) -> None:
        """Bring what Envoy knows of a target, and whether it is open, into line with the mirrors."""
        parts = self._slices.get(target.serving, {}).values()
        ready = [address for part in parts for address in part.ready]
        leaving = [address for part in parts for address in part.leaving]
        unready = [address for part in parts for address in part.unready]
        addresses = ready or leaving
        if ready and not target.ready:
            target.epoch += 1
        target.ready = bool(ready)
        if not target.ready:
            target.open = False
        if addresses or unready:
            # Envoy counts a cluster's requests from its next load report on: it is to know the cluster before the first one comes. And it
            # counts none at a pod that it isn't told of any more: it is to know the pod until the last one is over.
            chosen = "ready" if ready else "leaving" if leaving else "unready"
            protocol = next(part.protocol for part in parts if getattr(part, chosen))
            self._reach(target, protocol, addresses, [*(leaving if ready else ()), *unready, *target.parting])
        elif target.cluster:
            self._fade(target, emptied=True)

    def _reach(self, target: Target, protocol: Wire, addresses: list[Address], unready: list[Address]) -> None:
        cluster = target.figures if protocol is Wire.HTTP else f"{target.figures}.{protocol}"
        if cluster != target.cluster:
            if target.cluster:  # another protocol: verdicts that Envoy keeps name the old one for a moment
                self._fade(target, emptied=False)
            target.cluster, target.open = cluster, False
        if (timer := self._fading.pop(cluster, None)) is not None:
            timer.cancel()
        self._upstreams.put(cluster, protocol, addresses, unready)
        if target.ready and not target.open and target not in self._waits:
            self._waits[target] = asyncio.create_task(self._open(target))

    async def _open(self, target: Target) -> None:
        try:
            while target.ready and not target.open:
                before = target.epoch, target.cluster
                await self._upstreams.acknowledged(target.cluster)
                if target.ready and before == (target.epoch, target.cluster):
                    target.open, target.opened_at = True, asyncio.get_running_loop().time()
                    self.opened(target)
        except Exception:
            log.exception("Could not let requests through to %s", target.figures)
        finally:
            del self._waits[target]  # with no step in between: who is ready from now on is waited for anew

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
            self.gone(target)


def _put(views: dict[Key, V], key: Key, view: V | None) -> None:
    if view is None:
        views.pop(key, None)
    else:
        views[key] = view


def _keep(among: dict[Key, dict[I, V]], group: Key, id: I, view: V | None) -> None:
    """Put a view into a group, or take it out; no empty group is kept."""
    if view is not None:
        among.setdefault(group, {})[id] = view
    elif (kept := among.get(group)) is not None:
        kept.pop(id, None)
        if not kept:
            del among[group]


def _protocol(cluster: str) -> Wire:
    _, dot, suffix = cluster.partition(".")
    return Wire(suffix) if dot else Wire.HTTP
