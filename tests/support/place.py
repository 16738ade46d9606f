"""A place to call from: a namespace, a caller who may invoke what is in it, and Workloads whose pods are servers of the test's own."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

import httpx

from hack.cluster.api import Cluster
from roadstead.api.identity import object_id
from roadstead.counts import key
from tests.build import raw_artifact, raw_workload
from tests.clusters import apply
from tests.support.gateways import READY, Replica, endpoint_slice
from tests.support.pods import Pod
from tests.support.rest import account
from tests.world import here

CONDITIONS: Mapping[str, Mapping[str, bool]] = {
    "ready": READY,
    "leaving": {"ready": False, "serving": True, "terminating": True},
    "gone": {"ready": False, "serving": False, "terminating": True},
}
"""Of an endpoint in its EndpointSlice, by what becomes of the pod."""


class Place:
    """A namespace with a caller who may invoke what is in it, seen through a gateway."""

    def __init__(self, cluster: Cluster, namespace: str, gateway: Replica) -> None:
        self.cluster, self.namespace, self.gateway = cluster, namespace, gateway
        apply(cluster, here(namespace, raw_artifact()))
        self.token = account(cluster, namespace, "caller", "roadstead-invoke")

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    def workload(self, *pods: Pod) -> str:
        """A Workload of its own behind which these pods are ready. Returns its name."""
        name = f"w{uuid.uuid4().hex[:8]}"
        apply(self.cluster, here(self.namespace, raw_workload(name)))
        self.pods(name, *pods)
        return name

    def pods(self, name: str, *pods: Pod, **others: Pod) -> None:
        """More pods of a Workload. ``ready=…`` is what they are without a word, ``leaving=…`` and ``gone=…`` say otherwise."""
        said = [(one, "ready") for one in pods] + [(one, state) for state, one in others.items()]
        if said:
            apply(self.cluster, *(endpoint_slice(self.namespace, name, one.port, one.protocol, CONDITIONS[state]) for one, state in said))

    def prefix(self, name: str) -> str:
        """The path under which the gateway offers it, without a slash at the end."""
        return f"/api/v2/endpoints/workloads/{object_id('workloads', self.namespace, name)}"

    def figures(self, name: str) -> str:
        """What its own endpoint is counted under."""
        return key("workloads", object_id("workloads", self.namespace, name))

    def url(self, name: str, rest: str = "/") -> str:
        return f"{self.gateway.url}{self.prefix(name)}{rest}"

    def client(self, **options: Any) -> httpx.Client:
        """A client of the gateway that bears the caller's token."""
        return httpx.Client(base_url=self.gateway.url, **{"headers": self.headers, "timeout": 60, **options})

    def serving(self, *pods: Pod) -> str:
        """As ``workload``; returns when it has answered a request, so that Envoy knows the pods and remembers the caller."""
        name = self.workload(*pods)
        protocol = pods[0].protocol
        if protocol != "kubernetes.io/h2c":
            answer = httpx.get(self.url(name, "/warm"), headers=self.headers, timeout=60)
            assert answer.status_code == 200, answer.text
        return name
