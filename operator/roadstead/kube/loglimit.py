"""Log lines about many objects that one cause gives: the first of them at once, then a few a minute, the rest as a number.

With thousands of objects behind one webhook that fails, a line for each at every retry hides all else. Lines are counted by kind, such
as an error's class and code: one that is new is told at once, whatever else is left out. Level DEBUG keeps them all.
"""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Hashable
from contextvars import Context
from dataclasses import dataclass, field
from typing import Final

LINES_AT_MOST: Final = 10
WINDOW_SECONDS: Final = 60.0
KINDS_AT_MOST: Final = 50
"""Kinds counted apart at a time; any more share their lines."""
OBJECTS_AT_MOST: Final = 10_000
"""Objects of a kind that are told apart."""
PLACES_AT_MOST: Final = 1000
OTHERS: Final = "other errors"
_OURS: Final = __name__.partition(".")[0]


@dataclass(slots=True)
class _Window:
    """What has happened to a kind since its first line."""

    level: int
    lines: int = 0
    left_out: int = 0
    objects: set[Hashable] = field(default_factory=set)


class LogLimit:
    """Lets through to ``logger`` at most LINES_AT_MOST lines of a kind a minute, and one line that says how many more there were.

    ``what`` begins that line. To be used in a running event loop, which tells it at the end of the minute.
    """

    def __init__(self, logger: logging.Logger, what: str) -> None:
        self._logger = logger
        self._what = what
        self._windows: dict[str, _Window] = {}
        self._places: set[str] = set()

    def log(self, level: int, kind: str, about: Hashable, message: str, *args: object, exc_info: bool = False) -> None:
        """As ``Logger.log``, for a line of this kind about an object."""
        if not self._logger.isEnabledFor(level):
            return
        window = self._window(kind, level)
        window.lines += 1
        if window.lines <= LINES_AT_MOST:
            self._logger.log(level, message, *args, exc_info=exc_info)
            return
        self._logger.debug(message, *args, exc_info=exc_info)
        window.left_out += 1
        if len(window.objects) < OBJECTS_AT_MOST:
            window.objects.add(about)

    def bug(self, error: Exception, about: Hashable, message: str, *args: object) -> None:
        """A line about an error that nobody foresaw, with its traceback the first time that it comes from its place in the code."""
        place = f"{type(error).__name__} at {_place(error)}"
        new = place not in self._places
        if len(self._places) >= PLACES_AT_MOST:
            self._places.clear()
        self._places.add(place)
        self.log(logging.ERROR, place, about, message, *args, exc_info=new)

    def _window(self, kind: str, level: int) -> _Window:
        if kind not in self._windows and len(self._windows) >= KINDS_AT_MOST:
            kind = OTHERS
        window = self._windows.get(kind)
        if window is None:
            window = self._windows[kind] = _Window(level)
            # In a context of its own: its line is about none of the objects that are looked at now.
            asyncio.get_running_loop().call_later(WINDOW_SECONDS, self._end, kind, context=Context())
        return window

    def _end(self, kind: str) -> None:
        window = self._windows.pop(kind)
        if window.left_out:
            many = len(window.objects)
            objects = f"{many} objects" if many < OBJECTS_AT_MOST else f"{many} objects or more"
            self._logger.log(window.level, "%s %d more times in a minute for %s: %s", self._what, window.left_out, objects, kind)


def _place(error: Exception) -> str:
    """Module and line that raised it; for a library's also the line of ours that was on the way to it."""
    raised = ours = ""
    for frame, line in traceback.walk_tb(error.__traceback__):
        module = str(frame.f_globals.get("__name__"))
        raised = f"{module}:{line}"
        if module.partition(".")[0] == _OURS:
            ours = raised
    return raised if ours in ("", raised) else f"{raised} in {ours}"
