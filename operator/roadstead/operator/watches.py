"""kopf's part: watching what users declare, with none of kopf's own writes (no finalizers, annotations or events)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import aiohttp
import kopf

from roadstead.controller.controller import OURS
from roadstead.controller.kinds import Kind
from roadstead.kube.config import ClusterConfig
from roadstead.operator.pulse import Pulses

log = logging.getLogger(__name__)
Saw = Callable[..., None]
ENDING_SECONDS: Final = (2.0, 0.2, 0.2, 0.2, 0.2)
"""How long to wait after each time of cancelling."""


class _NoDiffBase(kopf.DiffBaseStorage):
    """kopf computes and stores differences for handlers that we don't have; this saves two deep copies an event."""

    def build(self, *, body: kopf.Body, extra_fields: Any = None) -> kopf.BodyEssence:
        return kopf.BodyEssence()

    def fetch(self, *, body: kopf.Body) -> kopf.BodyEssence | None:
        return None

    def store(self, *, body: kopf.Body, patch: kopf.Patch, essence: kopf.BodyEssence) -> None:
        return None


class _NoProgress(kopf.ProgressStorage):
    """As above, for the progress of handlers."""

    def fetch(self, *, key: Any, body: kopf.Body) -> None:
        return None

    def store(self, *, key: Any, record: Any, body: kopf.Body, patch: kopf.Patch) -> None:
        return None

    def purge(self, *, key: Any, body: kopf.Body, patch: kopf.Patch) -> None:
        return None

    def touch(self, *, body: kopf.Body, patch: kopf.Patch, value: str | None) -> None:
        return None

    def clear(self, *, essence: kopf.BodyEssence) -> kopf.BodyEssence:
        return essence

    def flush(self) -> None:
        return None


async def run(saw: Saw, config: ClusterConfig, spawned: Callable[[], None], pulses: Pulses) -> None:
    """Watch until cancelled. Raises what ended the watches otherwise. ``pulses`` are told of signs of life.

    ``kopf.operator()`` takes SIGTERM away from the process, and ends by cancelling every task that it finds younger than itself. So only
    its first half is used: ``spawned`` is called when kopf has set its signal handlers, and the end is ours.
    """
    pulses.begin()
    roots = await kopf.spawn_tasks(registry=registry(saw, config, pulses), settings=settings(), clusterwide=True)
    spawned()
    try:
        await asyncio.wait(roots, return_when=asyncio.FIRST_COMPLETED)
    finally:
        pulses.end()
        await _end(set(roots))
    for task in roots:
        if task.done() and not task.cancelled() and (error := task.exception()) is not None:
            raise error


async def _end(roots: set[asyncio.Task[Any]]) -> None:
    """Cancel kopf's root tasks, which end theirs, and after a while whatever is left, repeatedly.

    A watcher that is cancelled the moment its request is refused loses that (kopf 1.45.2: an assertion fails in the callback that should
    cancel the request), and would keep its root, and with it the process, waiting for ever.
    """
    left = roots
    for seconds in ENDING_SECONDS:
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left, timeout=seconds)
        left = {task for task in asyncio.all_tasks() if _is_kopfs(task)}
    if left:
        log.warning("kopf leaves %d tasks behind that can't be cancelled", len(left))


def _is_kopfs(task: asyncio.Task[Any]) -> bool:
    """Whether a task runs kopf's own code, and not ours that waits for kopf."""
    code = getattr(task.get_coro(), "cr_code", None)
    return code is not None and Path(code.co_filename).is_relative_to(Path(kopf.__file__).parent)


def settings() -> kopf.OperatorSettings:
    """kopf's settings: standalone (the Lease decides who works), silent, and quick to let memory go."""
    chosen = kopf.OperatorSettings()
    chosen.posting.enabled = False
    chosen.peering.standalone = True
    chosen.scanning.disabled = True  # our kinds are there when it starts; when they go it ends, and is started anew when they are back
    chosen.queueing.idle_timeout = 0.5
    chosen.watching.chunk_size = 500
    chosen.watching.connect_timeout = 10
    chosen.networking.request_timeout = 30
    chosen.process.ultimate_exiting_timeout = None  # it would kill a process that outlives a broken watch
    chosen.persistence.finalizer = "roadstead.dev/finalizer"
    chosen.persistence.diffbase_storage = _NoDiffBase()
    chosen.persistence.progress_storage = _NoProgress()
    return chosen


def registry(saw: Saw, config: ClusterConfig, pulses: Pulses) -> kopf.OperatorRegistry:
    """One ``on.event`` handler a kind, which stores the object and enqueues its key; it does no I/O."""
    handlers = kopf.OperatorRegistry()

    @kopf.on.login(registry=handlers)
    async def login(**_: object) -> kopf.AiohttpSession:
        return kopf.AiohttpSession(server=config.url, aiohttp_session=_session(config, pulses))

    for kind, resource in OURS.items():
        _register(handlers, kind, resource.group, resource.version, resource.plural, saw)
    return handlers


def _register(handlers: kopf.OperatorRegistry, kind: Kind, group: str, version: str, plural: str, saw: Saw) -> None:
    @kopf.on.event(group, version, plural, registry=handlers, id=f"saw-{plural}")
    async def handle(event: kopf.RawEvent, **_: object) -> None:
        saw(kind, dict(event["object"]), deleted=event["type"] == "DELETED")


def _session(config: ClusterConfig, pulses: Pulses) -> aiohttp.ClientSession:
    """A session of its own for kopf, which closes it when it ends; the bearer token is read again as it rotates.

    A 401 isn't left to kopf while there is another token: it would ask for a new session, at most three times (``Vault.invalidate``).
    """

    async def authorize(
        request: aiohttp.ClientRequest, handler: Callable[[aiohttp.ClientRequest], Awaitable[aiohttp.ClientResponse]]
    ) -> aiohttp.ClientResponse:
        while True:
            token = config.bearer()
            if token is not None:
                request.headers["Authorization"] = f"Bearer {token}"
            response = await handler(request)
            if response.status != 401 or not config.renewed(token):
                return response
            response.release()

    connector = aiohttp.TCPConnector(limit=0, ssl=config.ssl if config.ssl is not None else True)
    return aiohttp.ClientSession(connector=connector, middlewares=(pulses.middleware, authorize))
