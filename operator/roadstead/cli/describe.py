"""``roadstead describe``: everything that is known about an object, in the order in which one asks."""

from __future__ import annotations

from datetime import UTC, datetime

from roadstead.cli import story
from roadstead.cli.connection import Cluster, connected, path_of
from roadstead.cli.flags import Context, Kubeconfig, Namespace, WorkloadsOrOthers
from roadstead.cli.kinds import ARTIFACT, WORKLOAD, Target, targets
from roadstead.cli.output import emit, terminal
from roadstead.kube.errors import Forbidden, NotFound
from roadstead.kube.resource import CORE_EVENTS, Body


def describe(
    objects: WorkloadsOrOthers,
    namespace: Namespace = None,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
) -> None:
    """Tell all about objects: how they are, why, what happened."""
    from rich.text import Text  # noqa: PLC0415 - 40 ms that --help doesn't need

    chosen = targets(objects, default=WORKLOAD)
    console = terminal()
    with connected(kubeconfig, context, namespace) as cluster:
        for number, target in enumerate(chosen):
            if number:
                emit(console, Text("\n", end=""))
            for line in told(cluster, target, datetime.now(UTC), console.width if console.is_terminal else None):
                emit(console, Text(line, style="" if line.startswith(" ") else "bold"))


def told(cluster: Cluster, target: Target, now: datetime, width: int | None) -> list[str]:
    """The story of one object."""
    body = cluster.get(path_of(target.kind.resource, cluster.namespace, target.name))
    match target.kind.resource.kind:
        case "Workload":
            own = story.workload(body, _artifact_of(cluster, body), now)
        case "Artifact":
            own = story.artifact(body)
        case _:
            own = story.deployment(body)
    return story.render(story.heading(target, body, now), [*own, *story.truths(body, now), _events(cluster, body, now)], width)


def _artifact_of(cluster: Cluster, workload: Body) -> Body | None:
    """The Artifact that a Workload refers to; None where it isn't there or isn't ours to see: the story goes on without."""
    reference = workload["spec"].get("artifactRef")
    if reference is None:
        return None
    try:
        return cluster.get(path_of(ARTIFACT.resource, cluster.namespace, reference["name"]))
    except (NotFound, Forbidden):
        return None


def _events(cluster: Cluster, body: Body, now: datetime) -> story.Section:
    """In their core/v1 form, the only one in which they can be selected by the object they are about."""
    try:
        found = cluster.items(CORE_EVENTS, cluster.namespace, {"fieldSelector": f"involvedObject.uid={body['metadata']['uid']}"})
    except Forbidden as error:
        return story.Section("Events", lines=(f"not shown: {error.message}",))
    return story.events(found, now)
