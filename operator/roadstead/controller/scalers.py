"""From one scaler to another: until the former has gone, no other comes, and nobody else sets the replica count."""

from __future__ import annotations

import time

from roadstead.api.workload import Workload
from roadstead.controller.kinds import CHILDREN
from roadstead.controller.memory import Memory
from roadstead.controller.mirrors import Mirrors, Name
from roadstead.controller.written import Written
from roadstead.desired import ChildKind, Desired
from roadstead.desired.scaled_object import hpa_name
from roadstead.kube.client import ApiClient
from roadstead.kube.resource import HPAS

SCALERS = (ChildKind.HORIZONTAL_POD_AUTOSCALER, ChildKind.SCALED_OBJECT)


def former_scaler(mirrors: Mirrors, workload: Workload, desired: Desired, memory: Memory) -> str | None:
    """A scaler that must not be any more and still is, by kind and name.

    A ScaledObject goes when KEDA lets it go, and the HPA that KEDA made for it after that. One that was just written and that the
    mirror doesn't show yet counts as there.
    """
    name = (workload.metadata.namespace or "", workload.metadata.name)
    for kind in SCALERS:
        if desired.children.get(kind) is not None:
            continue
        live = mirrors.child(kind, name)
        if live is not None and live.owner_uid == workload.metadata.uid:
            return f"{CHILDREN[kind].kind} {name[1]}"
        if live is None and memory.awaits_echo(kind, live, time.monotonic()):
            return f"{CHILDREN[kind].kind} {name[1]}"
    kept = desired.children.get(ChildKind.SCALED_OBJECT) is not None and mirrors.child(ChildKind.SCALED_OBJECT, name) is not None
    if not kept and mirrors.kedas_hpa(name) is not None:
        return f"HorizontalPodAutoscaler {hpa_name(name[1])}"
    return None


async def clear_kedas_hpa(client: ApiClient, mirrors: Mirrors, name: Name, memory: Memory, written: Written) -> None:
    """Delete the HPA that KEDA made, once its ScaledObject has gone.

    The garbage collector would too, but it lags when it has much to do, and knows a newly defined kind only after half a minute.
    """
    left = mirrors.kedas_hpa(name)
    if left is None or left.leaving or mirrors.child(ChildKind.SCALED_OBJECT, name) is not None:
        return
    if memory.awaits_echo(ChildKind.SCALED_OBJECT, None, time.monotonic()):
        return
    await client.delete(HPAS, name[0], hpa_name(name[1]), uid=left.uid)
    written.writes.append("delete KEDA's HorizontalPodAutoscaler")
