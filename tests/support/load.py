"""A steady load of HTTP requests from this machine, in which every request that isn't answered in full is counted with its cause."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

TIMEOUT_SECONDS = 60.0
PAUSE_SECONDS = 0.05


@dataclass(frozen=True)
class Client:
    """One client: what it asks for, and whether it keeps its connection for as long as the server does."""

    kind: str
    path: str = "/"
    keeps: bool = False


NEW, KEPT = Client("new connection"), Client("kept connection", keeps=True)
SLOW, SLOW_KEPT = Client("2 s, new connection", "/?seconds=2"), Client("2 s, kept connection", "/?seconds=2", keeps=True)


@dataclass
class Counts:
    """Answers by kind of client, the host names that gave them, and what failed: seconds since the start, kind, error."""

    answered: Counter[str] = field(default_factory=Counter)
    by: dict[str, set[str]] = field(default_factory=dict)
    failed: list[tuple[float, str, str]] = field(default_factory=list)

    def __str__(self) -> str:
        kinds = ", ".join(f"{kind}: {count}" for kind, count in sorted(self.answered.items()))
        return f"{sum(self.answered.values())} answered ({kinds}), {len(self.failed)} failed"


class Load:
    """Clients that ask again and again until stopped."""

    def __init__(self, address: str, clients: tuple[Client, ...]) -> None:
        self.counts = Counts()
        self._address = address
        self._began = time.monotonic()
        self._done = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._ask, args=(client,), daemon=True) for client in clients]

    def start(self) -> None:
        """Begin asking."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Return when every request under way has its answer."""
        self._done.set()
        for thread in self._threads:
            thread.join(TIMEOUT_SECONDS + 10)
        assert not any(thread.is_alive() for thread in self._threads)

    def _ask(self, client: Client) -> None:
        connection = http.client.HTTPConnection(self._address, timeout=TIMEOUT_SECONDS)
        while not self._done.is_set():
            try:
                connection.request("GET", client.path)
                answer = connection.getresponse()
                body = answer.read()
                if answer.status != 200:
                    raise http.client.HTTPException(f"status {answer.status}")
                host = json.loads(body)["hostname"]
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                with self._lock:
                    self.counts.failed.append((time.monotonic() - self._began, client.kind, repr(error)))
            else:
                with self._lock:
                    self.counts.answered[client.kind] += 1
                    self.counts.by.setdefault(client.kind, set()).add(host)
            if not client.keeps:
                connection.close()
            self._done.wait(PAUSE_SECONDS)
        connection.close()


@contextmanager
def load(address: str, *clients: Client) -> Iterator[Counts]:
    """Load for the length of the block; the counts are complete when it has ended."""
    running = Load(address, clients)
    running.start()
    try:
        yield running.counts
    finally:
        running.stop()
        print(running.counts)
