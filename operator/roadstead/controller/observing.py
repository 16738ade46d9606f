"""What there is of one Workload, gathered from the mirrors for ``observed`` to judge. It reads, and writes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from roadstead.api.artifact import Artifact
from roadstead.api.workload import Workload
from roadstead.controller.gpu_offer import GpuOffer
from roadstead.controller.memory import Memory
from roadstead.controller.mirrors import Mirrors, Name
from roadstead.controller.platform import PlatformKeeper
from roadstead.controller.retention import Kept
from roadstead.controller.written import Written
from roadstead.desired import ChildKind, Desired
from roadstead.desired.autoscaler import scales_on_http
from roadstead.desired.content import content_digest
from roadstead.errors import Reason, Refusal
from roadstead.observed import Observed, Outcome, observe
from roadstead.observed.conditions import timestamp
from roadstead.observed.scaler import HpaView, ScaledObjectView, ScalerView, hpa_scaler, scaled_object_scaler


class Observer:
    """One instance serves all Workloads."""

    def __init__(self, mirrors: Mirrors, platform: PlatformKeeper) -> None:
        self._mirrors = mirrors
        self._platform = platform
        self._offer = GpuOffer(mirrors)

    def observe(
        self,
        workload: Workload,
        artifact: Artifact | None,
        desired: Desired,
        refusal: Refusal | None,
        written: Written,
        memory: Memory,
        previous: Mapping[str, Any],
        kept: Kept,
    ) -> Outcome:
        """The verdict on what there is now. ``previous`` is the status before."""
        name = (workload.metadata.namespace or "", workload.metadata.name)
        deployment = desired.children.get(ChildKind.DEPLOYMENT)
        live = self._mirrors.deployment(name)
        strange = live is not None and live.owner_uid != workload.metadata.uid
        pods = self._mirrors.pods(name)
        kills = self._mirrors.overheard.kills(pods)
        return observe(
            Observed(
                workload=workload,
                artifact=artifact,
                artifact_digest=content_digest(artifact.spec) if artifact else None,
                refusal=refusal,
                endpoint=self._platform.endpoint("workloads", name, previous),
                gateway_serving=self._mirrors.gateway_serving,
                internal_url=self._internal_url(name, workload, desired, refusal, previous),
                template=deployment.template if deployment else None,
                user_template=deployment.user_template if deployment else None,
                wanted=desired.replicas.count,
                scaler=self._scaler(name, workload, desired),
                deployment=None if strange else live,
                pods=() if strange else pods,
                served=memory.served and not strange,
                pending=written.pending,
                conflict=written.conflict,
                gpu_missing=self._gpu_missing(name, desired),
                applied=memory.applied,
                restorable_until=timestamp(kept.until) if kept.until is not None else None,
                lost_nodes=self._mirrors.lost(name),
                kills=kills,
                heard=memory.hearing.of(pods, kills),
            ),
            previous,
            datetime.now(UTC),
        )

    def _internal_url(
        self, name: Name, workload: Workload, desired: Desired, refusal: Refusal | None, previous: Mapping[str, Any]
    ) -> str | None:
        """The Service's address, unless somebody else's Service has the name."""
        service = self._mirrors.child(ChildKind.SERVICE, name)
        ours = service is not None and service.owner_uid == workload.metadata.uid
        if refusal is not None and refusal.reason is Reason.NAME_TAKEN and not ours:
            return None
        return desired.internal_url or previous.get("internalUrl")

    def _gpu_missing(self, name: Name, desired: Desired) -> str | None:
        """What no node offers; asked only while a pod has no node."""
        if not desired.gpus or all(pod.node for pod in self._mirrors.pods(name) if pod.alive):
            return None
        said = (self._offer.missing(wanted) for wanted in desired.gpus)
        return next((sentence for sentence in said if sentence is not None), None)

    def _scaler(self, name: Name, workload: Workload, desired: Desired) -> ScalerView | None:
        if workload.spec.suspend or workload.spec.deleted:
            return None
        if desired.children.get(ChildKind.SCALED_OBJECT) is not None:
            seen = self._mirrors.child(ChildKind.SCALED_OBJECT, name)
            behind = self._mirrors.kedas_hpa(name)
            return scaled_object_scaler(seen if isinstance(seen, ScaledObjectView) else None, behind.step if behind is not None else None)
        if scales_on_http(workload) and not self._mirrors.keda_present:
            return ScalerView("ScaledObject", None, missing=True)
        if desired.children.get(ChildKind.HORIZONTAL_POD_AUTOSCALER) is None:
            return None
        live = self._mirrors.child(ChildKind.HORIZONTAL_POD_AUTOSCALER, name)
        return hpa_scaler(live if isinstance(live, HpaView) else None)
