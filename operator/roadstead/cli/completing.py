"""Words that a shell can complete: our kinds, and the names of objects in the namespace in force; also behind ``kubectl roadstead``.

A completion must never disturb: it waits two seconds at most, and offers nothing where the cluster can't be asked.
"""

from __future__ import annotations

import io
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import typer

from roadstead.cli.connection import connect, path_of
from roadstead.cli.failure import Failure
from roadstead.cli.kinds import ARTIFACT, BY_ALIAS, KINDS, WORKLOAD, Kind
from roadstead.kube.errors import ApiError
from roadstead.kube.resource import NAMESPACES, Resource

PATIENCE_SECONDS: Final = 2.0
AT_MOST: Final = 200
NAMES_ONLY: Final = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
FILES, NO_FILES = ":0", ":4"
"""The last line of cobra's protocol, ShellCompDirectiveDefault and …NoFileComp: whether the shell may offer file names instead."""


@dataclass(frozen=True, slots=True)
class Offer:
    """What may stand at this place: fixed words, or the names of a kind's objects behind a prefix."""

    words: tuple[str, ...] = ()
    kind: Kind | None = None
    prefix: str = ""


def offer(before: Sequence[str], incomplete: str, default: Kind | None) -> Offer:
    """What can follow these words of a command that takes objects."""
    kind, slash, _ = incomplete.partition("/")
    if slash:
        return Offer(kind=BY_ALIAS.get(kind.lower()), prefix=f"{kind}/")
    if before and "/" not in before[0] and before[0].lower() in BY_ALIAS:
        return Offer(kind=BY_ALIAS[before[0].lower()])
    if default is not None:
        return Offer(kind=default)
    if before:
        return Offer(words=tuple(f"{one.singular}/" for one in KINDS))
    return Offer(words=tuple(one.resource.plural for one in KINDS))


def _completer(default: Kind | None) -> Callable[[typer.Context, list[str], str], list[str]]:
    def complete(ctx: typer.Context, args: list[str], incomplete: str) -> list[str]:
        before = next((value for value in ctx.params.values() if isinstance(value, list | tuple)), ())
        found = offer([*before, *args], incomplete, default)
        words = found.words
        if found.kind is not None:
            words = tuple(found.prefix + name for name in _names(found.kind.resource, ctx))
        return [word for word in words if word.startswith(incomplete)]

    return complete


object_words = _completer(None)
workload_words = _completer(WORKLOAD)
artifact_words = _completer(ARTIFACT)


def namespace_words(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of namespaces."""
    return [name for name in _names(NAMESPACES, ctx) if name.startswith(incomplete)]


def _names(resource: Resource, ctx: typer.Context) -> list[str]:
    """Names of a kind's objects; none where they can't be had: the command itself will say why."""
    kubeconfig = ctx.params.get("kubeconfig")
    try:
        cluster = connect(Path(kubeconfig) if kubeconfig else None, ctx.params.get("context"), ctx.params.get("namespace"))
        path = path_of(resource, cluster.namespace if resource.namespaced else None)
        page = cluster.get(path, {"limit": str(AT_MOST)}, accept=NAMES_ONLY, silence_seconds=PATIENCE_SECONDS)
    except (ApiError, Failure):
        return []
    return [item["metadata"]["name"] for item in page.get("items") or ()]


def kubectl_complete() -> None:
    """Entry point of ``kubectl_complete-roadstead``: kubectl calls it with the words so far, the last one incomplete.

    Typer's answer to fish has the form that kubectl reads, a word, a tab and its description on each line.
    """
    from roadstead.cli.main import app  # noqa: PLC0415 - main imports this module

    *before, incomplete = sys.argv[1:] or [""]
    line = " ".join(["roadstead", *map(shlex.quote, before), shlex.quote(incomplete) if incomplete else ""])
    os.environ |= {"_ROADSTEAD_COMPLETE": "complete_fish", "_TYPER_COMPLETE_FISH_ACTION": "get-args", "_TYPER_COMPLETE_ARGS": line}
    offered = io.StringIO()
    try:
        with redirect_stdout(offered):
            app(prog_name="roadstead")
    except SystemExit:  # how Typer ends a completion
        words = offered.getvalue().strip()
        print(f"{words}\n{NO_FILES}" if words else FILES)
