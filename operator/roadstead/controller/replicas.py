"""The one field ``spec.replicas`` of a Deployment, under a manager of its own, while it is the operator's to set."""

from __future__ import annotations

import logging
import time
from typing import Any

from roadstead.api.workload import Workload
from roadstead.controller.memory import ECHO_SECONDS, REPLICAS, Memory
from roadstead.controller.mirrors import Mirrors
from roadstead.controller.repairs import held
from roadstead.controller.written import Written
from roadstead.desired import ChildKind, Desired
from roadstead.kube.client import ApiClient
from roadstead.kube.resource import DEPLOYMENTS
from roadstead.names import REPLICAS_MANAGER
from roadstead.observed.views import ChildView, DeploymentView

log = logging.getLogger(__name__)
Body = dict[str, Any]


class ReplicaWriter:
    """Sets the replica counts of Deployments of ours."""

    def __init__(self, client: ApiClient, mirrors: Mirrors) -> None:
        self._client = client
        self._mirrors = mirrors

    async def bring(self, workload: Workload, desired: Desired, memory: Memory, written: Written) -> None:
        """Set the count if it is the operator's to set and differs."""
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
        if live is not None and await held(self._client, REPLICAS, str(wanted), name, DEPLOYMENTS, memory, written):
            return
        log.info("Deployment %s/%s is scaled from %d to %d", *name, present, wanted)
        memory.replicas = (present, wanted, time.monotonic())
        try:
            await self.apply(*name, wanted, uid)
        except BaseException:
            memory.replicas = None
            raise
        memory.quarrels[REPLICAS].wrote(str(wanted), time.monotonic())
        written.writes.append("apply replicas")

    async def apply(self, namespace: str, name: str, count: int, uid: str) -> None:
        """The uid makes it an update of that very Deployment only."""
        body: Body = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": namespace, "uid": uid}}
        await self._client.apply(DEPLOYMENTS, namespace, {**body, "spec": {"replicas": count}}, field_manager=REPLICAS_MANAGER)


def starts(live: ChildView | None, desired: Desired) -> bool:
    """Whether the operator is about to start a Workload's pods, which must be those of the present template: this waits for nobody."""
    wanted = desired.replicas.floor if desired.replicas.count is None else desired.replicas.count
    return isinstance(live, DeploymentView) and live.spec_replicas == 0 and wanted > 0
