"""What a process has to say that one listener (a peer, the disk) has not heard yet."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable


class Changes:
    """``urgent`` is set by what can't wait for the next round; ``told`` writes the present values of what has changed."""

    def __init__(self, told: Callable[[Changes], bytes]) -> None:
        self.urgent = asyncio.Event()
        self.minutes: defaultdict[str, set[int]] = defaultdict(set)
        """Minutes that were counted in here, by endpoint."""
        self.nodes: set[str] = set()
        self.demanded: set[str] = set()
        self.processes: set[str] = set()
        self._told = told

    def take(self) -> bytes | None:
        """It all, once; None if there is nothing."""
        if not (self.minutes or self.nodes or self.processes):
            return None
        told = self._told(self)
        self.minutes.clear()
        self.nodes.clear()
        self.demanded.clear()
        self.processes.clear()
        return told
