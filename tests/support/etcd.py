"""What an administrator does to etcd."""

from __future__ import annotations

import base64
import json
import urllib.request
from typing import Any

from hack.cluster.control import ControlCluster


def compact(cluster: ControlCluster) -> None:
    """Have etcd forget all revisions but the present one."""
    _ask(cluster, "put", {"key": _coded("roadstead"), "value": _coded("1")})
    revision = _ask(cluster, "range", {"key": _coded("roadstead")})["header"]["revision"]
    _ask(cluster, "compaction", {"revision": revision, "physical": True})


def erase(cluster: ControlCluster, path: str) -> None:
    """Take an object away behind the API server's back; ``path`` is its key after ``/registry/``."""
    assert _ask(cluster, "deleterange", {"key": _coded(f"/registry/{path}")}).get("deleted") == "1", path


def _coded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _ask(cluster: ControlCluster, path: str, body: dict[str, object]) -> dict[str, Any]:
    url = next(part.partition("=")[2] for part in cluster.processes["etcd"].command.arguments if part.startswith("--listen-client-urls="))
    request = urllib.request.Request(f"{url}/v3/kv/{path}", json.dumps(body).encode())  # noqa: S310 - our own etcd
    with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310
        found: dict[str, Any] = json.loads(answer.read())
        return found
