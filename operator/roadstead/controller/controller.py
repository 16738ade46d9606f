"""The controller: objects and mirrors feed one queue; workers take keys from it and reconcile them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from enum import StrEnum

from roadstead.api.platform import PlatformSpec
from roadstead.controller.artifacts import ArtifactReconciler
from roadstead.controller.drafts import Drafts
from roadstead.controller.endpoints import EndpointReconciler
from roadstead.controller.kinds import Key, Kind
from roadstead.controller.mirrors import Mirrors, Name
from roadstead.controller.objects import Objects
from roadstead.controller.pace import Pace
from roadstead.controller.platform import PlatformKeeper
from roadstead.controller.registration import Registrar
from roadstead.controller.retention import Retention
from roadstead.controller.said import Announcer
from roadstead.controller.usage import GpuUsage
from roadstead.controller.workloads import WorkloadReconciler
from roadstead.desired import ChildKind
from roadstead.kube.client import ApiClient
from roadstead.kube.errors import Fenced
from roadstead.kube.events import Recorder
from roadstead.kube.queue import WorkQueue
from roadstead.kube.resource import Resource
from roadstead.kube.workers import run_workers
from roadstead.observed.views import ChildView
from roadstead.resources import ARTIFACTS, ENDPOINTS, PLATFORMS, WORKLOADS

log = logging.getLogger(__name__)
SETTLE_SECONDS = 0.2
GATEWAY_PATIENCE_SECONDS = 3.0
"""How long the gateway may be without a ready pod before all Workloads at zero are looked at."""

OURS: Mapping[Kind, Resource] = {
    Kind.ARTIFACT: ARTIFACTS,
    Kind.WORKLOAD: WORKLOADS,
    Kind.DEPLOYMENT: ENDPOINTS,
    Kind.PLATFORM: PLATFORMS,
}


class Result(StrEnum):
    """How one reconcile ended, in controller-runtime's words."""

    SUCCESS = "success"
    REQUEUE_AFTER = "requeue_after"
    REQUEUE = "requeue"
    """Leadership was lost meanwhile."""
    ERROR = "error"


Reconciled = Callable[[Kind, Result, float], None]
"""Told of every reconcile that has ended: of what kind, how, and after how many seconds."""


class Controller:
    """Everything that reconciles, without any knowledge of kopf or of processes.

    ``client`` is fenced by leadership. The queue stays closed until it is opened by whoever knows that this replica leads and
    that every cache is filled; keys gather meanwhile. ``gateway`` are namespace and name of the gateway's Service.
    """

    def __init__(
        self,
        client: ApiClient,
        recorder: Recorder,
        *,
        gateway: Name = ("roadstead-system", "roadstead-gateway"),
        reconciled: Reconciled = lambda *_: None,
        waited: Callable[[float], None] = lambda _: None,
        settings_in_force: Callable[[PlatformSpec], None] = lambda _: None,
    ) -> None:
        self.queue: WorkQueue[Key] = WorkQueue(waited=waited)
        self.objects = Objects(self._declared, self._changed)
        self.mirrors = Mirrors(
            client, self._changed, self._child_changed, self._keda_changed, self._gateway_changed, gateway, self._pod_ready
        )
        self.gpus = GpuUsage(self.mirrors)
        self._client = client
        self._reconciled = reconciled
        drafts = Drafts(self.objects, self._has_children, self.queue.add)
        retention = Retention(client)
        self.platform = PlatformKeeper(client, self.objects, settings_in_force)
        self._pace = Pace(lambda name: self.queue.add(Key(Kind.WORKLOAD, *name), low=True), self.mirrors.deployments)
        self._workloads = WorkloadReconciler(
            client,
            self.objects,
            self.mirrors,
            Announcer(recorder),
            self.platform,
            drafts=drafts,
            retention=retention,
            gpus=self.gpus,
            pace=self._pace,
        )
        self._registrar = Registrar(client, self.objects)
        self._artifacts = ArtifactReconciler(client, self.objects, self._registrar, drafts, self.platform, retention)
        self._endpoints = EndpointReconciler(client, self.objects, self.mirrors, self.platform)

    async def run(self, workers: int) -> None:
        """Mirror and reconcile until cancelled."""
        async with asyncio.TaskGroup() as group:
            for loop in self.mirrors.loops():
                group.create_task(loop)
            group.create_task(run_workers(self.queue, self.reconcile, workers, kind=lambda key: key.kind))

    async def reconcile(self, key: Key) -> float | None:
        """Reconcile one object; returns the seconds after which to look again."""
        began = time.perf_counter()
        result = Result.ERROR
        try:
            again = await self._reconcile(key)
            result = Result.SUCCESS if again is None else Result.REQUEUE_AFTER
        except (Fenced, asyncio.CancelledError):
            result = Result.REQUEUE
            raise
        finally:
            self._reconciled(key.kind, result, time.perf_counter() - began)
        return again

    async def _reconcile(self, key: Key) -> float | None:
        match key.kind:
            case Kind.WORKLOAD:
                return await self._workloads.reconcile(key)
            case Kind.ARTIFACT:
                return await self._artifacts.reconcile(key)
            case Kind.DEPLOYMENT:
                return await self._endpoints.reconcile(key)
            case Kind.PLATFORM:
                return await self.platform.reconcile(key)

    def new_term(self) -> None:
        """Leadership was gained: nothing is believed of what was written in an earlier term, and everything is looked at."""
        self._workloads.forget_memories()
        self._registrar.new_term()
        self._pace.forget()
        self.enqueue_all()

    def enqueue_all(self) -> None:
        """Look at everything again, after what has really changed."""
        for kind in Kind:
            for key in list(self.objects.keys(kind)):
                self.queue.add(key, low=True)

    async def fill(self) -> None:
        """Fill the store from lists, once, before kopf's watches start: so it is known when every cache is filled."""
        for kind, resource in OURS.items():
            async for page in self._client.pages(resource):
                for body in page.items:
                    if self.objects.get(Key(kind, body["metadata"].get("namespace") or "", body["metadata"]["name"])) is not None:
                        continue  # what a watch has delivered is never older than a list
                    self.objects.saw(kind, {"apiVersion": resource.api_version, "kind": resource.kind, **body})

    async def sweep(self) -> None:
        """Forget what has gone: kopf never notices deletions that it missed while disconnected.

        Lists serve for that alone. Their content may be older than what the watches have delivered meanwhile.
        """
        for kind, resource in OURS.items():
            known = {key: stored.uid for key in self.objects.keys(kind) if (stored := self.objects.get(key)) is not None}
            async for page in self._client.pages(resource):
                for body in page.items:
                    known.pop(Key(kind, body["metadata"].get("namespace") or "", body["metadata"]["name"]), None)
            for key, uid in known.items():
                stored = self.objects.get(key)
                if stored is not None and stored.uid == uid:
                    log.info("%s was deleted while the watch was away", key)
                    self.objects.forget(key)
        if not self.queue.is_open:
            await self._let_go()

    async def _let_go(self) -> None:
        """Look at what is gone, which writes nothing. A standby's workers take no keys, so those of all that ever was would gather."""
        for key in self.queue.take(lambda key: self.objects.get(key) is None):
            await self._reconcile(key)

    def _declared(self, key: Key) -> None:
        """What users declared has changed, or what it refers to. A Platform is taken in at once, also while another replica leads."""
        if key.kind is Kind.PLATFORM:
            self.platform.look()
        self.queue.add(key)

    def _changed(self, key: Key) -> None:
        """A child, a pod or a status changed. They change in bursts, and one verdict, one status write, serves the whole burst."""
        self.queue.add_after(key, SETTLE_SECONDS)

    def _has_children(self, key: Key) -> bool:
        deployment, stored = self.mirrors.deployment((key.namespace, key.name)), self.objects.get(key)
        return deployment is not None and stored is not None and deployment.owner_uid == stored.uid

    def _keda_changed(self, present: bool) -> None:
        """Look at those that waited for KEDA; or, when its kinds have gone, at all: their ScaledObjects vanished before, and the API
        server refused to take new ones."""
        for key in self._workloads.take_those_without_keda() if present else list(self.objects.keys(Kind.WORKLOAD)):
            self.queue.add(key, low=True)

    def _gateway_changed(self, serving: bool) -> None:
        """Those at zero depend on it; nobody else does. A gateway that is back in a moment is worth no write for each of them."""
        if serving:
            self._look_at_sleeping()
        else:
            asyncio.get_running_loop().call_later(GATEWAY_PATIENCE_SECONDS, self._gateway_missed)

    def _gateway_missed(self) -> None:
        if not self.mirrors.gateway_serving:
            self._look_at_sleeping()

    def _look_at_sleeping(self) -> None:
        for key in self._workloads.take_sleeping():
            self.queue.add(key, low=True)

    def _child_changed(self, key: Key, kind: ChildKind, old: ChildView | None, new: ChildView | None) -> None:
        self._workloads.child_changed(key, kind, old, new)

    def _pod_ready(self, key: Key) -> None:
        self._workloads.pod_ready(key)
