"""The reconciliation of our own kind Deployment: its status says which Workload serves."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from roadstead.api.artifact import ArtifactStatus
from roadstead.api.conditions import State
from roadstead.controller.kinds import Key, Kind
from roadstead.controller.mirrors import Mirrors
from roadstead.controller.objects import Objects
from roadstead.controller.platform import PlatformKeeper
from roadstead.kube.client import ApiClient
from roadstead.kube.errors import NotFound
from roadstead.observed.endpoint import Backend, observe_endpoint
from roadstead.resources import ENDPOINTS

log = logging.getLogger(__name__)
STATES = {str(state): state for state in State}
"""A state that a newer version wrote and we don't know counts as none."""


class EndpointReconciler:
    """Reconciles Deployments of ours."""

    def __init__(self, client: ApiClient, objects: Objects, mirrors: Mirrors, platform: PlatformKeeper) -> None:
        self._platform = platform
        self._client = client
        self._objects = objects
        self._mirrors = mirrors
        self._switched: dict[Key, tuple[str, object, object]] = {}
        """Uid and the last switch told, which is seen once more where a look comes before the echo of its write."""

    async def reconcile(self, key: Key) -> float | None:
        """Write the status if it changed."""
        stored, deployment = self._objects.get(key), self._objects.deployment(key)
        if stored is None or deployment is None:
            self._switched.pop(key, None)
            return None
        previous: Mapping[str, Any] = stored.status()
        wanted = deployment.spec.workload_ref.name
        target = self._backend(key.namespace, wanted)
        active = self._backend(key.namespace, previous.get("activeWorkload") or wanted)
        url = self._platform.endpoint("deployments", (key.namespace, key.name), previous)
        status = observe_endpoint(deployment, target, active, previous, datetime.now(UTC), url=url)
        if status != previous:
            try:
                await self._client.set_status(ENDPOINTS, key.namespace, key.name, stored.uid, status)
            except NotFound:
                self._objects.forget(key)
                return None
            self._tell(key, (stored.uid, previous.get("activeWorkload"), status.get("activeWorkload")))
        return None

    def _tell(self, key: Key, switch: tuple[str, object, object]) -> None:
        """Log who serves from now on, if it is another than before."""
        _, before, now = switch
        if before != now and self._switched.get(key) != switch:
            self._switched[key] = switch
            log.info("%s switches from %s to %s", key, *(f"Workload {name}" if name else "none" for name in (before, now)))

    def _backend(self, namespace: str, name: str) -> Backend | None:
        """The Workload of that name; None if it is missing, going or softly deleted."""
        key = Key(Kind.WORKLOAD, namespace, name)
        workload, stored = self._objects.workload(key), self._objects.get(key)
        if workload is None or stored is None or workload.spec.deleted or workload.metadata.deletion_timestamp is not None:
            return None
        content = workload.spec.artifact
        if content is not None:
            registered = content.status is ArtifactStatus.REGISTERED
        else:
            reference = workload.spec.artifact_ref
            artifact = self._objects.artifact(Key(Kind.ARTIFACT, namespace, reference.name)) if reference else None
            registered = artifact is not None and artifact.spec.status is ArtifactStatus.REGISTERED
        state = STATES.get(stored.state, State.SUBMITTED)
        ready = sum(pod.ready and not pod.terminating for pod in self._mirrors.pods((namespace, name)))
        return Backend(name, state, ready, registered, bool(workload.spec.suspend))
