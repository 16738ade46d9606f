"""What a cluster said and when: every version of the watched objects as it arrived, to be asked during a test or after it."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from hack.cluster.api import Cluster
from tests.support.sampler import Reader

Body = dict[str, Any]


@dataclass(frozen=True)
class Entry:
    """One version of an object: ``at`` is when it arrived here, in seconds of the monotonic clock; ``change`` is the watch's word."""

    at: float
    kind: str
    change: str
    body: Body

    @property
    def name(self) -> str:
        return str(self.body["metadata"]["name"])

    @property
    def namespace(self) -> str:
        """Empty for what is in none."""
        return str(self.body["metadata"].get("namespace", ""))


Match = Callable[[Entry], bool]


class Timeline:
    """Entries in the order in which they arrived, by namespace. Threads may wait for some while others arrive."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._entries: defaultdict[str, list[Entry]] = defaultdict(list)
        self._arrived = threading.Condition()
        self._watches: list[tuple[Reader, threading.Thread]] = []
        self._broken: list[str] = []
        self._closing = False

    def follow(self, kind: str, path: str) -> None:
        """Watch a resource in all namespaces, by its path in the API."""
        reader = Reader(self._cluster, timeout_seconds=None)
        thread = threading.Thread(target=self._read, args=(reader, kind, path), name=f"watch-{kind}", daemon=True)
        self._watches.append((reader, thread))
        thread.start()

    def of(self, namespace: str, since: float = 0.0) -> list[Entry]:
        """What arrived in that namespace from that time on."""
        with self._arrived:
            return [entry for entry in self._entries[namespace] if entry.at >= since]

    def first(self, namespace: str, match: Match, since: float = 0.0) -> Entry | None:
        """The first entry from that time on that matches, if it has arrived."""
        return next((entry for entry in self.of(namespace, since) if match(entry)), None)

    def wait(self, namespace: str, match: Match, what: str, seconds: float, since: float = 0.0) -> Entry:
        """Wait for the first entry from that time on that matches; fails with ``what`` was waited for and the last word on it."""
        deadline, looked = time.monotonic() + seconds, 0
        while True:
            with self._arrived:
                entries = self._entries[namespace][looked:]
                if not entries:
                    assert not self._broken, self._broken
                    if time.monotonic() > deadline:
                        raise AssertionError(f"waited {seconds:.0f} s for {what}\n{self._story(namespace)}")
                    self._arrived.wait(1)
                    continue
                looked += len(entries)
            for entry in entries:
                if entry.at >= since and match(entry):
                    return entry

    def close(self) -> None:
        """End the watches."""
        self._closing = True
        for reader, thread in self._watches:
            with suppress(OSError):
                reader.shut()
            thread.join(10)
            reader.close()

    def _read(self, reader: Reader, kind: str, path: str) -> None:
        try:
            for event in reader.watch(f"{path}?watch=1"):
                entry = Entry(time.monotonic(), kind, event["type"], event["object"])
                with self._arrived:
                    self._entries[entry.namespace].append(entry)
                    self._arrived.notify_all()
        except OSError as error:
            self._end(kind, repr(error))
        else:
            self._end(kind, "the watch ended")

    def _end(self, kind: str, why: str) -> None:
        with self._arrived:
            if not self._closing:
                self._broken.append(f"{kind}: {why}")
            self._arrived.notify_all()

    def _story(self, namespace: str) -> str:
        """The states and messages that a Workload or Deployment of ours went through."""
        lines, before = [], None
        for entry in self._entries[namespace]:
            status = entry.body.get("status") or {}
            if "state" in status:
                reasons = {c["type"]: c["reason"] for c in status["conditions"] if c["type"] in ("Ready", "Progressing")}
                now = f"{entry.name}: {status['state']} {reasons} {status.get('message', '')}"
                if now != before:
                    lines.append(now)
                before = now
        return "\n".join(lines[-12:])


@contextmanager
def timeline(cluster: Cluster, paths: dict[str, str]) -> Iterator[Timeline]:
    """Record for the length of the block; ``paths`` by kind."""
    made = Timeline(cluster)
    try:
        for kind, path in paths.items():
            made.follow(kind, path)
        yield made
    finally:
        made.close()
