"""The fast path from zero: the gateway itself asks for the first pod, where the administrator allows it (Platform's gateway.fastPath).

KEDA is told of the wake a second later (scaler/service.py), and finds it done. The patch tests that the count is 0, and an admission policy
of the chart holds the gateway's account to just that step; whatever goes wrong here, KEDA's way is still there.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from roadstead.gateway.directory import Directory
from roadstead.gateway.views import WorkloadView
from roadstead.kube.client import ApiClient
from roadstead.kube.errors import ApiError, Conflict
from roadstead.kube.resource import DEPLOYMENTS, Body

log = logging.getLogger(__name__)
ZERO_TO_ONE: Final[tuple[Body, ...]] = (
    {"op": "test", "path": "/spec/replicas", "value": None},
    {"op": "add", "path": "/spec/replicas", "value": 1},
)
"""A Scale leaves a count of 0 out, and to a test in a JSON patch what isn't there is null."""
AT_ONCE: Final = 100
"""Patches under way. Each needs a connection of its own, with a TLS handshake; but what follows a count (pods that are made, bound and
started) delays the patches that come after it by far more, so a burst of wakes is sent as one."""


class FastPath:
    """Scales from 0 to 1 and no further."""

    def __init__(self, client: ApiClient, directory: Directory) -> None:
        self._client = client
        self._directory = directory
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, view: WorkloadView) -> None:
        """Wake it, if that is allowed; returns at once."""
        if self._directory.platform.gateway.fast_path:
            task = asyncio.create_task(self._scale(view))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _scale(self, view: WorkloadView) -> None:
        try:
            async with self._slots:
                await self._client.json_patch(DEPLOYMENTS, view.namespace, view.name, list(ZERO_TO_ONE), subresource="scale")
        except Conflict:
            return  # somebody was faster
        except ApiError as error:
            log.warning("Could not take the fast path for Workload %s/%s, so KEDA wakes it: %s", *view.key, error)
