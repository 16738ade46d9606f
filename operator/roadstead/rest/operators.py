"""Whether anybody keeps the statuses true: the operator's Lease, looked at now and then."""

from __future__ import annotations

import asyncio
import logging
import time
from datetime import UTC, datetime
from typing import Final

from roadstead.kube.client import ApiClient
from roadstead.kube.errors import ApiError, NotFound
from roadstead.kube.resource import LEASES, Body
from roadstead.names import OPERATOR_LEASE

log = logging.getLogger(__name__)
LOOK_SECONDS: Final = 5.0
PATIENCE: Final = 3.0
"""Lease durations without a renewal after which nobody leads; a change of leader takes one or two."""


class Operators:
    """``alive`` is judged by changes of the Lease on our own clock; only what was there at the start is judged by the cluster's."""

    def __init__(self, client: ApiClient, namespace: str) -> None:
        self.alive = True
        self._client = client
        self._namespace = namespace
        self._seen: tuple[str, str] | None = None
        self._changed_at = 0.0

    async def run(self) -> None:
        """Look until cancelled. While the API server can't be asked the verdict stays: nothing is known of the operator then."""
        while True:
            try:
                lease = await self._client.get(LEASES, self._namespace, OPERATOR_LEASE)
            except NotFound:
                self._say(False)
            except ApiError as error:
                if not error.transient:
                    log.error("May not read Lease %s/%s, so states can't become unknown: %s", self._namespace, OPERATOR_LEASE, error)
            else:
                self._say(self._judge(lease["spec"]))
            await asyncio.sleep(LOOK_SECONDS)

    def _judge(self, spec: Body) -> bool:
        patience: float = PATIENCE * spec.get("leaseDurationSeconds", 15)
        now = time.monotonic()
        seen = (spec.get("holderIdentity") or "", spec.get("renewTime") or "")
        if seen != self._seen:
            age = 0.0
            if self._seen is None and seen[1]:
                age = max(0.0, (datetime.now(UTC) - datetime.fromisoformat(seen[1])).total_seconds())
            self._seen = seen
            self._changed_at = now - age
        return now - self._changed_at < patience

    def _say(self, alive: bool) -> None:
        if alive != self.alive:
            log.warning("The operator is back" if alive else "Nobody renews the operator's Lease: states are unknown until somebody does")
        self.alive = alive
