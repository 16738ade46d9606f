"""Whether any node offers the GPUs that a pod asks for: said at once, although the pods are made all the same.

The scheduler's own message ("0/12 nodes are available: …") doesn't tell a type that isn't there from one that is taken. A node autoscaler
may bring a node yet, so nothing is ever withheld. No numbers of nodes are named: they change by themselves, and a status must not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from roadstead.observed.views import GPU_LABELS, NodeView

NAMED_AT_MOST = 4
NAME_LIMIT = 150


def missing_gpu(terms: tuple[dict[str, str | None], ...], resource: str, count: int, nodes: tuple[NodeView, ...]) -> str | None:
    """A sentence on what no node has and what the nodes have instead; None where some node has it, taken or not.

    ``terms`` are the alternatives of Platform's catalogue, each a map of node labels that must all match (None: that must not be
    there); none means any GPU. One look at each node, so ask only while a pod has no node.
    """
    matching = [node for node in nodes if not terms or any(_has(node.labels, term) for term in terms)]
    most = max((node.offer.get(resource, 0) for node in matching), default=0)
    ready = max((node.offer.get(resource, 0) for node in matching if node.ready), default=0)
    if ready >= count:
        return None
    if most >= count:
        return f"All nodes with {count} {resource} of this type are not ready; look at them with kubectl get nodes"
    if most > 0:
        return f"No node has {count} {resource} of this type, the largest has {most}; ask for fewer per pod or add a larger node"
    if terms and matching:
        return f"The nodes of this GPU type offer no {resource}; look whether the device plugin runs on them"
    wanted = f"a GPU of this type ({_listed(map(_labels, terms), ' or ')})" if terms else resource
    return f"No node offers {wanted}; GPUs in this cluster: {_listed(sorted(set(_types(nodes))), ', ') or 'none'}"


def _has(labels: Mapping[str, str], term: Mapping[str, str | None]) -> bool:
    return all(labels.get(name) == value for name, value in term.items())


def _labels(term: Mapping[str, str | None]) -> str:
    wanted = " and ".join(f"{name}={value}" for name, value in term.items() if value is not None)
    unwanted = ", ".join(name.rpartition("/")[2] for name, value in term.items() if value is None)
    return f"{wanted} without {unwanted}" if unwanted else wanted


def _types(nodes: tuple[NodeView, ...]) -> Iterable[str]:
    for node in nodes:
        if (name := next((node.labels[label] for label in GPU_LABELS if label in node.labels), None)) is not None:
            yield name
        elif any("gpu" in resource for resource in node.offer):
            yield "unlabelled GPUs"


def _listed(names: Iterable[str], separator: str) -> str:
    entries = list(names)
    rest = len(entries) - NAMED_AT_MOST
    return separator.join(name[:NAME_LIMIT] for name in entries[:NAMED_AT_MOST]) + (f" and {rest} more" if rest > 0 else "")
