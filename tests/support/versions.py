"""Every version of a Workload's status, as a watch delivers them: what one write changed is the difference of two."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

from hack.cluster import binaries
from hack.cluster.api import Cluster

Body = dict[str, Any]


@contextmanager
def recording(cluster: Cluster, namespace: str, name: str = "chat") -> Iterator[list[Body]]:
    """Record for the length of the block; the list, the present version first, is filled when the block ends."""
    versions: list[Body] = []
    path = cluster.state / f"versions-{namespace}.json"
    kubectl = str(binaries.path_to(binaries.KUBERNETES, "kubectl"))
    command = [kubectl, "--kubeconfig", str(cluster.kubeconfig), "get", "rsw", name, "-n", namespace, "--watch", "-o", "json"]
    with path.open("wb") as stream, subprocess.Popen(command, stdout=stream) as process:
        try:
            yield versions
        finally:
            process.terminate()
    text, decoder = path.read_text(), json.JSONDecoder()
    position = 0
    while (position := text.find("{", position)) >= 0:
        try:
            body, position = decoder.raw_decode(text, position)
        except json.JSONDecodeError:
            break  # cut off
        versions.append(body.get("status") or {})


def changes(versions: list[Body]) -> list[set[str]]:
    """The fields that each write changed."""
    found = [{name for name in old.keys() | new.keys() if old.get(name) != new.get(name)} for old, new in pairwise(versions)]
    return [names for names in found if names]
