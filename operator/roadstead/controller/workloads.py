"""The reconciliation of one Workload: resolve, build, write, observe, and one status patch if anything changed."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from roadstead.api.artifact import Artifact, ArtifactSpec
from roadstead.api.base import Metadata
from roadstead.api.platform import PlatformSpec, PodSettings
from roadstead.api.workload import Workload
from roadstead.controller.children import ChildWriter
from roadstead.controller.drafts import Drafts
from roadstead.controller.hearing import listen
from roadstead.controller.kinds import Key, Kind
from roadstead.controller.memory import Memory
from roadstead.controller.mirrors import Mirrors
from roadstead.controller.objects import Objects
from roadstead.controller.observing import Observer
from roadstead.controller.pace import Pace
from roadstead.controller.platform import PlatformKeeper
from roadstead.controller.retention import Retention
from roadstead.controller.said import Announcer
from roadstead.controller.usage import GpuUsage
from roadstead.controller.written import Written
from roadstead.desired import ChildKind, Desired, Inputs, build, stopped
from roadstead.desired.artifact import inline_spec
from roadstead.desired.autoscaler import scales_on_http
from roadstead.errors import Reason, Refusal
from roadstead.kube.client import ApiClient
from roadstead.kube.errors import NotFound
from roadstead.observed import Outcome
from roadstead.observed.hearing import Doubt
from roadstead.observed.scaler import ScaledObjectView, rested_template
from roadstead.observed.views import ChildView
from roadstead.resources import WORKLOADS

log = logging.getLogger(__name__)
REFUSED_AGAIN_SECONDS = 60.0
TAKEN_AGAIN_SECONDS = 10.0
"""A stranger's object isn't mirrored, so nobody tells when it has gone."""


class WorkloadReconciler:
    """Reconciles Workloads; one instance serves all of them, one call at a time for each key."""

    def __init__(
        self,
        client: ApiClient,
        objects: Objects,
        mirrors: Mirrors,
        announcer: Announcer,
        platform: PlatformKeeper,
        *,
        drafts: Drafts,
        retention: Retention,
        gpus: GpuUsage,
        pace: Pace,
    ) -> None:
        self._client = client
        self._objects = objects
        self._mirrors = mirrors
        self._announcer = announcer
        self._platform = platform
        self._drafts = drafts
        self._retention = retention
        self._gpus = gpus
        self._observer = Observer(mirrors, platform)
        self._pace = pace
        self._children = ChildWriter(client, mirrors, pace)
        self._memories: dict[Key, Memory] = {}
        self._doubted: set[Key] = set()
        self._without_keda: set[Key] = set()
        self._sleeping: set[Key] = set()

    def child_changed(self, key: Key, kind: ChildKind, old: ChildView | None, new: ChildView | None) -> None:
        """The mirror of a child has changed. If it has gone, it is asked before it is made again whether the Workload is still there."""
        if new is None and self._objects.get(key) is not None:
            self._doubted.add(key)
        if (memory := self._memories.get(key)) is not None:
            memory.saw(kind, old, new)

    def pod_ready(self, key: Key) -> None:
        """A pod of the Workload was heard to be ready."""
        if (memory := self._memories.get(key)) is not None:
            memory.heard_ready += 1

    def forget_memories(self) -> None:
        """A new term of leadership: what we wrote in an earlier one may have been overwritten by the replica that led in between.

        A reconcile still under way keeps the memory that it began with, and its key is looked at again.
        """
        self._memories.clear()

    def take_those_without_keda(self) -> set[Key]:
        """The Workloads that were last found to want KEDA while it wasn't there; called when it has come."""
        taken, self._without_keda = self._without_keda, set()
        return taken

    def take_sleeping(self) -> set[Key]:
        """The Workloads that were last found at zero; called when the gateway, which wakes them, has come or gone."""
        taken, self._sleeping = self._sleeping, set()
        return taken

    async def reconcile(self, key: Key) -> float | None:
        """Bring one Workload about. Returns the seconds after which to look again, if there is a reason to."""
        began, name = time.monotonic(), (key.namespace, key.name)
        try:
            return await self._reconcile(key)
        except NotFound:  # perhaps its namespace has gone, and it too, and kopf has missed that
            self._doubted.add(key)
            raise
        finally:
            self._pace.settle(name, self._mirrors.deployment(name), began)

    async def _reconcile(self, key: Key) -> float | None:
        workload = self._objects.workload(key)
        if workload is None:
            self._memories.pop(key, None)
            self._doubted.discard(key)
            self._without_keda.discard(key)
            self._sleeping.discard(key)
            self._gpus.forget(key)
            return None
        if workload.metadata.deletion_timestamp is not None or not await self._still_there(key, workload):
            return None
        previous = self._previous(key, workload)
        memory = self._memories[key]
        desired, artifact, refusal, written, resting = Desired(), None, None, Written(), None
        platform, in_place = PlatformSpec(), False
        days, deleted = self._platform.deleted_days, bool(workload.spec.deleted)
        kept = await self._retention.keep(WORKLOADS, key, workload.metadata, deleted=deleted, days=days)
        if kept.purged:
            return None
        try:
            platform = PlatformSpec() if deleted else self._platform.settings()  # deletion works whatever is wrong with the settings
            artifact = self._artifact(key, workload) if not deleted else None
            scaled = self._mirrors.child(ChildKind.SCALED_OBJECT, (key.namespace, key.name))
            proven, resting = rested_template(previous, scaled, platform.scaling.cooldown_seconds, datetime.now(UTC))
            inputs = Inputs(
                workload,
                artifact,
                platform,
                self._objects.deployments_of(key),
                keda_present=self._note_keda(key, workload),
                proven=proven,
            )
            desired, in_place = _built(inputs, previous)
            self._gpus.note(key, desired)
        except Refusal as error:
            refusal = error
            if workload.spec.suspend:  # whatever is wrong, stopping works
                desired = self._stopped(workload, platform)
                written = await self._children.write(workload, desired, memory, PodSettings())
        else:
            # A version that is replaced in place is being rolled out: what else is pending comes with it.
            written = await self._children.write(workload, desired, memory, platform.pods, rolling=in_place)
            refusal = written.refusal
        heard_ready = memory.heard_ready
        outcome = self._observer.observe(workload, artifact, desired, refusal, written, memory, previous, kept)
        if (doubt := outcome.doubt) is not None:
            said = self._mirrors.overheard.answer(doubt)
            if await listen(self._client, key.namespace, doubt, memory.hearing, said):
                heard_ready = memory.heard_ready
                outcome = self._observer.observe(workload, artifact, desired, refusal, written, memory, previous, kept)
        (self._sleeping.add if outcome.at_zero else self._sleeping.discard)(key)
        if written.unsettled:
            outcome.status["observedGeneration"] = previous.get("observedGeneration", 0)
        if (late := await self._say(key, workload, outcome, memory, previous)) > 0:
            return late
        memory.looked(heard_ready)
        again = (
            outcome.look_again_seconds,
            self._asks_seconds(outcome.doubt, memory),
            kept.look_again_seconds,
            written.look_again_seconds,
            resting if desired.children.get(ChildKind.SCALED_OBJECT) is not None else None,
            None if refusal is None else TAKEN_AGAIN_SECONDS if refusal.reason is Reason.NAME_TAKEN else REFUSED_AGAIN_SECONDS,
        )
        return min((seconds for seconds in again if seconds is not None), default=None)

    def _asks_seconds(self, doubt: Doubt | None, memory: Memory) -> float | None:
        """After how long to ask for Events, or to say what was overheard."""
        if doubt is None:
            return None
        return memory.hearing.wait_seconds(doubt, datetime.now(UTC), overheard=self._mirrors.overheard.answer(doubt) is not None)

    def _stopped(self, workload: Workload, platform: PlatformSpec) -> Desired:
        live = self._mirrors.child(ChildKind.SCALED_OBJECT, (workload.metadata.namespace or "", workload.metadata.name))
        ours = isinstance(live, ScaledObjectView) and live.owner_uid == workload.metadata.uid
        return stopped(workload, platform, scaled_object=ours, proven=isinstance(live, ScaledObjectView) and live.minimum == 0)

    def _note_keda(self, key: Key, workload: Workload) -> bool:
        """Whether KEDA is there; if not, who wants it is remembered."""
        present = self._mirrors.keda_present
        if present or not scales_on_http(workload):
            self._without_keda.discard(key)
        else:
            self._without_keda.add(key)
        return present

    def _previous(self, key: Key, workload: Workload) -> Mapping[str, Any]:
        """The status last written; a re-created Workload of the same name inherits nothing."""
        stored = self._objects.get(key)
        cached: Mapping[str, Any] = stored.status() if stored else {}
        uid = workload.metadata.uid or ""
        memory = self._memories.get(key)
        if memory is None or memory.uid != uid:
            memory = self._memories[key] = Memory.begun(uid, cached, time.monotonic())
        return memory.previous_status(cached, time.monotonic())

    def _artifact(self, key: Key, workload: Workload) -> Artifact:
        if workload.spec.artifact is not None:
            metadata = Metadata(name=key.name, namespace=key.namespace, uid=workload.metadata.uid)
            return Artifact(metadata=metadata, spec=ArtifactSpec.model_validate(inline_spec(workload)))
        name = workload.spec.artifact_ref.name if workload.spec.artifact_ref else ""
        artifact = self._objects.artifact(Key(Kind.ARTIFACT, key.namespace, name))
        if artifact is None:
            raise Refusal(
                Reason.ARTIFACT_MISSING,
                f'Artifact "{name}" does not exist in namespace {key.namespace}; create it or correct spec.artifactRef.name',
            )
        if artifact.spec.deleted and not workload.spec.deleted:
            raise Refusal(Reason.ARTIFACT_DELETED, f'Artifact "{name}" is deleted; restore it (spec.deleted: false) or refer to another')
        if not workload.spec.suspend and not workload.spec.deleted:
            self._drafts.check(key, artifact)
        return artifact

    async def _still_there(self, key: Key, workload: Workload) -> bool:
        """Ask the API server about a doubted Workload: kopf misses deletions during a disconnect, and children must not come back."""
        if key not in self._doubted:
            return True
        try:
            body = await self._client.get(WORKLOADS, key.namespace, key.name)
        except NotFound:
            self._objects.forget(key)
            return False
        alive = body["metadata"]["uid"] == workload.metadata.uid and "deletionTimestamp" not in body["metadata"]
        if alive:
            self._doubted.discard(key)
        return alive

    async def _say(self, key: Key, workload: Workload, outcome: Outcome, memory: Memory, previous: Mapping[str, Any]) -> float:
        """Write the status if it changed. Returns how long to wait where it was written too often of late, else 0."""
        if outcome.status == previous:
            return 0.0
        if (wait := memory.budget.wait_seconds(time.monotonic())) > 0:
            return wait
        try:
            await self._client.set_status(WORKLOADS, key.namespace, key.name, memory.uid, outcome.status)
        except NotFound:
            self._objects.forget(key)
            return 0.0
        memory.said, memory.said_at = outcome.status, time.monotonic()
        await self._announcer.workload(workload, previous, outcome)
        return 0.0


def _built(inputs: Inputs, previous: Mapping[str, Any]) -> tuple[Desired, bool]:
    """What must exist, and whether it replaces pods in place because that was decided for this very version."""
    desired = build(inputs)
    revision = previous.get("inPlaceRevision")
    deployment = desired.children.get(ChildKind.DEPLOYMENT)
    if revision is None or deployment is None or deployment.template != revision:
        return desired, False
    return build(replace(inputs, in_place=True)), True
