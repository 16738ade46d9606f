"""``roadstead bundles`` and ``roadstead gpus``: what the administrator offers in Platform, and how much of it there is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import typer

from roadstead.cli.connection import Cluster, connected, path_of
from roadstead.cli.failure import Failure, missing_object
from roadstead.cli.flags import Context, Kubeconfig
from roadstead.cli.output import Output, OutputOption, Table, json_text, note, show, yaml_text
from roadstead.kube.errors import Forbidden, NotFound
from roadstead.kube.resource import NODES, PODS, Body
from roadstead.resources import PLATFORM_NAME, PLATFORMS

DEFAULT_RESOURCE: Final = "nvidia.com/gpu"
UNKNOWN: Final = "?"
ON_A_NODE: Final = {"fieldSelector": "status.phase!=Succeeded,status.phase!=Failed,spec.nodeName!="}


@dataclass(frozen=True, slots=True)
class Stock:
    """GPUs of a type: on how many ready nodes, how many in all, and how many no pod asks for. None: not ours to see."""

    nodes: int | None = None
    total: int | None = None
    free: int | None = None


def bundles(output: OutputOption = None, kubeconfig: Kubeconfig = None, context: Context = None) -> None:
    """List the resource bundles that Workloads may name."""
    with connected(kubeconfig, context) as cluster:
        entries = platform(cluster).get("resourceBundles") or []
        _print(output, entries, bundle_table(entries, wide=output is Output.WIDE), "id", "resource bundles")


def gpus(output: OutputOption = None, kubeconfig: Kubeconfig = None, context: Context = None) -> None:
    """List the GPU types, and how many of each are free."""
    with connected(kubeconfig, context) as cluster:
        entries = platform(cluster).get("gpuTypes") or []
        nodes, pods = seen(cluster) if entries else (None, None)
        stocks = [stock(entry, nodes, pods) for entry in entries]
        counted = [{**entry, "nodes": one.nodes, "total": one.total, "free": one.free} for entry, one in zip(entries, stocks, strict=True)]
        _print(output, counted, gpu_table(entries, stocks, wide=output is Output.WIDE), "gpuType", "GPU types")


def platform(cluster: Cluster) -> Body:
    """The spec of the one Platform. Raises Failure where there is none."""
    try:
        spec: Body = cluster.get(path_of(PLATFORMS, None, PLATFORM_NAME)).get("spec") or {}
    except NotFound as error:
        if missing_object(error):
            raise Failure('There is no Platform "default": the chart makes it, with the catalogue from its values.') from error
        raise
    return spec


def seen(cluster: Cluster) -> tuple[list[Body] | None, list[Body] | None]:
    """All nodes, and all pods on them; None, and a remark, where the user may not list them."""
    try:
        nodes = cluster.items(NODES, None)
    except Forbidden:
        note("How many GPUs there are isn't shown: you may not list nodes.")
        return None, None
    try:
        return nodes, cluster.items(PODS, None, ON_A_NODE)
    except Forbidden:
        note("How many GPUs are free isn't shown: you may not list the pods of all namespaces.")
        return nodes, None


def stock(entry: Body, nodes: Sequence[Body] | None, pods: Sequence[Body] | None) -> Stock:
    """Count one GPU type."""
    if nodes is None:
        return Stock()
    resource = entry.get("resourceName") or DEFAULT_RESOURCE
    offers = {
        str(node["metadata"]["name"]): number
        for node in nodes
        if matches(entry, node["metadata"].get("labels") or {}) and _usable(node) and (number := _offer(node, resource))
    }
    total = sum(offers.values())
    if pods is None:
        return Stock(len(offers), total)
    taken = sum(requested(pod, resource) for pod in pods if pod["spec"].get("nodeName") in offers)
    return Stock(len(offers), total, max(0, total - taken))


def matches(entry: Body, labels: Mapping[str, str]) -> bool:
    """Whether a node with these labels has the GPU type."""
    return any(
        all(labels.get(name) == value for name, value in one["matchLabels"].items())
        and not any(name in labels for name in one.get("absentLabels") or ())
        for one in entry["nodeLabels"]
    )


def requested(pod: Body, resource: str) -> int:
    """How many of an extended resource a pod holds."""
    return sum(int(((one.get("resources") or {}).get("requests") or {}).get(resource, 0)) for one in pod["spec"]["containers"])


def bundle_table(entries: Sequence[Body], *, wide: bool) -> Table:
    """Bundles as a table."""
    columns = ("ID", "CPU", "MEMORY", "GPUS", "GPU TYPE", "NAME")
    rows = []
    for one in entries:
        count = one.get("gpu") or 0
        kind = one.get("gpuType") or ("any" if count else "")
        row = (one["id"], f"{one['cpu']:g}", str(one["memory"]), str(count), kind, one.get("name") or "")
        rows.append((*row, one.get("description") or "") if wide else row)
    return Table((*columns, "DESCRIPTION") if wide else columns, tuple(rows))


def gpu_table(entries: Sequence[Body], stocks: Sequence[Stock], *, wide: bool) -> Table:
    """GPU types as a table."""
    columns = ("TYPE", "NODES", "TOTAL", "FREE", "DESCRIPTION")
    rows = []
    for one, count in zip(entries, stocks, strict=True):
        numbers = (UNKNOWN if number is None else str(number) for number in (count.nodes, count.total, count.free))
        row = (one["gpuType"], *numbers, one.get("description") or "")
        rows.append((*row, one.get("resourceName") or DEFAULT_RESOURCE, _labels(one)) if wide else row)
    return Table((*columns, "RESOURCE", "NODE LABELS") if wide else columns, tuple(rows))


def _labels(entry: Body) -> str:
    alternatives = (",".join(f"{name}={value}" for name, value in one["matchLabels"].items()) for one in entry["nodeLabels"])
    return " or ".join(alternatives)


def _usable(node: Body) -> bool:
    ready = any(one["type"] == "Ready" and one["status"] == "True" for one in node.get("status", {}).get("conditions") or ())
    return ready and not node["spec"].get("unschedulable")


def _offer(node: Body, resource: str) -> int:
    return int((node.get("status", {}).get("allocatable") or {}).get(resource, 0))


def _print(output: Output | None, entries: Sequence[dict[str, Any]], table: Table, key: str, what: str) -> None:
    match output:
        case Output.JSON:
            print(json_text(entries))
        case Output.YAML:
            print(yaml_text(list(entries)))
        case Output.NAME:
            print("\n".join(entry[key] for entry in entries))
        case _ if entries:
            show(table)
        case _:
            typer.echo(f'Platform "default" offers no {what}; its administrator adds them.', err=True)
