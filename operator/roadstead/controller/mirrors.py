"""The mirrors of what we own or look at in the cluster: children, pods and nodes, as projections."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterator
from functools import partial
from typing import Any

from roadstead.controller.kinds import CHILDREN, Key, Kind
from roadstead.controller.overheard import Overheard
from roadstead.desired import ChildKind
from roadstead.desired.scaled_object import hpa_name
from roadstead.kube.client import ApiClient
from roadstead.kube.managed_fields import ownership
from roadstead.kube.reflector import Reflector
from roadstead.kube.resource import ENDPOINT_SLICES, NODES, PODS
from roadstead.names import CHILDREN_SELECTOR, FIELD_MANAGER
from roadstead.observed.scaler import HpaView, hpa_view, scaled_object_view
from roadstead.observed.views import ChildView, DeploymentView, NodeView, PodView, child_view, deployment_view, node_view, pod_view

Body = dict[str, Any]
Name = tuple[str, str]
"""Namespace and name."""
KEDA_LOOK_SECONDS = 10.0
"""How often to look whether KEDA has come, while it isn't there."""

VIEWS: dict[ChildKind, Callable[[Body, str, tuple[str, ...]], ChildView]] = {
    ChildKind.ARTIFACT: child_view,
    ChildKind.DEPLOYMENT: deployment_view,
    ChildKind.SERVICE: child_view,
    ChildKind.HORIZONTAL_POD_AUTOSCALER: hpa_view,
    ChildKind.SCALED_OBJECT: scaled_object_view,
    ChildKind.POD_DISRUPTION_BUDGET: child_view,
    ChildKind.NETWORK_POLICY: child_view,
}


class Mirrors:
    """One reflector a kind. ``notify`` is called with the Workload that a changed child or pod belongs to.

    ``changed`` is called before, with the child's views from before and after (None: it has gone).
    ``keda_changed`` is called with whether ScaledObjects are known to the cluster, ``gateway_changed`` with whether the gateway serves,
    each when that changes; ``gateway`` are namespace and name of the gateway's Service. ``pod_ready`` is called with the Workload one of
    whose pods is heard to be ready, each time.
    """

    def __init__(
        self,
        client: ApiClient,
        notify: Callable[[Key], None],
        changed: Callable[[Key, ChildKind, ChildView | None, ChildView | None], None],
        keda_changed: Callable[[bool], None],
        gateway_changed: Callable[[bool], None] = lambda _: None,
        gateway: Name = ("roadstead-system", "roadstead-gateway"),
        pod_ready: Callable[[Key], None] = lambda _: None,
    ) -> None:
        self._notify = notify
        self._pod_ready = pod_ready
        self._changed = changed
        self.node_changes = 0
        """Changes of nodes ever seen: what was found out by looking at all of them holds until this differs."""
        self._pods_of: defaultdict[Name, dict[str, PodView]] = defaultdict(dict)
        self._children = {
            kind: Reflector(
                client,
                CHILDREN[kind],
                project=_projection(kind),
                notify=partial(self._child_changed, kind),
                label_selector=CHILDREN_SELECTOR,
                optional=kind is ChildKind.SCALED_OBJECT,
                on_presence=keda_changed if kind is ChildKind.SCALED_OBJECT else None,
                absent_seconds=KEDA_LOOK_SECONDS,
            )
            for kind in ChildKind
        }
        self._pods = Reflector(client, PODS, project=pod_view, notify=self._pod_changed, label_selector=CHILDREN_SELECTOR)
        self.overheard = Overheard(client, self._pods.items.get, self._spoken_of)
        self._gateway_changed = gateway_changed
        self._gateway_served = False
        self._gateway: Reflector[bool] = Reflector(
            client,
            ENDPOINT_SLICES,
            project=_serves,
            notify=self._gateway_moved,
            namespace=gateway[0],
            label_selector=f"kubernetes.io/service-name={gateway[1]}",
        )
        self._nodes: Reflector[NodeView] = Reflector(client, NODES, project=node_view, notify=self._node_changed)

    @property
    def reflectors(self) -> tuple[Reflector[Any], ...]:
        return (*self._children.values(), self._pods, self._nodes, self._gateway)

    def loops(self) -> list[Coroutine[Any, Any, None]]:
        """The coroutines to run for the life of the process."""
        return [*(reflector.run() for reflector in self.reflectors), *self.overheard.loops()]

    async def wait_synced(self) -> None:
        """Return when every mirror has been filled once."""
        await asyncio.gather(*(reflector.synced.wait() for reflector in self.reflectors))

    def child(self, kind: ChildKind, name: Name) -> ChildView | None:
        """The mirrored child of a Workload of that name."""
        return self._children[kind].items.get(name)

    @property
    def keda_present(self) -> bool:
        """Whether the cluster knows ScaledObjects."""
        return self._children[ChildKind.SCALED_OBJECT].present

    @property
    def gateway_serving(self) -> bool:
        """Whether a pod of the gateway is ready."""
        return any(self._gateway.items.values())

    def kedas_hpa(self, name: Name) -> HpaView | None:
        """The HPA that KEDA made for the ScaledObject of a Workload of that name; it bears the labels of the ScaledObject."""
        found = self.child(ChildKind.HORIZONTAL_POD_AUTOSCALER, (name[0], hpa_name(name[1])))
        return found if isinstance(found, HpaView) and found.of_keda == name[1] else None

    def deployment(self, name: Name) -> DeploymentView | None:
        """The mirrored apps/v1 Deployment."""
        found = self._children[ChildKind.DEPLOYMENT].items.get(name)
        return found if isinstance(found, DeploymentView) else None

    def deployments(self) -> Iterator[tuple[Name, DeploymentView]]:
        """All mirrored apps/v1 Deployments, by the names of their Workloads."""
        items = self._children[ChildKind.DEPLOYMENT].items.items()
        return ((name, found) for name, found in items if isinstance(found, DeploymentView))

    def pods(self, name: Name) -> tuple[PodView, ...]:
        """The pods of a Workload."""
        return tuple(self._pods_of.get(name, {}).values())

    def nodes(self) -> tuple[NodeView, ...]:
        """All nodes."""
        return tuple(self._nodes.items.values())

    def lost(self, name: Name) -> frozenset[str]:
        """The nodes of a Workload's pods that aren't ready."""
        names = {pod.node for pod in self.pods(name) if pod.node is not None}
        return frozenset(node for node in names if (seen := self._nodes.items.get(("", node))) is not None and not seen.ready)

    def _child_changed(self, kind: ChildKind, name: Name, old: ChildView | None, new: ChildView | None) -> None:
        seen = new or old
        if isinstance(seen, HpaView) and seen.of_keda is not None:
            self._notify(Key(Kind.WORKLOAD, name[0], seen.of_keda))
            return
        key = Key(Kind.WORKLOAD, *name)
        self._changed(key, kind, old, new)
        self._notify(key)

    def _spoken_of(self, namespace: str, pod: PodView) -> None:
        self._notify(Key(Kind.WORKLOAD, namespace, pod.workload))

    def _gateway_moved(self, *_: object) -> None:
        if self.gateway_serving != self._gateway_served:
            self._gateway_served = self.gateway_serving
            self._gateway_changed(self._gateway_served)

    def _node_changed(self, *_: object) -> None:
        self.node_changes += 1

    def _pod_changed(self, name: Name, old: PodView | None, new: PodView | None) -> None:
        pod = new or old
        if pod is None or not pod.workload:
            return
        if old is not None and (new is None or new.uid != old.uid):
            self.overheard.forget(old.uid)
        owner = (name[0], pod.workload)
        if new is None:
            self._pods_of[owner].pop(pod.name, None)
            if not self._pods_of[owner]:
                del self._pods_of[owner]
        else:
            self._pods_of[owner][pod.name] = new
            if new.alive and new.ready:
                self._pod_ready(Key(Kind.WORKLOAD, *owner))
        self._notify(Key(Kind.WORKLOAD, *owner))


def _serves(body: Body) -> bool:
    """Whether an EndpointSlice has a ready endpoint; an absent condition counts as true (discovery/v1)."""
    return any((endpoint.get("conditions") or {}).get("ready", True) for endpoint in body.get("endpoints") or ())


def _projection(kind: ChildKind) -> Callable[[Body], ChildView]:
    view = VIEWS[kind]

    def project(body: Body) -> ChildView:
        owned = ownership(body, FIELD_MANAGER)
        return view(body, owned.ours, owned.foreign)

    return project
