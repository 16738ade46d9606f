"""Writing the children of a Workload: one server-side apply for each that differs, none for those that don't."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

from roadstead.api.platform import PodRollout, PodSettings
from roadstead.api.workload import Workload
from roadstead.controller.contention import FIELD_CONFLICT, MINUTE_SECONDS, deleter_of, rival_of
from roadstead.controller.decide import Action, decide
from roadstead.controller.kinds import CHILDREN
from roadstead.controller.memory import ECHO_SECONDS, REPLICAS, Memory, Sent, fingerprint
from roadstead.controller.mirrors import Mirrors, Name
from roadstead.controller.pace import Pace
from roadstead.desired import Child, ChildKind, Desired
from roadstead.desired.scaled_object import hpa_name
from roadstead.errors import Reason, Refusal
from roadstead.kube.client import ApiClient
from roadstead.kube.errors import ApiError, Conflict, Forbidden, Invalid, NotFound, ServerError
from roadstead.kube.managed_fields import owners, ownership, removal_patch, rivals
from roadstead.kube.resource import HPAS, Resource
from roadstead.names import FIELD_MANAGER, REPLICAS_MANAGER
from roadstead.observed.conditions import Condition
from roadstead.observed.views import ChildView, DeploymentView

log = logging.getLogger(__name__)
Body = dict[str, Any]
SCALERS = (ChildKind.HORIZONTAL_POD_AUTOSCALER, ChildKind.SCALED_OBJECT)
PATIENT_LOOK_SECONDS = 5.0
"""For what takes its time: something that has to go (the mirrors tell when it has), webhooks that don't answer."""
REPLICAS_PATH = "/spec/replicas"
PATIENCE_SECONDS = 10.0
"""After this long, say that it doesn't go."""
REFUSED_LOOK_SECONDS = 30.0
FORMER_LOOK_SECONDS = 1.0
"""For what the mirrors may not show, and so can't tell of its going."""
NOBODYS_VERSION = "1"
"""No object bears this resourceVersion any more: an apply with it creates where there is none, and fails with 409 where there is one."""
WEBHOOK_LAG_SECONDS = 10.0
WEBHOOK_LOOK_SECONDS = 1.0


@dataclass(slots=True)
class Written:
    """What came of writing the children.

    ``pending`` says in a sentence what waits, ``awaits`` what must go first (said only if that takes long), ``refusal`` what was
    refused, ``conflict`` who keeps undoing our writes. ``unsettled``: something that passes kept a child from being written, so this
    generation isn't carried out yet.
    """

    pending: str | None = None
    awaits: str | None = None
    refusal: Refusal | None = None
    conflict: Condition | None = None
    unsettled: bool = False
    look_again_seconds: float | None = None
    writes: list[str] = field(default_factory=list)

    def look_again(self, seconds: float) -> None:
        """Look again after this time, or sooner for another reason."""
        self.look_again_seconds = seconds if self.look_again_seconds is None else min(seconds, self.look_again_seconds)


class Whose(Enum):
    """To whom the object belongs that the API server has under a child's name."""

    OURS = auto()
    """To this very Workload, or nobody has it."""
    FORMER = auto()
    """It is going: it is deleted, or was left by a former Workload of this name and waits for the garbage collector."""
    STRANGERS = auto()


class ChildWriter:
    """Brings the children of one Workload at a time to what is desired."""

    def __init__(self, client: ApiClient, mirrors: Mirrors, pace: Pace) -> None:
        self._client = client
        self._mirrors = mirrors
        self._pace = pace

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
        await self._clear_kedas_hpa(name, memory, written)
        former = self._former_scaler(name, workload, desired, memory)
        for child in desired.children.values():
            if child is not None and not (former and child.kind in SCALERS):
                try:
                    await self._bring(child, name, workload, desired, memory, written, settings, rolling=rolling)
                except ApiError as error:
                    _answered(child, error, memory, written)
                except Refusal as refused:
                    written.refusal = refused
                    if child.kind is ChildKind.DEPLOYMENT:
                        return written  # nothing of ours may select, scale or budget a stranger's pods
        if former and desired.replicas.count != 0:
            written.awaits = f"The change of scaling waits for {former} to be gone; check that KEDA's operator is running"
            written.look_again(PATIENT_LOOK_SECONDS)
        else:
            await self._set_replicas(workload, desired, memory, written)
        _be_patient(memory, written)
        _tell_quarrels(memory, written)
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
        if decision.paced and not rolling and not _starts(live, desired) and not self._pace.admits(name, settings.rollouts_at_once):
            most = f"{settings.rollouts_at_once} Workloads at once, as Platform's pods.rolloutsAtOnce says"
            written.pending = f"A platform, importance or operator change waits for its turn: it rolls {most}"
            return
        match decision.action:
            case Action.NOTHING:
                return
            case Action.LEAVING:
                _await_former(child, written, PATIENT_LOOK_SECONDS)
                return
            case Action.WAIT:
                written.pending = decision.why[0].upper() + decision.why[1:]
                return
            case Action.TAKEN | Action.CREATE:
                at_zero = child.kind is ChildKind.DEPLOYMENT and desired.replicas.count == 0
                if decision.action is Action.CREATE and self._kept_away(child, memory, written):
                    return
                if decision.action is Action.CREATE and await self._create(child, memory, written, at_zero=at_zero):
                    log.info("%s %s/%s is written: %s", CHILDREN[child.kind].kind, *name, decision.why)
                    return
                whose = await self._whose(child)
                if whose is Whose.STRANGERS:
                    raise _taken(child)
                if whose is Whose.FORMER or decision.action is Action.TAKEN:  # TAKEN, and no stranger's: the mirror lags
                    _await_former(child, written, FORMER_LOOK_SECONDS)
                    return
                if at_zero:
                    await self._create_at_zero(child, memory, written)
                    return
            case Action.APPLY if child.kind not in memory.applied and isinstance(live, DeploymentView):
                if live.spec_replicas == desired.replicas.count == 0:  # a creation at zero may have been cut short: see there
                    await self._apply_replicas(*name, 0, live.uid)
        if live is not None and await self._held(str(child.kind), child.digest, name, CHILDREN[child.kind], memory, written):
            return
        log.info("%s %s/%s is written: %s", CHILDREN[child.kind].kind, *name, decision.why)
        if decision.action is Action.CLEAN:
            await self._clean(child, name, live, memory, written)
        else:
            await self._apply(child, live, memory, written)
            if decision.paced and isinstance(live, DeploymentView):
                self._pace.began(name, live)

    async def _held(self, field: str, digest: str, name: Name, resource: Resource, memory: Memory, written: Written) -> bool:
        """Whether a repair has to wait, since another writer undoes it again and again; who that is, is asked once."""
        quarrel, now = memory.quarrels[field], time.monotonic()
        wait = quarrel.wait_seconds(digest, now)
        if wait == 0:
            return False
        if quarrel.rival is None or quarrel.rival.reason != FIELD_CONFLICT:
            body = await self._client.get(resource, *name)
            others = ((who, REPLICAS_PATH) for who in owners(body, REPLICAS_PATH) if who not in (FIELD_MANAGER, REPLICAS_MANAGER))
            quarrel.rival = rival_of(others if field == REPLICAS else rivals(body, FIELD_MANAGER), f"{resource.kind} {name[1]}")
        written.conflict = quarrel.rival
        written.look_again(wait)
        return True

    def _kept_away(self, child: Child, memory: Memory, written: Written) -> bool:
        """Whether a child that is gone has to wait, since somebody deletes it again and again."""
        quarrel = memory.quarrels[child.kind]
        wait = quarrel.wait_seconds(child.digest, time.monotonic())
        if wait == 0:
            return False
        written.conflict = quarrel.rival = deleter_of(f"{CHILDREN[child.kind].kind} {child.name}")
        written.look_again(wait)
        return True

    async def _create(self, child: Child, memory: Memory, written: Written, *, at_zero: bool) -> bool:
        """Create a child; False where its name isn't free, as a forced apply would merge with a stranger's object and adopt it.

        Asking first would cost a call for each child, and leave a moment for a stranger's to come.
        """
        try:
            if at_zero:
                await self._create_at_zero(child, memory, written, new=True)
            else:
                await self._apply(child, None, memory, written, new=True)
        except Conflict:
            return False
        return True

    async def _apply(
        self, child: Child, live: ChildView | None, memory: Memory, written: Written, *, new: bool = False, **spec: int
    ) -> None:
        """Server-side apply. The uid of what is there makes it an update only: a child deleted meanwhile isn't resurrected by it.

        ``new`` makes it a creation only. Raises Conflict if it isn't what it should be.
        """
        body = child.body
        if live is not None:
            body = {**body, "metadata": {**body["metadata"], "uid": live.uid}}
        elif new:
            body = {**body, "metadata": {**body["metadata"], "resourceVersion": NOBODYS_VERSION}}
        if spec:
            body = {**body, "spec": {**body["spec"], **spec}}
        memory.sent[child.kind] = Sent(fingerprint(live), child.digest, "", time.monotonic())
        try:
            answer = await self._client.apply(CHILDREN[child.kind], _namespace(child), body, field_manager=FIELD_MANAGER)
        except BaseException:
            memory.sent.pop(child.kind, None)
            raise
        self._remember(child, answer, live, memory)
        if child.kind is ChildKind.DEPLOYMENT:
            memory.stirred_at = time.monotonic()
        written.writes.append(f"apply {CHILDREN[child.kind].kind}")

    def _remember(self, child: Child, answer: Body, before: ChildView | None, memory: Memory) -> None:
        ours = ownership(answer, FIELD_MANAGER).ours
        memory.applied[child.kind] = ours
        memory.quarrels[child.kind].wrote(child.digest, time.monotonic())
        memory.sent[child.kind] = Sent(fingerprint(before), child.digest, ours, time.monotonic(), answer["metadata"]["uid"])

    async def _create_at_zero(self, child: Child, memory: Memory, written: Written, *, new: bool = False) -> None:
        """Create the Deployment of a stopped Workload without ever starting a pod (an apply without replicas would start one).

        Cut short, it leaves the count ours: the next apply would reset it to 1, unless the other manager has it by then.
        """
        await self._apply(child, None, memory, written, new=new, replicas=0)
        await self._apply_replicas(_namespace(child), child.name, 0, memory.sent[child.kind].uid)
        await self._apply(child, None, memory, written)

    async def _clean(self, child: Child, name: Name, live: ChildView | None, memory: Memory, written: Written) -> None:
        """Take out what others added. Status writes right after an edit move the resourceVersion, so the patch gets a second chance."""
        resource = CHILDREN[child.kind]
        for last in (False, True):
            body = await self._client.get(resource, *name)
            patch = removal_patch(body, ownership(body, FIELD_MANAGER).foreign, manager=FIELD_MANAGER)
            if not patch:
                return
            try:
                answer = await self._client.json_patch(resource, *name, patch, field_manager=FIELD_MANAGER)
            except Conflict:
                if last:
                    raise
                continue
            self._remember(child, answer, live, memory)
            written.writes.append(f"clean {resource.kind}")
            return

    async def _whose(self, child: Child) -> Whose:
        """Ask the API server about a name that isn't free."""
        try:
            body = await self._client.get(CHILDREN[child.kind], _namespace(child), child.name)
        except NotFound:
            return Whose.OURS
        if "deletionTimestamp" in body["metadata"]:
            return Whose.FORMER
        owner = child.body["metadata"]["ownerReferences"][0]
        present = body["metadata"].get("ownerReferences") or ()
        if any(ref["uid"] == owner["uid"] for ref in present):
            return Whose.OURS
        former = (_group(owner), owner["kind"], owner["name"])
        left = any(ref.get("controller") and (_group(ref), ref["kind"], ref["name"]) == former for ref in present)
        return Whose.FORMER if left else Whose.STRANGERS

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

    async def _clear_kedas_hpa(self, name: Name, memory: Memory, written: Written) -> None:
        """Delete the HPA that KEDA made, once its ScaledObject has gone.

        The garbage collector would too, but it lags when it has much to do, and knows a newly defined kind only after half a minute.
        """
        left = self._mirrors.kedas_hpa(name)
        if left is None or left.leaving or self._mirrors.child(ChildKind.SCALED_OBJECT, name) is not None:
            return
        if memory.awaits_echo(ChildKind.SCALED_OBJECT, None, time.monotonic()):
            return
        await self._client.delete(HPAS, name[0], hpa_name(name[1]), uid=left.uid)
        written.writes.append("delete KEDA's HorizontalPodAutoscaler")

    def _former_scaler(self, name: Name, workload: Workload, desired: Desired, memory: Memory) -> str | None:
        """A scaler that must not be any more and still is: until it has gone, no other comes, and nobody else sets the count.

        A ScaledObject goes when KEDA lets it go, and the HPA that KEDA made for it after that. One that was just written and that the
        mirror doesn't show yet counts as there.
        """
        for kind in SCALERS:
            if desired.children.get(kind) is not None:
                continue
            live = self._mirrors.child(kind, name)
            if live is not None and live.owner_uid == workload.metadata.uid:
                return f"{CHILDREN[kind].kind} {name[1]}"
            if live is None and memory.awaits_echo(kind, live, time.monotonic()):
                return f"{CHILDREN[kind].kind} {name[1]}"
        kept = desired.children.get(ChildKind.SCALED_OBJECT) is not None and self._mirrors.child(ChildKind.SCALED_OBJECT, name) is not None
        if not kept and self._mirrors.kedas_hpa(name) is not None:
            return f"HorizontalPodAutoscaler {hpa_name(name[1])}"
        return None

    async def _set_replicas(self, workload: Workload, desired: Desired, memory: Memory, written: Written) -> None:
        """Apply the one field ``spec.replicas`` under its own manager, while it is the operator's to set."""
        name = (workload.metadata.namespace or "", workload.metadata.name)
        live = self._mirrors.deployment(name)
        if live is not None and (live.owner_uid != workload.metadata.uid or live.leaving):
            return
        if desired.children.get(ChildKind.DEPLOYMENT, live) is None:
            return  # it must not be: what is left of it is going
        wanted = desired.replicas.count
        if live is None:
            if wanted is None or wanted <= 1 or ChildKind.DEPLOYMENT not in memory.sent:
                return
            present, uid = 1, memory.sent[ChildKind.DEPLOYMENT].uid
        else:
            present, uid = live.spec_replicas, live.uid
            if wanted is None and present == 0:
                wanted = desired.replicas.floor
            if memory.awaits_replicas(live, wanted or 0, time.monotonic()):
                written.look_again(ECHO_SECONDS)
                return
        if wanted is None or wanted == present or (memory.replicas is not None and memory.replicas[:2] == (present, wanted)):
            return
        if live is not None and await self._held(REPLICAS, str(wanted), name, CHILDREN[ChildKind.DEPLOYMENT], memory, written):
            return
        log.info("Deployment %s/%s is scaled from %d to %d", *name, present, wanted)
        memory.replicas = (present, wanted, time.monotonic())
        try:
            await self._apply_replicas(*name, wanted, uid)
        except BaseException:
            memory.replicas = None
            raise
        memory.quarrels[REPLICAS].wrote(str(wanted), time.monotonic())
        written.writes.append("apply replicas")

    async def _apply_replicas(self, namespace: str, name: str, count: int, uid: str) -> None:
        """The uid makes it an update of that very Deployment only."""
        body: Body = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": namespace, "uid": uid}}
        await self._client.apply(
            CHILDREN[ChildKind.DEPLOYMENT], namespace, {**body, "spec": {"replicas": count}}, field_manager=REPLICAS_MANAGER
        )


def _starts(live: ChildView | None, desired: Desired) -> bool:
    """Whether the operator is about to start a Workload's pods, which must be those of the present template: this waits for nobody."""
    wanted = desired.replicas.floor if desired.replicas.count is None else desired.replicas.count
    return isinstance(live, DeploymentView) and live.spec_replicas == 0 and wanted > 0


def _answered(child: Child, error: ApiError, memory: Memory, written: Written) -> None:
    """What an error of a write means: a refusal to be told, something that passes, or (raised) a matter of the queue's back-off.

    KEDA's webhooks look up the Deployment and its HPAs in caches: they answer 404 for a Deployment just made and "already managed by the
    hpa" for an HPA just deleted (keda apis/keda/v1alpha1/scaledobject_webhook.go). A 404 may also be KEDA's own leaving, of which the
    mirror will tell. And where webhooks that don't answer refuse everything, a Workload can be stopped all the same.
    """
    resource = CHILDREN[child.kind]
    if child.kind is ChildKind.SCALED_OBJECT:
        if isinstance(error, ServerError):
            written.unsettled = True
            written.pending = f"ScaledObject {child.name} can't be written: {error.message}"
            written.look_again(PATIENT_LOOK_SECONDS)
            return
        lags = isinstance(error, Forbidden) and time.monotonic() - memory.stirred_at < WEBHOOK_LAG_SECONDS
        if lags or isinstance(error, NotFound):
            written.unsettled = True
            written.look_again(WEBHOOK_LOOK_SECONDS)
            return
    if not isinstance(error, Invalid | Forbidden):
        raise error
    written.refusal = Refusal(Reason.REFUSED_BY_API, f"The API server refuses {resource.kind} {child.name}: {error.message}")


def _await_former(child: Child, written: Written, seconds: float) -> None:
    written.awaits = f"The former {CHILDREN[child.kind].kind} {child.name} is still being deleted; it is made anew once it is gone"
    written.look_again(seconds)


def _tell_quarrels(memory: Memory, written: Written) -> None:
    """A quarrel is over when nothing had to be put back for a minute."""
    now = time.monotonic()
    for quarrel in memory.quarrels.values():
        if quarrel.rival is None or quarrel.rival == written.conflict:
            continue
        if quarrel.calm(now):
            quarrel.rival = None
        else:
            written.conflict = written.conflict or quarrel.rival
            written.look_again(max(0.0, quarrel.last + MINUTE_SECONDS - now))


def _be_patient(memory: Memory, written: Written) -> None:
    """What must go mostly goes quickly; say so only if it doesn't."""
    if written.awaits is None:
        memory.leaving_since = None
        return
    now = time.monotonic()
    memory.leaving_since = now if memory.leaving_since is None else memory.leaving_since
    if now - memory.leaving_since > PATIENCE_SECONDS:
        written.pending = written.awaits


def _group(reference: Body) -> str:
    return str(reference["apiVersion"]).partition("/")[0]


def _namespace(child: Child) -> str:
    return str(child.body["metadata"]["namespace"])


def _taken(child: Child) -> Refusal:
    kind = CHILDREN[child.kind].kind
    return Refusal(
        Reason.NAME_TAKEN,
        f"{kind} {child.name} exists already and belongs to somebody else; delete or rename it, or give the Workload another name",
    )
