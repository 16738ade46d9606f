"""Callers of the gateway, as behind a load balancer: they go to a replica that is ready, and count what isn't answered in full.

Some ask again and again, some only once and wait for their answer as long as it takes. What fails is never tried again behind our back.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import aiohttp

from roadstead.api.identity import object_id
from tests.support.gateways import Replica

PAUSE_SECONDS = 0.01
LOOK_SECONDS = 0.25
TIMEOUT_SECONDS = 90.0
PATIENCE_SECONDS = 240.0
"""Of those who ask for what must be woken first."""


@dataclass
class Called:
    """What became of requests: how many were answered, and what failed, with when it began and ended, in seconds since the start.

    ``since`` is that start, in monotonic seconds.
    """

    since: float
    answered: int = 0
    by: Counter[str] = field(default_factory=Counter)
    failed: list[tuple[float, float, str]] = field(default_factory=list)
    cold: int = 0
    """Answered after having been held for a pod."""
    left_out: dict[str, float] = field(default_factory=dict)
    """By name of a replica, when a look last found that it wasn't ready any more, or never was, in seconds since the start."""

    def under_way_at(self, moment: float) -> list[tuple[float, float, str]]:
        """Of what failed, that which had begun before that moment, in monotonic seconds, and ended after it."""
        return [each for each in self.failed if each[0] < moment - self.since <= each[1] + 0.01]  # they are rounded

    def begun_after_a_look(self) -> list[tuple[float, float, str]]:
        """Of what failed, that which was sent to a replica which a look had already found not to be ready."""
        return [each for each in self.failed if each[0] > self.left_out.get(each[2].partition(":")[0], float("inf")) + 0.01]

    def __str__(self) -> str:
        return f"{self.answered} answered ({self.cold} of them held), {len(self.failed)} failed {self.failed[:5]}"


class Callers:
    """Clients with kept connections, each asking again and again, or only once; ``slow`` ones' answers take a second."""

    def __init__(self, replicas: Sequence[Replica], path: str, token: str, clients: int, *, once: bool = False) -> None:
        self.called = Called(time.monotonic())
        self._replicas = replicas
        self._path = path
        self._headers = {"Authorization": f"Bearer {token}"}
        self._clients = clients
        self._once = once
        self._timeout_seconds = PATIENCE_SECONDS if once else TIMEOUT_SECONDS
        self._turn = itertools.count()
        self._stop = threading.Event()
        self._ready: list[Replica] = list(replicas)
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Return when every request under way has its answer."""
        self._stop.set()
        self._thread.join(self._timeout_seconds + 10)
        assert not self._thread.is_alive()

    async def _run(self) -> None:
        connector = aiohttp.TCPConnector(limit=0)
        timeout = aiohttp.ClientTimeout(total=self._timeout_seconds)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout, headers=self._headers) as session:
            session._retry_connection = False
            await self._look(session)
            looking = asyncio.create_task(self._keep_looking(session))
            await asyncio.gather(*(self._keep_asking(session, slow=number % 4 == 0) for number in range(self._clients)))
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)

    async def _keep_looking(self, session: aiohttp.ClientSession) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await self._look(session)

    async def _look(self, session: aiohttp.ClientSession) -> None:
        """As a Service's endpoints: ready pods only."""
        found = []
        for replica in self._replicas:
            with suppress(aiohttp.ClientError, TimeoutError):
                url = f"http://127.0.0.1:{replica.ports['health']}/readyz"
                async with session.get(url, timeout=aiohttp.ClientTimeout(2)) as answer:
                    if answer.status == 200:
                        found.append(replica)
        at = time.monotonic() - self.called.since
        self.called.left_out |= {each.name: at for each in self._ready if each not in found}
        self._ready = found or self._ready

    async def _keep_asking(self, session: aiohttp.ClientSession, *, slow: bool) -> None:
        while not self._stop.is_set():
            await self._ask(session, slow=slow)
            if self._once:
                return
            await asyncio.sleep(PAUSE_SECONDS)

    async def _ask(self, session: aiohttp.ClientSession, *, slow: bool) -> None:
        replica = self._ready[next(self._turn) % len(self._ready)]
        began = time.monotonic() - self.called.since
        try:
            async with session.get(f"{replica.url}{self._path}{'?seconds=1' if slow else ''}") as answer:
                body = await answer.json(content_type=None)
                if answer.status != 200:
                    raise aiohttp.ClientError(f"{replica.name}: {answer.status} {body}")
        except (aiohttp.ClientError, OSError, ValueError, TimeoutError) as error:
            self.called.failed.append((round(began, 2), round(time.monotonic() - self.called.since, 2), f"{replica.name}: {error!r}"))
            await asyncio.sleep(0.1)
        else:
            self.called.answered += 1
            self.called.by[body.get("hostname", "")] += 1
            self.called.cold += "x-roadstead-cold-start" in answer.headers


def ways(namespace: str, workload: str, deployment: str) -> list[str]:
    """Paths of a Workload and of a Deployment."""
    named = (("workloads", workload), ("deployments", deployment))
    return [f"/api/v2/endpoints/{kind}/{object_id(kind, namespace, name)}/" for kind, name in named]


@contextmanager
def calling(replicas: Sequence[Replica], path: str, token: str, clients: int = 12) -> Iterator[Called]:
    """Calls for the length of the block; the counts are complete when it has ended."""
    running = Callers(replicas, path, token, clients)
    running.start()
    try:
        yield running.called
    finally:
        running.stop()
        print(running.called)
