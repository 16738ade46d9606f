"""Values of the moment, each written by one process at a time: the newest word wins, and a silent writer counts with its last.

What a writer says it says as a whole, under a version that is larger than any it has heard of, so that whoever takes over from it is
believed at once, also with a clock that is behind.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

V = TypeVar("V")


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
