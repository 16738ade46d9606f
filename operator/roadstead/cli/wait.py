"""``roadstead wait``: until an object is as asked, or surely won't be.

0: it is. 1: it is ``errored`` (a cause that won't pass by itself), or gone: said at once, with its message. 124: time ran out.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from itertools import chain
from queue import SimpleQueue
from typing import Annotated, Any, Final

import typer

from roadstead.cli.connection import Cluster, connected, path_of
from roadstead.cli.durations import seconds
from roadstead.cli.failure import TIMED_OUT, Failure
from roadstead.cli.flags import Context, Kubeconfig, Namespace, WorkloadsOrOthers
from roadstead.cli.kinds import ARTIFACT, WORKLOAD, Target, targets
from roadstead.cli.watching import Watch
from roadstead.kube.resource import Body

STATES: Final = ("submitted", "initializing", "running", "stopping", "stopped", "errored")
GOOD_CONDITIONS: Final = ("Ready", "Available")
"""Waiting for one of these is over when the object is errored."""


class Aim(Enum):
    """What is waited for."""

    STATE = auto()
    CONDITION = auto()
    DELETE = auto()


@dataclass(frozen=True, slots=True)
class Wish:
    """``state=running``, ``condition=Ready`` (``=False``) or ``delete``."""

    aim: Aim
    name: str = ""
    value: str = "True"

    def __str__(self) -> str:
        match self.aim:
            case Aim.DELETE:
                return "gone"
            case Aim.STATE:
                return self.name
            case Aim.CONDITION:
                return f"{self.name}={self.value}"


def wish(text: str) -> Wish:
    """What --for says. Raises BadParameter."""
    head, _, rest = text.partition("=")
    if text == "delete":
        return Wish(Aim.DELETE)
    if head == "state" and rest in STATES:
        return Wish(Aim.STATE, rest)
    if head == "state":
        raise typer.BadParameter(f"{rest!r} is no state; there are: {', '.join(STATES)}")
    name, _, value = rest.partition("=")
    if head == "condition" and name:
        return Wish(Aim.CONDITION, name, {"true": "True", "false": "False", "unknown": "Unknown"}.get(value.lower(), value) or "True")
    raise typer.BadParameter(f"{text!r}: write state=running, condition=Ready, condition=UpToDate=False or delete")


def verdict(body: Body, wanted: Wish) -> bool | None:
    """True: the object is as wished. False: it surely won't be. None: it may be yet.

    A status about an older version of the object counts for nothing.
    """
    status: dict[str, Any] = body.get("status") or {}
    if wanted.aim is Aim.DELETE or status.get("observedGeneration", -1) < body["metadata"].get("generation", 0):
        return None
    if wanted.aim is Aim.STATE:
        if status.get("state") == wanted.name:
            return True
        hopeless = wanted.name == "running" and status.get("state") == "errored"
    else:
        if any(one["type"] == wanted.name and one["status"] == wanted.value for one in status.get("conditions") or ()):
            return True
        hopeless = wanted.value == "True" and wanted.name in GOOD_CONDITIONS and status.get("state") == "errored"
    return False if hopeless else None


def wait(
    objects: WorkloadsOrOthers,
    wanted: Annotated[str, typer.Option("--for", help="state=STATE, condition=TYPE, condition=TYPE=STATUS, or delete.")] = "state=running",
    timeout: Annotated[str, typer.Option(help="How long, for all of them together; then the exit code is 124.")] = "10m",
    namespace: Namespace = None,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
) -> None:
    """Wait until objects are running, stopped, ready or gone. Fails at once where an object is errored."""
    chosen, aim = targets(objects, default=WORKLOAD), wish(wanted)
    if aim.aim is Aim.STATE and any(target.kind is ARTIFACT for target in chosen):
        raise typer.BadParameter("an Artifact has no state; wait with --for=condition=Ready")
    deadline = time.monotonic() + seconds(timeout)
    with connected(kubeconfig, context, namespace) as cluster:
        for target in reached(cluster, chosen, aim, deadline, timeout):
            print(f"{target} is {aim}", flush=True)


def reached(cluster: Cluster, chosen: Sequence[Target], aim: Wish, deadline: float, timeout: str) -> Iterator[Target]:
    """The objects as they get there, all watched side by side. Raises Failure for the first that won't."""
    ended: SimpleQueue[Target | Exception] = SimpleQueue()

    def run(target: Target) -> None:
        try:
            reach(cluster, target, aim, deadline, timeout)
        except Exception as error:
            ended.put(error)
        else:
            ended.put(target)

    for target in chosen:
        threading.Thread(target=run, args=(target,), daemon=True).start()
    for _ in chosen:
        end = ended.get()
        if isinstance(end, Exception):
            raise end
        yield end


def reach(cluster: Cluster, target: Target, aim: Wish, deadline: float, timeout: str) -> None:
    """Watch one object until it is as wished. Raises Failure."""
    last: Body | None = None
    for body in _versions(cluster, target, deadline):
        if body is None:
            if aim.aim is Aim.DELETE:
                return
            raise Failure(f'{target} does not exist in namespace "{cluster.namespace}"{" any more" if last else ""}.')
        last = body
        match verdict(body, aim):
            case True:
                return
            case False:
                raise Failure(f"{target} is errored: {_message(body)}\n`roadstead describe {target}` tells more.")
            case _:
                continue
    raise Failure(f"{target} is not {aim} after {timeout}; it is {instead(last or {})}", TIMED_OUT)


def _versions(cluster: Cluster, target: Target, deadline: float) -> Iterator[Body | None]:
    """The object as it is, and after every change; None when it isn't there."""
    watch = Watch(cluster, path_of(target.kind.resource, cluster.namespace), {"fieldSelector": f"metadata.name={target.name}"})
    found = watch.present()
    if not found:
        yield None
    for change in chain(found, watch.follow(deadline)):
        yield None if change.type == "DELETED" else change.body


def _message(body: Body) -> str:
    status = body.get("status") or {}
    ready = next((one.get("message") for one in status.get("conditions") or () if one["type"] == "Ready"), None)
    return str(status.get("message") or ready or "it says nothing")


def instead(body: Body) -> str:
    """What an object is meanwhile, in words."""
    status = body.get("status") or {}
    if status.get("observedGeneration", -1) < 0:
        return "not looked at yet: does the operator run?"
    return f"{status['state']}: {_message(body)}" if status.get("state") else _message(body)
