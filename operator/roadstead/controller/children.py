"""Bringing the children of a Workload to what is desired: one server-side apply for each that differs, none for those that don't.

Here is what waits for what. How a child is written, ``applier`` says; the replica count is ``replicas``'.
"""

from __future__ import annotations

import logging
import time

from roadstead.api.platform import PodRollout, PodSettings
from roadstead.api.workload import Workload
from roadstead.controller.applier import Applier
from roadstead.controller.decide import Action, decide
from roadstead.controller.kinds import CHILDREN
from roadstead.controller.memory import ECHO_SECONDS, Memory
from roadstead.controller.mirrors import Mirrors, Name
from roadstead.controller.owner import Whose, taken, whose
from roadstead.controller.pace import Pace
from roadstead.controller.repairs import held, kept_away, tell_quarrels
from roadstead.controller.replicas import ReplicaWriter, starts
from roadstead.controller.scalers import SCALERS, clear_kedas_hpa, former_scaler
from roadstead.controller.written import PATIENT_LOOK_SECONDS, Written
from roadstead.desired import Child, ChildKind, Desired
from roadstead.errors import Refusal
from roadstead.kube.client import ApiClient
from roadstead.kube.errors import ApiError, Forbidden, Invalid
from roadstead.observed.views import DeploymentView

log = logging.getLogger(__name__)
REFUSED_LOOK_SECONDS = 30.0
FORMER_LOOK_SECONDS = 1.0
"""For what the mirrors may not show, and so can't tell of its going."""


class ChildWriter:
    """Brings the children of one Workload at a time to what is desired."""

    def __init__(self, client: ApiClient, mirrors: Mirrors, pace: Pace) -> None:
        self._client = client
        self._mirrors = mirrors
        self._pace = pace
        self._replicas = ReplicaWriter(client, mirrors)
        self._applier = Applier(client, self._replicas)

    async def write(self, workload: Workload, desired: Desired, memory: Memory, settings: PodSettings, *, rolling: bool = False) -> Written:
        """Write what differs. Refusals by the API server are returned, transient errors raised.

        ``rolling``: the pods are being replaced anyway, so what else is pending for them comes along.
        """
        name = (workload.metadata.namespace or "", workload.metadata.name)
        written = Written()
        for kind, child in desired.children.items():
            if child is None:
                try:
                    await self._remove(kind, name, memory, workload, written)
                except (Invalid, Forbidden) as error:  # somebody's webhook, or a right that was taken away
                    written.pending = f"{CHILDREN[kind].kind} {name[1]} can't be deleted: {error.message}"
                    written.look_again(REFUSED_LOOK_SECONDS)
        await clear_kedas_hpa(self._client, self._mirrors, name, memory, written)
        former = former_scaler(self._mirrors, workload, desired, memory)
        for child in desired.children.values():
            if child is not None and not (former and child.kind in SCALERS):
                try:
                    await self._bring(child, name, workload, desired, memory, written, settings, rolling=rolling)
                except ApiError as error:
                    written.answered(child, error, memory)
                except Refusal as refused:
                    written.refusal = refused
                    if child.kind is ChildKind.DEPLOYMENT:
                        return written  # nothing of ours may select, scale or budget a stranger's pods
        if former and desired.replicas.count != 0:
            written.awaits = f"The change of scaling waits for {former} to be gone; check that KEDA's operator is running"
            written.look_again(PATIENT_LOOK_SECONDS)
        else:
            await self._replicas.bring(workload, desired, memory, written)
        written.be_patient(memory)
        tell_quarrels(memory, written)
        return written

    async def _bring(
        self,
        child: Child,
        name: Name,
        workload: Workload,
        desired: Desired,
        memory: Memory,
        written: Written,
        settings: PodSettings,
        *,
        rolling: bool,
    ) -> None:
        live = self._mirrors.child(child.kind, name)
        if memory.awaits_echo(child.kind, live, time.monotonic()):
            written.look_again(ECHO_SECONDS)
            return
        decision = decide(
            child,
            live,
            owner_uid=workload.metadata.uid or "",
            remembered=memory.applied.get(child.kind),
            pods=any(not pod.finished for pod in self._mirrors.pods(name)) and settings.rollout is not PodRollout.IMMEDIATE and not rolling,
        )
        if decision.paced and not rolling and not starts(live, desired) and not self._pace.admits(name, settings.rollouts_at_once):
            most = f"{settings.rollouts_at_once} Workloads at once, as Platform's pods.rolloutsAtOnce says"
            written.pending = f"A platform, importance or operator change waits for its turn: it rolls {most}"
            return
        match decision.action:
            case Action.NOTHING:
                return
            case Action.LEAVING:
                written.await_former(child, PATIENT_LOOK_SECONDS)
                return
            case Action.WAIT:
                written.pending = decision.why[0].upper() + decision.why[1:]
                return
            case Action.TAKEN | Action.CREATE:
                at_zero = child.kind is ChildKind.DEPLOYMENT and desired.replicas.count == 0
                if decision.action is Action.CREATE and kept_away(child, memory, written):
                    return
                if decision.action is Action.CREATE and await self._applier.create(child, memory, written, at_zero=at_zero):
                    log.info("%s %s/%s is written: %s", CHILDREN[child.kind].kind, *name, decision.why)
                    return
                owner = await whose(self._client, child)
                if owner is Whose.STRANGERS:
                    raise taken(child)
                if owner is Whose.FORMER or decision.action is Action.TAKEN:  # TAKEN, and no stranger's: the mirror lags
                    written.await_former(child, FORMER_LOOK_SECONDS)
                    return
                if at_zero:
                    await self._applier.create_at_zero(child, memory, written)
                    log.info("%s %s/%s is written: %s", CHILDREN[child.kind].kind, *name, decision.why)
                    return
            case Action.APPLY if child.kind not in memory.applied and isinstance(live, DeploymentView):
                if live.spec_replicas == desired.replicas.count == 0:  # a creation at zero may have been cut short: see there
                    await self._replicas.apply(*name, 0, live.uid)
        if live is not None and await held(self._client, child.kind, child.digest, name, CHILDREN[child.kind], memory, written):
            return
        log.info("%s %s/%s is written: %s", CHILDREN[child.kind].kind, *name, decision.why)
        if decision.action is Action.CLEAN:
            await self._applier.clean(child, live, memory, written)
        else:
            await self._applier.apply(child, live, memory, written)
            if decision.paced and isinstance(live, DeploymentView):
                self._pace.began(name, live)

    async def _remove(self, kind: ChildKind, name: Name, memory: Memory, workload: Workload, written: Written) -> None:
        live = self._mirrors.child(kind, name)
        memory.applied.pop(kind, None)
        if live is None or live.owner_uid != workload.metadata.uid or live.leaving:
            return
        log.info("%s %s/%s is deleted: it is not wanted any more", CHILDREN[kind].kind, *name)
        await self._client.delete(CHILDREN[kind], *name, uid=live.uid)
        memory.sent.pop(kind, None)
        memory.quarrels.pop(kind, None)  # to be made again is no quarrel where we took it away ourselves
        if kind is ChildKind.HORIZONTAL_POD_AUTOSCALER:
            memory.stirred_at = time.monotonic()
        written.writes.append(f"delete {CHILDREN[kind].kind}")
