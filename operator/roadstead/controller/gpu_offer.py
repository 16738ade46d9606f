"""Which GPUs no node offers: many Workloads may wait for a node, and one look at every node serves them all until a node changes."""

from __future__ import annotations

from roadstead.controller.mirrors import Mirrors
from roadstead.desired.gpu import GpuPlacement
from roadstead.observed.gpu import missing_gpu

Wish = tuple[tuple[tuple[tuple[str, str | None], ...], ...], str, int]
"""Alternatives of node labels, resource and number."""


class GpuOffer:
    """Answers by what is asked for, kept until a node changes."""

    def __init__(self, mirrors: Mirrors) -> None:
        self._mirrors = mirrors
        self._as_of = -1
        self._said: dict[Wish, str | None] = {}

    def missing(self, wanted: GpuPlacement) -> str | None:
        """A sentence on what no node has; None where one has it, taken or not."""
        if self._as_of != self._mirrors.node_changes:
            self._as_of = self._mirrors.node_changes
            self._said.clear()
        wish = (tuple(tuple(term.items()) for term in wanted.terms), wanted.resource, wanted.count)
        if wish not in self._said:
            self._said[wish] = missing_gpu(wanted.terms, wanted.resource, wanted.count, self._mirrors.nodes())
        return self._said[wish]
