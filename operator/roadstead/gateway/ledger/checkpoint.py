"""Counts outlive a restart of the container: they are told to a file as they are told to a peer.

The file holds all that was known when it was written, then a line with every change since. It is written anew, and put in the old one's
place in one step, at the start, every REWRITE_SECONDS and at the end. Its folder is as short-lived as the pod: if all pods go at once the
counts begin anew.
"""

from __future__ import annotations

import asyncio
import logging
import os
from contextlib import suppress
from pathlib import Path
from typing import IO, Final

from pydantic import BaseModel

from roadstead.gateway.ledger.changes import Changes
from roadstead.gateway.ledger.envoy_stats import EnvoyStats, Seen
from roadstead.gateway.ledger.ledger import Ledger
from roadstead.gateway.ledger.state import read
from roadstead.ticks import to_tick

log = logging.getLogger(__name__)
FILE: Final = "ledger.jsonl"
APPEND_SECONDS: Final = 2.0
REWRITE_SECONDS: Final = 600.0
PRUNE_SECONDS: Final = 60.0


class _Envoy(BaseModel):
    """The last line of a file that was written at the end."""

    envoy: Seen


class Checkpoint:
    """``folder`` None: nothing is kept, but ``run`` prunes the ledger all the same."""

    def __init__(self, folder: Path | None, ledger: Ledger, stats: EnvoyStats | None = None) -> None:
        self._path = None if folder is None else folder / FILE
        self._ledger = ledger
        self._stats = stats

    def load(self) -> None:
        """Take over what an earlier life has left. What can't be read is passed over, with a word in the log."""
        if self._path is None or not self._path.exists():
            return
        lines, known_since, began = 0, self._ledger.known_since, self._ledger.attended_since
        try:
            data = self._path.read_bytes().split(b"\n")
            written = max(map(_written_at, data[-3:]))
            # What it knew all of it still does: nobody else served meanwhile, or a peer tells. After an hour it doesn't matter.
            recent = self._ledger.now - written < self._ledger.history.hour_seconds
            for line in filter(None, data):
                if line.startswith(b'{"envoy"'):
                    if self._stats is not None:
                        self._stats.seen = _Envoy.model_validate_json(line).envoy
                else:
                    self._ledger.merge(line, complete=recent)
                lines += 1
        except (OSError, ValueError) as error:
            self._ledger.known_since = known_since
            log.warning("Counts on disk can be read up to line %d only, path=%s: %s", lines, self._path, error)
        self._ledger.attended_since = began  # between the two lives nobody was there, but for peers, who say so

    async def run(self) -> None:
        """Keep the file up to date, and the ledger pruned, until cancelled; ``close`` comes after."""
        while True:
            with self._ledger.follow() as changes:
                file = await self._rewrite()
                try:
                    await self._append(file, changes)
                except OSError as error:
                    log.warning("Counts can't be written to disk, path=%s: %s", self._path, error)
                    await asyncio.sleep(APPEND_SECONDS)
                finally:
                    if file is not None:
                        with suppress(OSError):  # it writes once more what could not be written
                            file.close()

    async def _append(self, file: IO[bytes] | None, changes: Changes) -> None:
        pruned = self._ledger.now
        for _ in range(int(REWRITE_SECONDS / APPEND_SECONDS)):
            await asyncio.sleep(to_tick(APPEND_SECONDS))
            if abs(self._ledger.now - pruned) >= PRUNE_SECONDS:
                self._ledger.prune()
                pruned = self._ledger.now
            line = changes.take()
            if line is not None and file is not None:
                file.write(line + b"\n")
                file.flush()

    async def close(self) -> None:
        """Write everything for the life to come."""
        file = await self._rewrite(final=True)
        if file is not None:
            file.close()

    async def _rewrite(self, *, final: bool = False) -> IO[bytes] | None:
        if self._path is None:
            return None
        fresh = self._path.with_suffix(".new")
        try:
            file = fresh.open("wb")
            try:
                for part in self._ledger.parts():
                    file.write(part + b"\n")
                    await asyncio.sleep(0)
                if final and self._stats is not None and self._stats.seen is not None:
                    file.write(_Envoy(envoy=self._stats.seen).model_dump_json().encode() + b"\n")
                file.flush()
                os.replace(fresh, self._path)
            except BaseException:
                file.close()
                raise
        except OSError as error:
            log.warning("Counts can't be written to disk, path=%s: %s", self._path, error)
            return None
        return file


def _written_at(line: bytes) -> float:
    try:
        return read(line).at
    except ValueError:
        return 0.0
