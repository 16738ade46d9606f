"""Keys to look at: each at most once, never twice at a time, later and later while it fails.

A set and not a log: ten events about one object become one look (or two, if the tenth came during the first). Nothing is handed out
until the gate is open, so a standby's queue fills while it waits and the new leader starts with all it needs to know.
Changes go before resyncs, so that looking at everything again hardly delays a user; of ten keys one is a resync's, so that those go on
however much changes. A key that changes all the time is looked at LOOKS_AT_ONCE times and then LOOKS_A_SECOND times a second: what it asks
of workers and API server stays the same however fast it flaps, and the last change is always looked at.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from roadstead.kube.backoff import backoff

K = TypeVar("K", bound=Hashable)
ONE_LOW_OF = 10
"""Of so many keys handed out, one is of low priority if any waits."""
LOOKS_AT_ONCE = 20
"""More than any object needs that comes, goes or rolls a few pods."""
LOOKS_A_SECOND = 5.0
_SWEEP_FROM = 1000


class WorkQueue(Generic[K]):
    """All of it runs in one event loop; only ``get`` waits. Closed at first: call ``open()``.

    ``waited`` is told for how many seconds each key that is handed out has waited.
    """

    def __init__(self, *, base_seconds: float = 0.25, cap_seconds: float = 300.0, waited: Callable[[float], None] = lambda _: None) -> None:
        self.retries = 0
        """Retries ever asked for."""
        self.adds = 0
        """Keys ever queued; one that waits already counts once."""
        self._handed_out = 0
        self._waited = waited
        self._base = base_seconds
        self._cap = cap_seconds
        self._normal: OrderedDict[K, float] = OrderedDict()
        self._low: OrderedDict[K, float] = OrderedDict()
        self._busy: dict[K, bool | None] = {}
        """Keys handed out; the value says how to queue the key again when done (None: not at all, else: low?)."""
        self._begun: dict[K, float] = {}
        """When each of them was handed out, the first of them first."""
        self._timers: dict[K, tuple[float, asyncio.Handle]] = {}
        """When it is due, and what makes it so. Not every loop's handle tells when: uvloop's doesn't, if that is at once."""
        self._failures: dict[K, int] = {}
        self._paid: dict[K, float] = {}
        """Until when a key's looks so far would have lasted at LOOKS_A_SECOND; what is past is forgotten by and by."""
        self._sweep_at = _SWEEP_FROM
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._open = False

    @property
    def depth(self) -> int:
        """Keys that wait for a worker; those with a timer don't yet."""
        return len(self._normal) + len(self._low)

    @property
    def oldest_age_seconds(self) -> float:
        """How long the key that waits longest has waited; 0 while closed, when waiting is no fault."""
        heads = [next(iter(keys.values())) for keys in (self._normal, self._low) if keys]
        return asyncio.get_running_loop().time() - min(heads) if heads and self._open else 0.0

    @property
    def unfinished_seconds(self) -> float:
        """How long the keys that workers hold have been held, added up."""
        return sum((asyncio.get_running_loop().time() - begun for begun in self._begun.values()), 0.0)

    @property
    def longest_held_seconds(self) -> float:
        """How long the key that a worker has held longest has been held; 0 if none is."""
        begun = next(iter(self._begun.values()), None)
        return 0.0 if begun is None else asyncio.get_running_loop().time() - begun

    @property
    def is_open(self) -> bool:
        return self._open

    def open(self) -> None:
        """Start handing out keys. Only from now on do they wait for a worker: before, none would have come, however many there are."""
        if not self._open:
            now = asyncio.get_running_loop().time()
            for keys in (self._normal, self._low):
                keys.update(dict.fromkeys(keys, now))
        self._open = True
        for _ in range(min(self.depth, len(self._waiters))):
            self._wake()

    def close(self) -> None:
        """Hand out nothing more; what is added is kept, what is being worked on goes on."""
        self._open = False

    def take(self, which: Callable[[K], bool]) -> list[K]:
        """Take such keys out, of which no worker shall hear; those with a timer or being worked on stay."""
        taken = [key for keys in (self._normal, self._low) for key in keys if which(key)]
        for key in taken:
            self._normal.pop(key, None)
            self._low.pop(key, None)
        return taken

    def add(self, key: K, *, low: bool = False) -> None:
        """Have ``key`` looked at; after the present look, if there is one. ``low`` waits until nothing else does."""
        if key in self._busy:
            self._busy[key] = low and self._busy[key] is not False
            return
        if key in self._normal or (low and key in self._low):
            return
        early = self._early_by(key)
        if early > 0:
            self.add_after(key, early)
            return
        self._low.pop(key, None)
        (self._low if low else self._normal)[key] = asyncio.get_running_loop().time()
        self.adds += 1
        self._wake()

    def add_after(self, key: K, seconds: float) -> None:
        """Add ``key`` later. Of several such wishes for a key only the earliest is kept: a look serves them all."""
        if seconds <= 0:
            self.add(key)
            return
        loop = asyncio.get_running_loop()
        when = loop.time() + seconds
        pending = self._timers.get(key)
        if pending is not None:
            if pending[0] <= when:
                return
            pending[1].cancel()
        self._timers[key] = when, loop.call_at(when, self._due, key)

    async def get(self) -> K:
        """The next key, once the gate is open. Call ``done`` for it, whatever happens."""
        while not (self._open and (self._normal or self._low)):
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                if waiter.cancelled():
                    self._waiters.remove(waiter)
                else:
                    self._wake()  # woken and cancelled at once: pass it on
                raise
        self._handed_out += 1
        turn_of_low = self._low and self._handed_out % ONE_LOW_OF == 0
        key, since = (self._low if turn_of_low else self._normal or self._low).popitem(last=False)
        now = asyncio.get_running_loop().time()
        self._waited(now - since)
        self._pay(key, now)
        self._busy[key] = None
        self._begun[key] = now
        return key

    def done(self, key: K) -> None:
        """The look is over; queued again if it was asked for meanwhile."""
        low = self._busy.pop(key)
        del self._begun[key]
        if low is not None:
            self.add(key, low=low)

    def retry(self, key: K, *, at_least: float = 0.0) -> float:
        """Have a key that failed looked at again after a back-off, but not before ``at_least`` seconds. Returns the delay."""
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        self.retries += 1
        delay = max(at_least, backoff(failures, base=self._base, cap=self._cap))
        self.add_after(key, delay)
        return delay

    def failures(self, key: K) -> int:
        """Failures in a row."""
        return self._failures.get(key, 0)

    def forget(self, key: K) -> None:
        """A success: the next failure is the first. A pending timer stays."""
        self._failures.pop(key, None)

    def _early_by(self, key: K) -> float:
        """For how many seconds a key that is looked at all the time has to wait; others don't (zero or less)."""
        paid = self._paid.get(key)
        return 0.0 if paid is None else paid - asyncio.get_running_loop().time() - LOOKS_AT_ONCE / LOOKS_A_SECOND

    def _pay(self, key: K, now: float) -> None:
        self._paid[key] = max(now, self._paid.get(key, now)) + 1 / LOOKS_A_SECOND
        if len(self._paid) >= self._sweep_at:  # each time for twice as many: a constant cost per look
            self._paid = {each: until for each, until in self._paid.items() if until > now}
            self._sweep_at = max(_SWEEP_FROM, 2 * len(self._paid))

    def _due(self, key: K) -> None:
        del self._timers[key]
        self.add(key)

    def _wake(self) -> None:
        while self._open and self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
