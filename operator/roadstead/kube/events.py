"""Events (events.k8s.io/v1) about an object, few and never in the way.

Repeating the last Event of an object within ten minutes is dropped, an object that has too much to say is cut short, and what is being
worked on never waits for an Event to be stored: a small queue takes them, and drops them when the API can't keep up.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal, TypeAlias

from roadstead.kube.client import ApiClient
from roadstead.kube.errors import ApiError, Fenced
from roadstead.kube.resource import EVENTS, Body

log = logging.getLogger(__name__)

EventType: TypeAlias = Literal["Normal", "Warning"]

REPEAT_SECONDS: Final = 600.0
BURST: Final = 10
REFILL_SECONDS: Final = 60.0
"""An object may cause BURST Events at once, and one more each REFILL_SECONDS."""
REMEMBERED: Final = 4096
NOTE_BYTES: Final = 1024
"""The API refuses longer notes."""


@dataclass(frozen=True, slots=True)
class ObjectRef:
    """What an Event is about."""

    api_version: str
    kind: str
    namespace: str
    name: str
    uid: str


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at: float


class Recorder:
    """Takes Events by ``emit`` and stores them while ``run()`` runs."""

    def __init__(
        self, client: ApiClient, *, controller: str, instance: str, backlog: int = 256, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.dropped = 0
        """Events never stored, repeats not counted."""
        self._client = client
        self._controller = controller
        self._instance = instance
        self._clock = clock
        self._waiting: asyncio.Queue[Body] = asyncio.Queue(maxsize=backlog)
        self._said: OrderedDict[str, tuple[str, str, float]] = OrderedDict()
        """By uid, the last Event: reason, note and time."""
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    async def emit(self, regarding: ObjectRef, type: EventType, reason: str, note: str, action: str) -> None:
        """Have an Event stored, unless it repeats the one before. ``action`` is what was done or tried. Never raises, never waits."""
        now = self._clock()
        *said, at = self._said.get(regarding.uid, ("", "", -REPEAT_SECONDS))
        if said == [reason, note] and now - at < REPEAT_SECONDS:
            return
        if self._waiting.full() or not self._affords(regarding.uid, now):
            self.dropped += 1
            return
        self._said[regarding.uid] = (reason, note, now)
        self._said.move_to_end(regarding.uid)
        if len(self._said) > REMEMBERED:
            self._said.popitem(last=False)
        event = _event(regarding, type=type, reason=reason, note=note, action=action)
        event["reportingController"], event["reportingInstance"] = self._controller, self._instance[:128]
        self._waiting.put_nowait(event)

    async def run(self) -> None:
        """Store Events until cancelled."""
        while True:
            event = await self._waiting.get()
            try:
                await self._client.create(EVENTS, event["metadata"]["namespace"], event)
            except Fenced:
                self.dropped += 1
            except ApiError as error:
                self.dropped += 1
                # Forbidden is what a namespace being deleted answers; that's no fault of anybody.
                log.debug("Event not stored reason=%s: %s", event["reason"], error)
            except Exception:
                self.dropped += 1
                log.exception("Event not stored reason=%s", event["reason"])
            finally:
                self._waiting.task_done()

    async def flush(self, seconds: float = 0.5) -> None:
        """Return when all that was emitted is stored, or after so many seconds. ``run()`` must be running."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._waiting.join()

    def _affords(self, uid: str, now: float) -> bool:
        bucket = self._buckets.setdefault(uid, _Bucket(BURST, now))
        self._buckets.move_to_end(uid)
        if len(self._buckets) > REMEMBERED:
            self._buckets.popitem(last=False)
        bucket.tokens = min(BURST, bucket.tokens + (now - bucket.at) / REFILL_SECONDS)
        bucket.at = now
        if bucket.tokens < 1:
            return False
        bucket.tokens -= 1
        return True


def _event(regarding: ObjectRef, *, type: EventType, reason: str, note: str, action: str) -> Body:
    return {
        "apiVersion": EVENTS.api_version,
        "kind": EVENTS.kind,
        "metadata": {
            # As client-go does: kubectl describe lists Events of this API by name, so this makes it list them by time.
            "name": f"{regarding.name[:220]}.{time.time_ns():016x}",  # a name may have 253 characters
            "namespace": regarding.namespace or "default",  # where the API wants Events about cluster-scoped objects
        },
        "eventTime": datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "type": type,
        "reason": reason[:128],
        "action": action[:128],
        "note": _cut(note),
        "regarding": {
            "apiVersion": regarding.api_version,
            "kind": regarding.kind,
            "namespace": regarding.namespace,
            "name": regarding.name,
            "uid": regarding.uid,
        },
    }


def _cut(note: str) -> str:
    encoded = note.encode()
    if len(encoded) <= NOTE_BYTES:
        return note
    return encoded[: NOTE_BYTES - 3].decode(errors="ignore") + "…"
