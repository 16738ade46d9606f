"""Callers of the gateway, as behind a load balancer: they go to a replica that is ready, and count what isn't answered in full."""

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

from tests.support.gateways import Replica

PAUSE_SECONDS = 0.01
LOOK_SECONDS = 0.25
TIMEOUT_SECONDS = 90.0


@dataclass
class Called:
    """What became of requests: how many were answered, and what failed, with when it began and ended, in seconds since the start."""

    answered: int = 0
    by: Counter[str] = field(default_factory=Counter)
    failed: list[tuple[float, float, str]] = field(default_factory=list)
    cold: int = 0
    """Answered after having been held for a pod."""

    def __str__(self) -> str:
        return f"{self.answered} answered ({self.cold} of them held), {len(self.failed)} failed {self.failed[:5]}"


class Callers:
    """Clients with kept connections, each asking again and again; one that lasts takes its answer in pieces over two seconds."""

    def __init__(self, replicas: Sequence[Replica], path: str, token: str, clients: int) -> None:
        self.called = Called()
        self._replicas = replicas
        self._path = path
        self._headers = {"Authorization": f"Bearer {token}"}
        self._clients = clients
        self._began = time.monotonic()
        self._turn = itertools.count()
        self._stop = threading.Event()
        self._ready: list[Replica] = list(replicas)
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Return when every request under way has its answer."""
        self._stop.set()
        self._thread.join(TIMEOUT_SECONDS + 10)
        assert not self._thread.is_alive()

    async def _run(self) -> None:
        connector = aiohttp.TCPConnector(limit=0)
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout, headers=self._headers) as session:
            looking = asyncio.create_task(self._look(session))
            await asyncio.gather(*(self._ask(session, slow=number % 4 == 0) for number in range(self._clients)))
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)

    async def _look(self, session: aiohttp.ClientSession) -> None:
        """As a Service's endpoints: ready pods only."""
        while True:
            found = []
            for replica in self._replicas:
                with suppress(aiohttp.ClientError, TimeoutError):
                    async with session.get(
                        f"http://127.0.0.1:{replica.ports['health']}/readyz", timeout=aiohttp.ClientTimeout(2)
                    ) as answer:
                        if answer.status == 200:
                            found.append(replica)
            self._ready = found or self._ready
            await asyncio.sleep(LOOK_SECONDS)

    async def _ask(self, session: aiohttp.ClientSession, *, slow: bool) -> None:
        while not self._stop.is_set():
            replica = self._ready[next(self._turn) % len(self._ready)]
            began = time.monotonic() - self._began
            try:
                async with session.get(f"{replica.url}{self._path}{'?seconds=1' if slow else ''}") as answer:
                    body = await answer.json(content_type=None)
                    if answer.status != 200:
                        raise aiohttp.ClientError(f"{replica.name}: {answer.status} {body}")
            except (aiohttp.ClientError, OSError, ValueError, TimeoutError) as error:
                self.called.failed.append((round(began, 2), round(time.monotonic() - self._began, 2), f"{replica.name}: {error!r}"))
                await asyncio.sleep(0.1)
            else:
                self.called.answered += 1
                self.called.by[body.get("hostname", "")] += 1
                self.called.cold += "x-roadstead-cold-start" in answer.headers
            await asyncio.sleep(PAUSE_SECONDS)


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
