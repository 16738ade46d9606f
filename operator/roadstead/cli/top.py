"""``roadstead top``: what Workloads use, beside what they asked for.

CPU and memory are measured by metrics-server (metrics.k8s.io), where it is installed; GPUs are counted by what the pods ask for, since
the cluster knows no more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Final

import typer

from roadstead.cli.completing import workload_words
from roadstead.cli.connection import Cluster, connected, path_of
from roadstead.cli.flags import AllNamespaces, Context, Kubeconfig, Namespace, Selector
from roadstead.cli.get import nothing
from roadstead.cli.kinds import WORKLOAD, targets
from roadstead.cli.output import Table, note, show
from roadstead.kube.errors import Forbidden, NotFound, ServerError
from roadstead.kube.resource import PODS, Body, Key, Resource, key_of
from roadstead.names import WORKLOAD_LABEL

METRICS: Final = Resource("metrics.k8s.io", "v1beta1", "pods", "PodMetrics")
MEBI: Final = 1024**2


@dataclass(frozen=True, slots=True)
class Amounts:
    """CPU in cores, memory in bytes, and GPUs."""

    cpu: Decimal = Decimal(0)
    memory: Decimal = Decimal(0)
    gpus: int = 0

    def __add__(self, other: Amounts) -> Amounts:
        return Amounts(self.cpu + other.cpu, self.memory + other.memory, self.gpus + other.gpus)


def top(
    workloads: Annotated[
        list[str] | None, typer.Argument(metavar="WORKLOAD", help="Names of Workloads. Absent: all.", autocompletion=workload_words)
    ] = None,
    namespace: Namespace = None,
    all_namespaces: AllNamespaces = False,
    selector: Selector = "",
    kubeconfig: Kubeconfig = None,
    context: Context = None,
) -> None:
    """Show what Workloads use: GPUs, CPU and memory."""
    names = {target.name for target in targets(workloads, default=WORKLOAD, allowed=(WORKLOAD,))} if workloads else set()
    if names and (selector or all_namespaces):
        raise typer.BadParameter("names exclude --selector and --all-namespaces")
    with connected(kubeconfig, context, namespace) as cluster:
        where = None if all_namespaces else cluster.namespace
        if names:
            found = [cluster.get(path_of(WORKLOAD.resource, where, name)) for name in sorted(names)]
        else:
            found = cluster.items(WORKLOAD.resource, where, {"labelSelector": selector} if selector else {})
        if not found:
            nothing("workloads", where, selector)
            return
        ours = {"labelSelector": WORKLOAD_LABEL}
        show(table(found, cluster.items(PODS, where, ours), measured(cluster, where), namespaces=all_namespaces))


def measured(cluster: Cluster, namespace: str | None) -> list[Body] | None:
    """What the pods use; None, and a remark, where nobody measures or we may not know."""
    try:
        return cluster.items(METRICS, namespace, {"labelSelector": WORKLOAD_LABEL})
    except (NotFound, ServerError):
        note("What is used isn't shown: metrics-server isn't installed or doesn't answer.")
    except Forbidden as error:
        note(f"What is used isn't shown: {error.message}")
    return None


def table(workloads: Sequence[Body], pods: Iterable[Body], metrics: Iterable[Body] | None, *, namespaces: bool) -> Table:
    """A row for each Workload."""
    asked = _sums(pods, asked_for)
    used = None if metrics is None else _sums(metrics, used_by)
    rows = []
    for workload in workloads:
        key, status = key_of(workload), workload.get("status") or {}
        wish, use = asked.get(key, Amounts()), (used or {}).get(key)
        numbers = ("?", "", "?", "") if used is None else usage(use or Amounts(), wish)
        replicas = f"{status.get('readyReplicas') or 0}/{status.get('replicas') or 0}"
        row = (workload["metadata"]["name"], status.get("state") or "", replicas, str(wish.gpus), *numbers)
        rows.append((workload["metadata"]["namespace"], *row) if namespaces else row)
    columns = ("NAME", "STATE", "READY", "GPUS", "CPU", "CPU%", "MEMORY", "MEMORY%")
    return Table(("NAMESPACE", *columns) if namespaces else columns, tuple(rows))


def usage(use: Amounts, wish: Amounts) -> tuple[str, str, str, str]:
    """CPU and memory in use, each with its share of what was asked for."""
    return (
        f"{round(use.cpu * 1000)}m",
        _percent(use.cpu, wish.cpu),
        f"{round(use.memory / MEBI)}Mi",
        _percent(use.memory, wish.memory),
    )


def asked_for(pod: Body) -> Amounts:
    """Requests of a pod; none of one that has ended."""
    if (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
        return Amounts()
    return sum((_amounts((one.get("resources") or {}).get("requests") or {}) for one in pod["spec"]["containers"]), Amounts())


def used_by(metrics: Body) -> Amounts:
    """What a pod uses."""
    return sum((_amounts(one.get("usage") or {}) for one in metrics.get("containers") or ()), Amounts())


def _sums(bodies: Iterable[Body], amounts_of: Callable[[Body], Amounts]) -> dict[Key, Amounts]:
    """By namespace and name of the Workload."""
    found: dict[Key, Amounts] = {}
    for body in bodies:
        metadata = body["metadata"]
        key = (metadata["namespace"], metadata["labels"][WORKLOAD_LABEL])
        found[key] = found.get(key, Amounts()) + amounts_of(body)
    return found


def _amounts(resources: Body) -> Amounts:
    """Quantities as numbers. What has a domain in its name is an extended resource, and the only ones a Workload can ask for are GPUs."""
    from kubernetes.utils.quantity import parse_quantity  # noqa: PLC0415

    gpus = sum(int(parse_quantity(amount)) for name, amount in resources.items() if "/" in name)
    return Amounts(parse_quantity(resources.get("cpu", 0)), parse_quantity(resources.get("memory", 0)), gpus)


def _percent(part: Decimal, whole: Decimal) -> str:
    return f"{round(part / whole * 100)}%" if whole else ""
