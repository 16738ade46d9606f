"""What a process has to say that one listener (a peer, the disk) has not heard yet, and those who listen."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager


class Changes:
    """``urgent`` is set by what can't wait for the next round; ``told`` writes the present values of what has changed."""

    def __init__(self, told: Callable[[Changes], bytes]) -> None:
        self.urgent = asyncio.Event()
        self.minutes: defaultdict[tuple[str, str], set[int]] = defaultdict(set)
        """Minutes that were counted in, by origin and endpoint."""
        self.nodes: set[str] = set()
        self.demanded: set[str] = set()
        self.processes: set[str] = set()
        self._told = told

    @property
    def pending(self) -> bool:
        """Whether there is anything to take."""
        return bool(self.minutes or self.nodes or self.processes)

    def take(self) -> bytes | None:
        """It all, once; None if there is nothing."""
        if not self.pending:
            return None
        told = self._told(self)
        self.minutes.clear()
        self.nodes.clear()
        self.demanded.clear()
        self.processes.clear()
        return told


class Followers:
    """The listeners of one process. Each change is noted for each of them until it takes it."""

    def __init__(self, told: Callable[[Changes], bytes]) -> None:
        self._told = told
        self._all: set[Changes] = set()

    def __len__(self) -> int:
        return len(self._all)

    @contextmanager
    def follow(self) -> Iterator[Changes]:
        """Collect, for one listener, what changes from now on."""
        changes = Changes(self._told)
        self._all.add(changes)
        try:
            yield changes
        finally:
            self._all.discard(changes)

    @property
    def pending(self) -> bool:
        """Whether any of them has something to take."""
        return any(each.pending for each in self._all)

    def counted(self, origin: str, key: str, minutes: Iterable[int]) -> None:
        """In these minutes something was counted for an endpoint, or is to be said again."""
        for each in self._all:
            each.minutes[origin, key].update(minutes)

    def flown(self, node: str) -> None:
        """The requests in flight at an Envoy have changed."""
        for each in self._all:
            each.nodes.add(node)

    def wanted(self, process: str) -> None:
        """What a process holds or wakes has changed, or must be said again."""
        for each in self._all:
            each.processes.add(process)

    def demanded(self, key: str, *, urgent: bool) -> None:
        """The requests held for a Workload have changed in number."""
        for each in self._all:
            each.demanded.add(key)
            if urgent:
                each.urgent.set()
