"""Holding back the repair of what another writer undoes again and again, and saying who that is; for how long, ``contention`` says."""

from __future__ import annotations

import time

from roadstead.controller.contention import FIELD_CONFLICT, MINUTE_SECONDS, deleter_of, rival_of
from roadstead.controller.kinds import CHILDREN
from roadstead.controller.memory import REPLICAS, Memory
from roadstead.controller.mirrors import Name
from roadstead.controller.written import Written
from roadstead.desired import Child
from roadstead.kube.client import ApiClient
from roadstead.kube.managed_fields import owners, rivals
from roadstead.kube.resource import Resource
from roadstead.names import FIELD_MANAGER, REPLICAS_MANAGER

REPLICAS_PATH = "/spec/replicas"


async def held(client: ApiClient, what: str, digest: str, name: Name, resource: Resource, memory: Memory, written: Written) -> bool:
    """Whether a repair has to wait; who is in the way is asked once.

    ``what`` is the kind of child or REPLICAS, ``digest`` the content that is about to be written.
    """
    quarrel, now = memory.quarrels[what], time.monotonic()
    wait = quarrel.wait_seconds(digest, now)
    if wait == 0:
        return False
    if quarrel.rival is None or quarrel.rival.reason != FIELD_CONFLICT:
        body = await client.get(resource, *name)
        others = ((who, REPLICAS_PATH) for who in owners(body, REPLICAS_PATH) if who not in (FIELD_MANAGER, REPLICAS_MANAGER))
        quarrel.rival = rival_of(others if what == REPLICAS else rivals(body, FIELD_MANAGER), f"{resource.kind} {name[1]}")
    written.conflict = quarrel.rival
    written.look_again(wait)
    return True


def kept_away(child: Child, memory: Memory, written: Written) -> bool:
    """Whether a child that is gone has to wait, since somebody deletes it again and again."""
    quarrel = memory.quarrels[child.kind]
    wait = quarrel.wait_seconds(child.digest, time.monotonic())
    if wait == 0:
        return False
    written.conflict = quarrel.rival = deleter_of(f"{CHILDREN[child.kind].kind} {child.name}")
    written.look_again(wait)
    return True


def tell_quarrels(memory: Memory, written: Written) -> None:
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
