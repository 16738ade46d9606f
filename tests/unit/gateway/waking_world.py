"""Views of Workloads, Deployments and pods, and an Envoy that acknowledges when a test says so."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from roadstead.api.container import Protocol
from roadstead.api.identity import object_id
from roadstead.gateway.directory import DEPLOYMENT, WORKLOAD, Directory, Target
from roadstead.gateway.views import Address, EndpointView, PodView, SliceView, WorkloadView
from roadstead.gateway.waking import Waking

NS = "team"
POD = ("10.0.0.1", 8080)


@dataclass
class Envoy:
    """What the directory told it. ``hold`` keeps it from acknowledging."""

    clusters: dict[str, tuple[Protocol, tuple[Address, ...]]] = field(default_factory=dict)
    unready: dict[str, tuple[Address, ...]] = field(default_factory=dict)
    told: list[str] = field(default_factory=list)
    free: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.free.set()

    def hold(self) -> None:
        self.free.clear()

    def put(self, cluster: str, protocol: Protocol, addresses: Iterable[Address], unready: Iterable[Address] = ()) -> None:
        self.clusters[cluster] = protocol, tuple(addresses)
        self.unready[cluster] = tuple(unready)
        self.told.append(cluster)

    def drop(self, cluster: str) -> None:
        del self.clusters[cluster], self.unready[cluster]

    async def acknowledged(self, cluster: str) -> None:
        await asyncio.sleep(0)
        await self.free.wait()


@dataclass
class Told:
    """What the other processes were told."""

    demand: dict[str, tuple[int, bool]] = field(default_factory=dict)

    def set_demand(self, key: str, held: int, waking: bool) -> None:
        self.demand[key] = held, waking


class World:
    """A directory and what it is told, with short words for what happens in a cluster."""

    def __init__(self) -> None:
        self.envoy, self.told = Envoy(), Told()
        self.directory = Directory(self.envoy)
        self.waking = Waking(self.directory, self.told)
        self._workloads: dict[str, WorkloadView] = {}
        self._endpoints: dict[str, EndpointView] = {}
        self._slices: dict[str, SliceView] = {}
        self._pods: dict[str, PodView] = {}

    def workload(self, name: str = "w", **changes: object) -> WorkloadView:
        old = self._workloads.get(name)
        new = replace(old or at_zero(name), **changes)  # type: ignore[arg-type]
        self._workloads[name] = new
        self.directory.put_workload((NS, name), old, new)
        return new

    def no_workload(self, name: str = "w") -> None:
        self.directory.put_workload((NS, name), self._workloads.pop(name), None)

    def deployment(self, name: str, wanted: str, active: str) -> None:
        old = self._endpoints.get(name)
        new = EndpointView(object_id("deployments", NS, name), f"uid-{name}", NS, name, wanted, active)
        self._endpoints[name] = new
        self.directory.put_endpoint((NS, name), old, new)

    def no_deployment(self, name: str) -> None:
        self.directory.put_endpoint((NS, name), self._endpoints.pop(name), None)

    def no_pods(self, workload: str = "w") -> None:
        """Their EndpointSlice is deleted."""
        self.directory.put_slice((NS, f"{workload}-abc"), self._slices.pop(workload), None)

    def kept(self) -> int:
        """How many things the directory and the waking part remember of objects and requests."""
        parts = [value for part in (self.directory, self.waking) for value in vars(part).values()]
        return sum(len(value) for value in parts if isinstance(value, dict | set | list))

    def pods(
        self,
        *ready: Address,
        leaving: tuple[Address, ...] = (),
        unready: tuple[Address, ...] = (),
        workload: str = "w",
        protocol: Protocol = Protocol.HTTP,
    ) -> None:
        old = self._slices.get(workload)
        new = SliceView(workload, protocol, ready, leaving, unready)
        self._slices[workload] = new
        self.directory.put_slice((NS, f"{workload}-abc"), old, new)

    def pod(self, workload: str = "w", *, scheduled: bool = False, running: bool = False, started: bool = False) -> None:
        old = self._pods.get(workload)
        new = PodView(workload, scheduled, running, started, terminating=False)
        self._pods[workload] = new
        self.directory.put_pod((NS, f"{workload}-pod"), old, new)

    def target(self, name: str = "w", kind: str = WORKLOAD) -> Target:
        found = self.directory.find(kind, object_id(kind, NS, name))
        assert found is not None
        return found

    def deployed(self, name: str) -> Target:
        return self.target(name, DEPLOYMENT)


def at_zero(name: str) -> WorkloadView:
    return WorkloadView(
        id=object_id("workloads", NS, name),
        uid=f"uid-{name}",
        namespace=NS,
        name=name,
        state="running",
        message="Scaled to zero",
        replicas=0,
        suspended=False,
        deleted=False,
        sleeps=True,
    )


async def settle() -> None:
    """Let what is under way come to rest."""
    for _ in range(5):
        await asyncio.sleep(0)
