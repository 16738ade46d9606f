"""Values of the moment, each written by one process at a time: the newest word wins, and a silent writer counts with its last.

What a writer says it says as a whole, under a version that is larger than any it has heard of, so that whoever takes over from it is
believed at once, also with a clock that is behind.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

V = TypeVar("V")
MEAN_SECONDS: Final = 30.0


@dataclass(slots=True)
class Register(Generic[V]):
    """What a writer said last; what it doesn't name is nothing."""

    version: int = 0
    values: dict[str, V] = field(default_factory=dict)


class Registers(Generic[V]):
    """Registers by writer. ``changed`` is told of each name whose value at a writer becomes another: the old and the new one, or None."""

    def __init__(self, changed: Callable[[str, V | None, V | None], None]) -> None:
        self._changed = changed
        self.writers: dict[str, Register[V]] = {}

    def set(self, writer: str, name: str, value: V | None, version: int) -> bool:
        """Change one value (None: nothing) of a writer that this process speaks for; False if it was so already."""
        register = self.writers.get(writer)
        if register is None:
            if value is None:
                return False
            register = self.writers[writer] = Register()
        old = register.values.get(name)
        if old == value:
            return False
        if value is None:
            del register.values[name]
        else:
            register.values[name] = value
        register.version = version
        self._changed(name, old, value)
        return True

    def merge(self, writer: str, version: int, values: Mapping[str, V]) -> None:
        """Take over a writer's word if it is newer."""
        register = self.writers.get(writer)
        if register is None:
            register = self.writers[writer] = Register()
        if version < register.version or (version == register.version and _order(values) <= _order(register.values)):
            return
        old, register.version, register.values = register.values, version, dict(values)
        for name in old.keys() | values.keys():
            before, after = old.get(name), values.get(name)
            if before != after:
                self._changed(name, before, after)

    def forget(self, version: float, keep: Container[str]) -> None:
        """Let go writers that have said nothing but "nothing" since before a version."""
        for writer in [name for name, each in self.writers.items() if not each.values and each.version < version and name not in keep]:
            del self.writers[writer]


def _order(values: Mapping[str, object]) -> list[str]:
    """Decides between two words of the same version, which no two processes should ever give: the same way everywhere."""
    return sorted(f"{name} {value}" for name, value in values.items())


class Level:
    """A number over time, and its mean over the last MEAN_SECONDS, weighted by time.

    It keeps about one point a second of the area below the curve, and takes the curve for flat between two.
    """

    __slots__ = ("_area", "_at", "_points", "value")

    def __init__(self, now: float) -> None:
        self.value = 0
        self._at = now
        self._area = 0.0
        self._points: deque[tuple[float, float]] = deque([(now, 0.0)])

    def add(self, amount: int, now: float) -> None:
        """From now on it is so much higher."""
        self._forward(now)
        self.value += amount

    def mean(self, now: float) -> float:
        """The mean; before it was first heard of it was 0."""
        self._forward(now)
        since = now - MEAN_SECONDS
        points = self._points
        while len(points) > 1 and points[1][0] <= since:
            points.popleft()
        (at, area), (later_at, later_area) = points[0], points[1] if len(points) > 1 else (self._at, self._area)
        if at < since:
            area += (later_area - area) * (since - at) / (later_at - at)
        return max(0.0, self._area - area) / MEAN_SECONDS

    def forgettable(self, now: float) -> bool:
        """Whether it has been 0 for so long that nothing is lost with it."""
        return self.value == 0 and now - self._at > MEAN_SECONDS and self.mean(now) == 0

    def _forward(self, now: float) -> None:
        if now <= self._at:
            return
        if now - self._points[-1][0] >= 1.0 and self._at > self._points[-1][0]:
            self._points.append((self._at, self._area))
            while len(self._points) > 2 and self._points[1][0] <= now - MEAN_SECONDS:
                self._points.popleft()
        self._area += self.value * (now - self._at)
        self._at = now
