"""Our kinds as they are named on the command line: ``workloads``, ``workload``, ``rsw``, ``workload/chat``, ``rsw,rsd``.

The resource kinds Workload and Deployment exist elsewhere too; here a bare ``deployment`` always means deployments.roadstead.dev.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import typer

from roadstead.kube.resource import Resource
from roadstead.names import GROUP, VERSION
from roadstead.resources import ARTIFACTS, ENDPOINTS, WORKLOADS


@dataclass(frozen=True, slots=True)
class Kind:
    """One of our kinds. ``soft``: deleting it is marking it, and it can be restored."""

    resource: Resource
    short: str
    soft: bool

    @property
    def singular(self) -> str:
        """As in ``workload/chat``."""
        return self.resource.kind.lower()

    @property
    def aliases(self) -> tuple[str, ...]:
        """Every way to write it, with and without the group."""
        names = (self.resource.plural, self.singular)
        return (*names, self.short, *(f"{name}.{suffix}" for name in names for suffix in (GROUP, f"{VERSION}.{GROUP}")))


ARTIFACT: Final = Kind(ARTIFACTS, "rsa", soft=True)
WORKLOAD: Final = Kind(WORKLOADS, "rsw", soft=True)
DEPLOYMENT: Final = Kind(ENDPOINTS, "rsd", soft=False)
KINDS: Final = (ARTIFACT, WORKLOAD, DEPLOYMENT)
NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
EVERYTHING: Final = ("all", "roadstead")
"""``roadstead`` is the category that `kubectl get` knows too."""
BY_ALIAS: Final = {alias: kind for kind in KINDS for alias in kind.aliases}


@dataclass(frozen=True, slots=True)
class Target:
    """An object that a command is about."""

    kind: Kind
    name: str

    def __str__(self) -> str:
        return f"{self.kind.singular}/{self.name}"


@dataclass(frozen=True, slots=True)
class Selection:
    """What to list: every object of a kind, or (``names`` not empty) these alone."""

    kind: Kind
    names: tuple[str, ...] = ()


def kind_of(word: str) -> Kind:
    """The kind of that name. Raises BadParameter that lists them."""
    found = BY_ALIAS.get(word.lower())
    if found is None:
        known = ", ".join(f"{kind.resource.plural} ({kind.short})" for kind in KINDS)
        raise typer.BadParameter(f"{word!r} is none of our kinds: {known}")
    return found


def targets(words: Sequence[str], *, default: Kind | None = None, allowed: Sequence[Kind] = KINDS) -> tuple[Target, ...]:
    """Objects from ``kind/name …``, from ``kind name …``, or where a command has a ``default`` kind from names alone.

    Raises BadParameter, also for a kind that is not ``allowed``.
    """
    if not words:
        raise typer.BadParameter("name at least one object, for example workload/chat")
    if any("/" in word for word in words):
        found = [_slashed(word, default) for word in words]
    elif words[0].lower() in BY_ALIAS:
        kind = kind_of(words[0])
        if len(words) == 1:
            raise typer.BadParameter(f"which {kind.singular}? Add its name: {kind.singular}/NAME")
        found = [Target(kind, name) for name in words[1:]]
    elif default is not None:
        found = [Target(default, name) for name in words]
    else:
        found = [Target(kind_of(words[0]), "")]
    for target in found:
        if not NAME.fullmatch(target.name):
            raise typer.BadParameter(f"{target.name!r} can't be a name: they are of lower-case letters, digits, '-' and '.'")
        if target.kind not in allowed:
            possible = " or ".join(kind.singular for kind in allowed)
            raise typer.BadParameter(f"{target} won't do: this command takes a {possible}")
    return tuple(dict.fromkeys(found))


def one_target(words: Sequence[str], *, default: Kind | None = None, allowed: Sequence[Kind] = KINDS) -> Target:
    """The one object that a command is about. Raises BadParameter."""
    found = targets(words, default=default, allowed=allowed)
    if len(found) > 1:
        raise typer.BadParameter(f"one object at a time; got {', '.join(map(str, found))}")
    return found[0]


def selections(words: Sequence[str]) -> tuple[Selection, ...]:
    """What to list, from ``workloads``, ``workload chat bot``, ``workload/chat artifact/model``, ``rsw,rsa`` or ``all``."""
    if not words:
        raise typer.BadParameter(f"say what: {', '.join(kind.resource.plural for kind in KINDS)}, or all of them: all")
    if any("/" in word for word in words):
        named: dict[Kind, list[str]] = {}
        for target in targets(words):
            named.setdefault(target.kind, []).append(target.name)
        return tuple(Selection(kind, tuple(names)) for kind, names in named.items())
    kinds = KINDS if words[0].lower() in EVERYTHING else tuple(dict.fromkeys(kind_of(part) for part in words[0].split(",")))
    if len(kinds) > 1 and len(words) > 1:
        raise typer.BadParameter("names can't be looked up in several kinds; write kind/name for each")
    return tuple(Selection(kind, tuple(dict.fromkeys(words[1:]))) for kind in kinds)


def _slashed(word: str, default: Kind | None) -> Target:
    kind, slash, name = word.partition("/")
    if not slash:
        if default is None:
            raise typer.BadParameter(f"{word!r} stands beside objects written kind/name; write it so too")
        return Target(default, word)
    if not name or "/" in name:
        raise typer.BadParameter(f"{word!r} is not of the form kind/name")
    return Target(kind_of(kind), name)
