"""The writes of one child: server-side apply as a creation, as an update or at zero replicas, and taking out what others added."""

from __future__ import annotations

import time
from typing import Any

from roadstead.controller.kinds import CHILDREN
from roadstead.controller.memory import Memory, Sent, fingerprint
from roadstead.controller.replicas import ReplicaWriter
from roadstead.controller.written import Written
from roadstead.desired import Child, ChildKind
from roadstead.kube.client import ApiClient
from roadstead.kube.errors import Conflict
from roadstead.kube.managed_fields import ownership, removal_patch
from roadstead.names import FIELD_MANAGER
from roadstead.observed.views import ChildView

Body = dict[str, Any]
NOBODYS_VERSION = "1"
"""No object bears this resourceVersion any more: an apply with it creates where there is none, and fails with 409 where there is one."""


class Applier:
    """Writes children, and remembers what was written until the mirrors show it."""

    def __init__(self, client: ApiClient, replicas: ReplicaWriter) -> None:
        self._client = client
        self._replicas = replicas

    async def create(self, child: Child, memory: Memory, written: Written, *, at_zero: bool) -> bool:
        """Create a child; False where its name isn't free, as a forced apply would merge with a stranger's object and adopt it.

        Asking first would cost a call for each child, and leave a moment for a stranger's to come.
        """
        try:
            if at_zero:
                await self.create_at_zero(child, memory, written, new=True)
            else:
                await self.apply(child, None, memory, written, new=True)
        except Conflict:
            return False
        return True

    async def create_at_zero(self, child: Child, memory: Memory, written: Written, *, new: bool = False) -> None:
        """Create the Deployment of a stopped Workload without ever starting a pod (an apply without replicas would start one).

        Cut short, it leaves the count ours: the next apply would reset it to 1, unless the other manager has it by then.
        """
        await self.apply(child, None, memory, written, new=new, replicas=0)
        await self._replicas.apply(child.namespace, child.name, 0, memory.sent[child.kind].uid)
        await self.apply(child, None, memory, written)

    async def apply(
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
            answer = await self._client.apply(CHILDREN[child.kind], child.namespace, body, field_manager=FIELD_MANAGER)
        except BaseException:
            memory.sent.pop(child.kind, None)
            raise
        self._remember(child, answer, live, memory)
        if child.kind is ChildKind.DEPLOYMENT:
            memory.stirred_at = time.monotonic()
        written.writes.append(f"apply {CHILDREN[child.kind].kind}")

    async def clean(self, child: Child, live: ChildView | None, memory: Memory, written: Written) -> None:
        """Take out what others added. Status writes right after an edit move the resourceVersion, so the patch gets a second chance."""
        resource, name = CHILDREN[child.kind], (child.namespace, child.name)
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

    def _remember(self, child: Child, answer: Body, before: ChildView | None, memory: Memory) -> None:
        ours = ownership(answer, FIELD_MANAGER).ours
        memory.applied[child.kind] = ours
        memory.quarrels[child.kind].wrote(child.digest, time.monotonic())
        memory.sent[child.kind] = Sent(fingerprint(before), child.digest, ours, time.monotonic(), answer["metadata"]["uid"])
