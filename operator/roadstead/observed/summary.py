"""A message cut to what fits beside the other columns of ``kubectl get``; the whole of it stays in ``status.message``."""

from __future__ import annotations

import re

SUMMARY_LIMIT = 60
"""With this a line of `kubectl get workloads.roadstead.dev` fits a terminal of 120 columns, with names of twenty characters."""
ADDRESS = re.compile(r"Pod \S+, container \S+: |(?<=Pod )\S+ (?=has no node)")
ASIDE = re.compile(r" \(.*\)")


def summary(message: str) -> str:
    """One line of at most SUMMARY_LIMIT characters: without the pod's name and the asides in brackets, then cut at a word."""
    line = message if len(message) <= SUMMARY_LIMIT else " ".join(ASIDE.sub("", ADDRESS.sub("", message)).split())
    line = line[:1].upper() + line[1:]
    if len(line) <= SUMMARY_LIMIT:
        return line
    kept = line[:SUMMARY_LIMIT].rpartition(" ")[0] or line[: SUMMARY_LIMIT - 1]
    return kept[: SUMMARY_LIMIT - 1].rstrip(" ,;:") + "…"
