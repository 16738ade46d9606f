"""What the benches read: latencies, a process's CPU, an agent's requests in the audit log, and when objects reach a state."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from hack.cluster.api import Cluster
from roadstead.kube.client import ApiClient
from roadstead.kube.errors import ApiError
from roadstead.kube.resource import Body, Resource
from tests.clusters import audit_events


def share(values: Sequence[float], part: float) -> float:
    """The value below which ``part`` of the values lie."""
    return sorted(values)[min(len(values) - 1, round(part * (len(values) - 1)))]


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def requests(cluster: Cluster, since: int, agent: str = "roadstead-operator", name: str | None = None) -> Counter[str]:
    """An agent's finished requests after that position in the audit log, as ``verb resource``; Leases left out. ``name``: of one object."""
    found: Counter[str] = Counter()
    for event in audit_events(cluster, since):
        ref = event.get("objectRef") or {}
        wanted = event.get("userAgent", "").startswith(agent) and name in (None, ref.get("name"))
        if wanted and ref.get("resource") != "leases":
            resource = ref.get("resource", "") + ("/" + ref["subresource"] if ref.get("subresource") else "")
            found[f"{event['verb']} {resource}"] += 1
    return found


def scaled(cluster: Cluster, since: int) -> dict[str, float]:
    """When the API server had first carried out a change of each Deployment's count, by its audit log; seconds since 1970."""
    found: dict[str, float] = {}
    for event in audit_events(cluster, since):
        ref = event.get("objectRef") or {}
        changes = event["verb"] in ("update", "patch") and (ref.get("resource"), ref.get("subresource")) == ("deployments", "scale")
        if changes and event["responseStatus"]["code"] == 200:
            found.setdefault(ref["name"], datetime.fromisoformat(event["stageTimestamp"]).timestamp())
    return found


def written(found: Counter[str]) -> int:
    """How many of the requests were writes."""
    return sum(count for what, count in found.items() if what.split()[0] not in ("get", "list", "watch"))


@dataclass
class Moments:
    """When each object of a kind in a namespace was first seen to be what ``reached`` says; ``changed`` is told of each sight."""

    client: ApiClient
    resource: Resource
    namespace: str
    reached: Callable[[Body], bool]
    changed: Callable[[Body], None] = lambda _: None
    at: dict[str, float] = field(default_factory=dict)
    version: str = ""

    async def begin(self) -> asyncio.Task[None]:
        """Watch from now on."""
        async for page in self.client.pages(self.resource, namespace=self.namespace):
            self.version = page.resource_version
            for body in page.items:
                self._see(body)
        return asyncio.create_task(self._follow())

    async def all_of(self, count: int, seconds: float) -> float:
        """Wait until so many have; returns the time of the last (monotonic)."""
        deadline = time.monotonic() + seconds
        while len(self.at) < count:
            if time.monotonic() > deadline:
                raise AssertionError(f"only {len(self.at)} of {count} {self.resource.plural} after {seconds} s")
            await asyncio.sleep(0.05)
        return max(self.at.values())

    async def _follow(self) -> None:
        while True:
            with suppress(ApiError):
                async for event in self.client.watch(self.resource, namespace=self.namespace, resource_version=self.version):
                    self.version = event.object["metadata"]["resourceVersion"]
                    if event.type != "BOOKMARK":
                        self._see(event.object)

    def _see(self, body: Body) -> None:
        name = body["metadata"]["name"]
        self.changed(body)
        if name not in self.at and self.reached(body):
            self.at[name] = time.monotonic()
