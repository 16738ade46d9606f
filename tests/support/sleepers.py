"""Workloads at zero, and callers who wait for their pods: what becomes of requests that are held when something goes away."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from hack.cluster.api import Cluster
from tests.build import autoscaling, raw_deployment, raw_whoami
from tests.clusters import apply, wait_for
from tests.support.callers import Called, Callers, ways
from tests.support.gateways import Replica, figure
from tests.support.rest import account
from tests.world import active_workload, asleep, here

EARLY, LATE = "early", "late"
"""Workloads; the Deployments in front of them have the same names."""
START_SECONDS = 10
"""How long their pods take to be ready, so that requests are held for as long."""
LATE_SECONDS = 2.0
EACH = 4
HELD = 4 * EACH
"""Requests in all: so many to each Workload, and to each Deployment."""


class Sleepers:
    """Both in a namespace of their own, at zero once they have shown that they run."""

    def __init__(self, cluster: Cluster, gateways: Sequence[Replica], image: str, namespace: str) -> None:
        self.namespace = namespace
        self._cluster = cluster
        self._gateways = gateways
        self._token = account(cluster, namespace, "caller", "roadstead-invoke")
        for name in (EARLY, LATE):
            runtime = autoscaling("httpRequestsConcurrency", 100, 0, 1)
            made = raw_whoami(name, image, start_seconds=START_SECONDS, runtime=runtime)
            apply(cluster, here(namespace, made), here(namespace, raw_deployment(name, name)))

    def wait_rested(self) -> None:
        """Return when a request to any of them would have to wait."""
        wait_for(lambda: all(map(self._rested, (EARLY, LATE))), "zero", 120)

    @contextmanager
    def holding(self) -> Iterator[list[Called]]:
        """Requests that wait: half of them since before the block, half come LATE_SECONDS after. All have their answer at the end."""
        early, late = (
            [Callers(self._gateways, way, self._token, EACH, once=True) for way in ways(self.namespace, name, name)]
            for name in (EARLY, LATE)
        )
        timer = threading.Timer(LATE_SECONDS, lambda: [each.start() for each in late])
        for each in early:
            each.start()
        try:
            wait_for(lambda: self._held() == HELD / 2, "requests that wait", START_SECONDS)
        except AssertionError as error:
            raise AssertionError(f"{self._held()} requests wait; of these: {[each.called for each in early]}") from error
        timer.start()
        try:
            yield [each.called for each in (*early, *late)]
        finally:
            timer.join()
            for each in (*early, *late):
                each.stop()

    def _rested(self, name: str) -> bool:
        return asleep(self._cluster, self.namespace, name) and active_workload(self._cluster, self.namespace, name) == name

    def _held(self) -> float:
        return sum(figure(one, "roadstead_gateway_held_requests") for one in self._gateways)
