"""The gateway's mirrors of the cluster, which tell the directory of every change."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from roadstead.api.platform import Platform, PlatformSpec
from roadstead.gateway.directory import Directory
from roadstead.gateway.views import SERVICE_LABEL, endpoint_view, pod_view, slice_view, workload_view
from roadstead.kube.client import ApiClient
from roadstead.kube.reflector import Reflector
from roadstead.kube.resource import ENDPOINT_SLICES, PODS, Body, Key
from roadstead.names import CHILDREN_SELECTOR
from roadstead.resources import ENDPOINTS, PLATFORM_NAME, PLATFORMS, WORKLOADS


class Mirrors:
    """``configured`` is told of the administrator's settings, ``peers`` of the replicas' pods: their names and addresses."""

    def __init__(self, client: ApiClient, directory: Directory, namespace: str, peer_service: str) -> None:
        self.configured: Callable[[PlatformSpec], None] = lambda _: None
        self.peers: Callable[[Mapping[str, str]], None] = lambda _: None
        self._directory = directory
        workloads = Reflector(client, WORKLOADS, project=workload_view, notify=directory.put_workload)
        endpoints = Reflector(client, ENDPOINTS, project=endpoint_view, notify=directory.put_endpoint)
        slices = Reflector(client, ENDPOINT_SLICES, project=slice_view, notify=directory.put_slice, label_selector=CHILDREN_SELECTOR)
        pods = Reflector(client, PODS, project=pod_view, notify=directory.put_pod, label_selector=CHILDREN_SELECTOR)
        platforms = Reflector(
            client, PLATFORMS, project=lambda body: Platform.model_validate(body).spec, notify=lambda key, _, new: self._platform(key, new)
        )
        self.reflectors: tuple[Reflector[Any], ...] = (platforms, workloads, endpoints, slices, pods)
        self._peers: Reflector[Mapping[str, str]] | None = None
        if peer_service:
            selector = f"{SERVICE_LABEL}={peer_service}"
            self._peers = Reflector(
                client, ENDPOINT_SLICES, project=_replicas, notify=self._replica, namespace=namespace, label_selector=selector
            )
            self.reflectors = (*self.reflectors, self._peers)

    def loops(self) -> Mapping[str, Coroutine[Any, Any, None]]:
        """The coroutines to run for the life of the process."""
        return {f"mirror {number} of {each.resource.plural}": each.run() for number, each in enumerate(self.reflectors)}

    @property
    def filled(self) -> bool:
        """Whether every mirror has been filled once."""
        return all(reflector.synced.is_set() for reflector in self.reflectors)

    async def wait_filled(self) -> None:
        """Return when every mirror has been filled once."""
        await asyncio.gather(*(reflector.synced.wait() for reflector in self.reflectors))

    def _platform(self, key: Key, new: PlatformSpec | None) -> None:
        if key == ("", PLATFORM_NAME):
            self._directory.platform = new or PlatformSpec()
            self.configured(self._directory.platform)

    def _replica(self, *_: object) -> None:
        if self._peers is not None:
            self.peers({name: address for part in self._peers.items.values() for name, address in part.items()})


def _replicas(body: Body) -> Mapping[str, str]:
    """Pod names and addresses in an EndpointSlice, ready or not: who is starting or going has something to tell too."""
    found: dict[str, str] = {}
    for endpoint in body.get("endpoints") or ():
        name = (endpoint.get("targetRef") or {}).get("name")
        if name and endpoint.get("addresses"):
            found[name] = endpoint["addresses"][0]
    return found
