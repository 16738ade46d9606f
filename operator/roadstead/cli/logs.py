"""``roadstead logs``: what the pods of a Workload say; followed, also the pods that come later.

Lines of several pods are told apart by the pod's name in front, and each line is written whole.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Annotated, Final

import typer

from roadstead.cli.connection import Cluster, connected, path_of
from roadstead.cli.durations import seconds
from roadstead.cli.failure import Failure
from roadstead.cli.flags import Context, Kubeconfig, Namespace, OneWorkload
from roadstead.cli.kinds import WORKLOAD, one_target
from roadstead.cli.output import note
from roadstead.cli.watching import Watch
from roadstead.kube.errors import ApiError
from roadstead.kube.resource import PODS, Body
from roadstead.names import PORT_NAME, WORKLOAD_LABEL

RETRY_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Source:
    """One container of one pod. ``run`` tells its runs apart: the id that the runtime gave this one, empty before the first."""

    pod: str
    uid: str
    container: str
    run: str


def logs(
    workload: OneWorkload,
    container: Annotated[str | None, typer.Option("--container", "-c", help="A container of the pods. Absent: the primary one.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on, also with pods that come later, until interrupted.")] = False,
    previous: Annotated[bool, typer.Option("--previous", "-p", help="Of the run before the last restart.")] = False,
    tail: Annotated[int, typer.Option(min=-1, help="The last lines of each pod; -1: all.")] = -1,
    since: Annotated[str | None, typer.Option(help="Only what is younger, for example 10m.")] = None,
    timestamps: Annotated[bool, typer.Option(help="When each line was written.")] = False,
    namespace: Namespace = None,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
) -> None:
    """Print the logs of a Workload's pods."""
    if follow and previous:
        raise typer.BadParameter("a run that is over can't be followed; leave --follow or --previous out")
    target = one_target(workload, default=WORKLOAD, allowed=(WORKLOAD,))
    query = {"timestamps": str(timestamps).lower(), "previous": str(previous).lower()}
    query |= {"tailLines": str(tail)} if tail >= 0 else {}
    query |= {"sinceSeconds": str(max(1, round(seconds(since))))} if since else {}
    with connected(kubeconfig, context, namespace) as cluster:
        cluster.get(path_of(WORKLOAD.resource, cluster.namespace, target.name))  # a name that isn't there is said so
        watch = Watch(cluster, path_of(PODS, cluster.namespace), {"labelSelector": f"{WORKLOAD_LABEL}={target.name}"})
        pods = [change.body for change in watch.present()]
        if follow:
            Followed(cluster, query, container).run(watch, pods)
            return
        if not pods:
            raise Failure(f"{target} has no pods; `roadstead describe {target}` says why.")
        once(cluster, pods, query, container)


def once(cluster: Cluster, pods: Sequence[Body], query: dict[str, str], container: str | None) -> None:
    """Print what there is of each pod, one after another. Raises Failure when there is nothing to be had of any."""
    refused = []
    for pod in sorted(pods, key=lambda pod: str(pod["metadata"]["name"])):
        source = source_of(pod, container)
        prefix = f"[{source.pod}] " if len(pods) > 1 else ""
        try:
            for line in cluster.lines(_path(cluster, source), {**query, "container": source.container}, silence_seconds=None):
                write(prefix, line)
        except ApiError as error:
            refused.append(f"{source.pod}: {error.message}")
    if len(refused) == len(pods):
        raise Failure("No logs: " + "; ".join(refused))
    for sentence in refused:
        note(sentence)


class Followed:
    """Every run of a container in every pod, each read by a thread of its own until it ends; one more thread looks out for new ones."""

    def __init__(self, cluster: Cluster, query: dict[str, str], container: str | None) -> None:
        self._cluster = cluster
        self._query = query
        self._container = container
        self._begun: set[Source] = set()
        self._heard: SimpleQueue[tuple[str, bytes] | Exception] = SimpleQueue()

    def run(self, watch: Watch, pods: Sequence[Body]) -> None:
        """Print until interrupted. Raises what ends the watch of the pods for good."""
        if not pods:
            note("There are no pods yet; waiting for the first")
        self._thread(self._look_out, watch, pods)
        while not isinstance(heard := self._heard.get(), Exception):
            write(*heard)
        raise heard

    def _look_out(self, watch: Watch, pods: Sequence[Body]) -> None:
        try:
            for pod in pods:
                self._begin(pod, self._query)
            # What comes later is wanted whole; --tail and --since are about what had been there.
            whole = {name: value for name, value in self._query.items() if name not in ("tailLines", "sinceSeconds")}
            for change in watch.follow():
                if change.type != "DELETED":
                    self._begin(change.body, whole)
        except (ApiError, Failure) as error:
            self._heard.put(error)

    def _begin(self, pod: Body, query: dict[str, str]) -> None:
        """Read the present run of a pod's container, unless that is done already or there is none yet."""
        source = source_of(pod, self._container)
        if source.run and source not in self._begun:
            self._begun.add(source)
            self._thread(self._read, source, query)

    def _read(self, source: Source, query: dict[str, str]) -> None:
        """One run to its end; a stream that breaks off is taken up after the last line that came."""
        asked = {**query, "container": source.container, "follow": "true", "timestamps": "true"}
        last = resumed_at = b""  # of fixed width, so that they compare as text
        while True:
            try:
                for line in self._cluster.lines(_path(self._cluster, source), asked, silence_seconds=None):
                    stamp, _, text = line.partition(b" ")
                    if stamp > resumed_at:
                        last = stamp
                        self._heard.put((f"[{source.pod}] ", line if query["timestamps"] == "true" else text))
            except ApiError as error:
                if not error.transient:
                    note(f"[{source.pod}] {error.message}")
                    return
                time.sleep(RETRY_SECONDS)
                if resumed_at := last:
                    asked = {name: value for name, value in asked.items() if name not in ("tailLines", "sinceSeconds")}
                    asked["sinceTime"] = last.decode()
                continue
            return

    @staticmethod
    def _thread(function: Callable[..., None], *args: object) -> None:
        threading.Thread(target=function, args=args, daemon=True).start()


def source_of(pod: Body, container: str | None) -> Source:
    """The container to read: the named one, else the one with the Workload's port. Raises Failure that lists what there is."""
    every = pod["spec"]["containers"]
    known = [one["name"] for one in every]
    if container is not None and container not in known:
        raise Failure(f"There is no container {container!r} in {pod['metadata']['name']}; choose one of: {', '.join(known)}.")
    primary = (one["name"] for one in every if any(port.get("name") == PORT_NAME for port in one.get("ports") or ()))
    name = container or next(primary, known[0])
    statuses = pod.get("status", {}).get("containerStatuses") or ()
    running: Body = next((one for one in statuses if one["name"] == name), {})
    return Source(pod["metadata"]["name"], pod["metadata"]["uid"], name, running.get("containerID") or "")


def write(prefix: str, line: bytes) -> None:
    """One line, bytes as the container wrote them."""
    sys.stdout.buffer.write(prefix.encode() + line + b"\n")
    sys.stdout.buffer.flush()


def _path(cluster: Cluster, source: Source) -> str:
    return path_of(PODS, cluster.namespace, source.pod, "log")
