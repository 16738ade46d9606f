"""A list and what becomes of it: a watch that outlives the streams it is made of.

A stream ends every few minutes by itself, breaks off when an API server restarts, and is refused with 410 when it asks for a version that
is no longer kept; then the list is read again and compared with what was known, so that no change and no deletion is missed.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from roadstead.cli.connection import JSON, TABLE, Cluster, Query
from roadstead.cli.output import note
from roadstead.kube.errors import Gone, ServerError, TooManyRequests, Unreachable, error_of
from roadstead.kube.resource import Body

STREAM_SECONDS: Final = 300
SILENCE_SECONDS: Final = 90.0
"""A watch that says nothing for so long is dead: the server sends a bookmark every minute."""
TRIES: Final = 12
LONGEST_PAUSE_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class Change:
    """What happened (ADDED, MODIFIED, DELETED) to an object. ``body`` is the object, or its row of the server's table."""

    type: str
    metadata: Body
    body: Body


class Watch:
    """One list, then its changes. With ``table`` the server prints: ``columns`` are set by the first ``present``, bodies are rows."""

    def __init__(self, cluster: Cluster, path: str, query: Query, *, table: bool = False) -> None:
        self.columns: list[Body] = []
        self._cluster = cluster
        self._path = path
        self._query = query
        self._table = table
        self._accept = TABLE if table else JSON
        self.version = ""
        """The resourceVersion that the next stream begins at."""
        self._known: dict[str, Change] = {}

    def present(self) -> list[Change]:
        """Everything there is, as if it had just been added."""
        self._known = {}
        for page in self._cluster.pages(self._path, self._query, accept=self._accept):
            self.version = page["metadata"].get("resourceVersion", "")
            self.columns = page.get("columnDefinitions") or self.columns
            for body in page.get("rows" if self._table else "items") or ():
                self._remember(Change("ADDED", self._metadata(body), body))
        return list(self._known.values())

    def follow(self, deadline: float = math.inf) -> Iterator[Change]:
        """Changes since the last ``present``, until ``time.monotonic()`` is past the deadline. Raises ApiError when it can't go on."""
        failures = 0
        while (left := deadline - time.monotonic()) > 0:
            heard = False
            try:
                for change in self._stream(left):
                    heard, failures = True, 0
                    if change is not None:
                        yield change
            except Gone:
                yield from self._differences()
                continue
            except (Unreachable, ServerError, TooManyRequests) as error:
                failures += 1
                if failures > TRIES:
                    raise
                if failures == 1:
                    note(f"The watch broke off ({error.message}); trying again")
            if not heard:
                time.sleep(max(0.0, min(0.1 * 2**failures, LONGEST_PAUSE_SECONDS, deadline - time.monotonic())))

    def _stream(self, left_seconds: float) -> Iterator[Change | None]:
        """One watch request; None for a bookmark."""
        query = {
            **self._query,
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": self.version,
            "timeoutSeconds": str(math.ceil(min(STREAM_SECONDS, max(1.0, left_seconds)))),
        }
        for line in self._cluster.lines(self._path, query, silence_seconds=SILENCE_SECONDS, accept=self._accept):
            event: dict[str, Any] = orjson.loads(line)
            body: Body = event["object"]
            if event["type"] == "ERROR":
                raise error_of(body)
            if self._table and (rows := body.get("rows")):
                body = rows[0]
            metadata = self._metadata(body)
            self.version = metadata.get("resourceVersion") or self.version
            if event["type"] == "BOOKMARK":
                yield None
                continue
            change = Change(event["type"], metadata, body)
            self._remember(change)
            yield change

    def _differences(self) -> list[Change]:
        """What a new list has that the old one had otherwise or not at all, and what it has no more."""
        before = self._known
        return differences(before, {str(change.metadata["uid"]): change for change in self.present()})

    def _remember(self, change: Change) -> None:
        uid = str(change.metadata["uid"])
        if change.type == "DELETED":
            self._known.pop(uid, None)
        else:
            self._known[uid] = change

    def _metadata(self, body: Body) -> Body:
        holder: Body = body.get("object") or {} if self._table and "metadata" not in body else body
        metadata: Body = holder.get("metadata") or {}
        return metadata


def differences(before: dict[str, Change], after: dict[str, Change]) -> list[Change]:
    """The changes that lead from one list to another, both by uid; deletions first, since a name may have been taken anew."""
    gone = [Change("DELETED", change.metadata, change.body) for uid, change in before.items() if uid not in after]
    new: Sequence[Change] = [
        Change("MODIFIED" if uid in before else "ADDED", change.metadata, change.body)
        for uid, change in after.items()
        if uid not in before or before[uid].metadata["resourceVersion"] != change.metadata["resourceVersion"]
    ]
    return [*gone, *new]
