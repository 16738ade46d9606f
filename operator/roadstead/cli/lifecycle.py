"""``start``, ``stop``, ``restart``, ``delete``, ``restore``, ``register``: each is one field of a spec.

The operator carries it out; ``roadstead wait`` waits for that.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import typer

from roadstead.cli.connection import Cluster, connected, path_of
from roadstead.cli.durations import seconds
from roadstead.cli.failure import FIELD_MANAGER
from roadstead.cli.flags import Context, Kubeconfig, Namespace, Objects, OneArtifact, Workloads
from roadstead.cli.kinds import ARTIFACT, WORKLOAD, Target, one_target, targets
from roadstead.cli.output import note
from roadstead.cli.watching import Watch
from roadstead.kube.resource import Body

SOFT: Final = (ARTIFACT, WORKLOAD)


def start(workloads: Workloads, namespace: Namespace = None, kubeconfig: Kubeconfig = None, context: Context = None) -> None:
    """Start stopped Workloads."""
    chosen = targets(workloads, default=WORKLOAD, allowed=(WORKLOAD,))
    with connected(kubeconfig, context, namespace) as cluster:
        for target in chosen:
            body = change(cluster, target, suspend=False)
            if body["spec"].get("deleted"):
                note(f"{target} is deleted and stays so; `roadstead restore {target}` brings it back")
            print(f"{target} started", flush=True)


def stop(workloads: Workloads, namespace: Namespace = None, kubeconfig: Kubeconfig = None, context: Context = None) -> None:
    """Stop Workloads; what is in flight gets its grace period."""
    chosen = targets(workloads, default=WORKLOAD, allowed=(WORKLOAD,))
    with connected(kubeconfig, context, namespace) as cluster:
        for target in chosen:
            change(cluster, target, suspend=True)
            print(f"{target} stopped", flush=True)


def restart(workloads: Workloads, namespace: Namespace = None, kubeconfig: Kubeconfig = None, context: Context = None) -> None:
    """Replace all pods of Workloads, one after another."""
    chosen = targets(workloads, default=WORKLOAD, allowed=(WORKLOAD,))
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    with connected(kubeconfig, context, namespace) as cluster:
        for target in chosen:
            body = change(cluster, target, restartedAt=now)
            if body["spec"].get("suspend"):
                note(f"{target} is stopped, so there is nothing to replace; `roadstead start {target.name}` starts it")
            print(f"{target} restarted", flush=True)


def delete(
    objects: Objects,
    now: Annotated[bool, typer.Option("--now", help="For good, at once. Without it Workloads and Artifacts can be restored.")] = False,
    namespace: Namespace = None,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
) -> None:
    """Delete objects; Workloads and Artifacts can be restored."""
    chosen = targets(objects)
    with connected(kubeconfig, context, namespace) as cluster:
        for target in chosen:
            if now or not target.kind.soft:
                cluster.delete(path_of(target.kind.resource, cluster.namespace, target.name))
                print(f"{target} deleted for good", flush=True)
            else:
                change(cluster, target, deleted=True)
                print(f"{target} deleted; `roadstead restore {target}` brings it back until the retention time is over", flush=True)


def restore(
    objects: Objects,
    namespace: Namespace = None,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
) -> None:
    """Bring deleted Workloads and Artifacts back."""
    chosen = targets(objects, allowed=SOFT)
    with connected(kubeconfig, context, namespace) as cluster:
        for target in chosen:
            body = change(cluster, target, deleted=False)
            if body["spec"].get("suspend"):
                note(f"{target} was stopped before it was deleted, and is so again; `roadstead start {target.name}` starts it")
            print(f"{target} restored", flush=True)


def register(
    artifact: OneArtifact,
    timeout: Annotated[str, typer.Option(help="How long to wait for its version; 0s: not at all.")] = "10s",
    namespace: Namespace = None,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
) -> None:
    """Register an Artifact: it gets a version and is frozen."""
    target = one_target(artifact, default=ARTIFACT, allowed=(ARTIFACT,))
    patience_seconds = seconds(timeout)
    with connected(kubeconfig, context, namespace) as cluster:
        change(cluster, target, status="registered")
        version = _version(cluster, target, time.monotonic() + patience_seconds)
        print(f"{target} registered{f' as version {version}' if version else ''}")
        if version is None and patience_seconds:
            note(f"It has no version yet; the operator gives one as soon as it runs: `roadstead describe {target}`")


def change(cluster: Cluster, target: Target, **fields: Any) -> Body:
    """Set fields of an object's spec; the object as it is now. Says so where a manifest of another manager holds such a field."""
    path = path_of(target.kind.resource, cluster.namespace, target.name)
    # Looked at before, since whoever changes a field by a patch is its only owner afterwards.
    before = cluster.get(path)
    for field in fields:
        if (manager := declared_by(before, field)) is not None:
            note(f"spec.{field} of {target} is declared in a manifest of {manager}, whose next apply brings it back; change it there too")
    return cluster.merge(path, {"spec": fields})


def declared_by(body: Body, field: str) -> str | None:
    """The manager whose manifest holds a field of the spec, as GitOps tools do; None where nobody's does."""
    for entry in body["metadata"].get("managedFields") or ():
        declared = entry.get("operation") == "Apply" and entry.get("manager") != FIELD_MANAGER
        if declared and f"f:{field}" in (entry.get("fieldsV1") or {}).get("f:spec", {}):
            return str(entry["manager"])
    return None


def _version(cluster: Cluster, target: Target, deadline: float) -> int | None:
    watch = Watch(cluster, path_of(target.kind.resource, cluster.namespace), {"fieldSelector": f"metadata.name={target.name}"})
    seen = [change.body for change in watch.present()]
    versions = ((body.get("status") or {}).get("version") for body in seen)
    if (found := next(filter(None, versions), None)) is not None:
        return int(found)
    for update in watch.follow(deadline):
        if version := (update.body.get("status") or {}).get("version"):
            return int(version)
    return None
