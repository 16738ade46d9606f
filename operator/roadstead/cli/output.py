"""What is printed: tables that fit the terminal, JSON, YAML. Layout is computed here and purely; Rich knows the terminal.

Off a terminal (a pipe, a file, CI) nothing is cut, coloured or padded at the end of a line, so that ``grep`` and ``awk`` find whole words.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeAlias

import orjson
import typer

from roadstead.kube.resource import Body

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

GAP: Final = 3
LEAST_WIDTH: Final = 8
KEPT_COLUMNS: Final = ("NAMESPACE", "NAME")
"""These are copied into the next command, so they are the last to be cut."""
STYLES: Final = {
    **dict.fromkeys(("running", "True", "registered", "ready"), "green"),
    **dict.fromkeys(("errored", "False", "Warning"), "red"),
    **dict.fromkeys(("submitted", "initializing", "stopping", "Unknown", "pending", "terminating"), "yellow"),
    **dict.fromkeys(("stopped", "draft"), "dim"),
}


class Output(StrEnum):
    """Forms of an answer beside the plain table."""

    JSON = "json"
    YAML = "yaml"
    WIDE = "wide"
    NAME = "name"


OutputOption: TypeAlias = Annotated[
    Output | None, typer.Option("--output", "-o", help="json, yaml, wide (more columns) or name (for scripts). Absent: a table.")
]


@dataclass(frozen=True, slots=True)
class Table:
    """Columns and rows of text; cells hold one line."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def widths(table: Table, room: int | None, at_least: Sequence[int] = ()) -> tuple[int, ...]:
    """Width of each column: what it needs, or where that is more than ``room`` less of the widest, names last.

    ``at_least``: what earlier rows of the same table had, so that columns grow but don't jump to and fro.
    """
    from rich.cells import cell_len  # noqa: PLC0415 - 40 ms that --help doesn't need

    natural = [max(cell_len(printable(cell)) for cell in column) for column in zip(table.columns, *table.rows, strict=True)]
    natural = [max(pair) for pair in zip(natural, at_least or natural, strict=True)]
    if room is None:
        return tuple(natural)
    least = [min(width, max(LEAST_WIDTH, cell_len(title))) for width, title in zip(natural, table.columns, strict=True)]
    excess = sum(natural) + GAP * (len(natural) - 1) - room
    for spared in (KEPT_COLUMNS, ()):
        given = [index for index, title in enumerate(table.columns) if title not in spared]
        while excess > 0 and (able := [index for index in given if natural[index] > least[index]]):
            natural[max(able, key=lambda index: natural[index])] -= 1
            excess -= 1
    return tuple(natural)


def line(cells: Sequence[str], fitted: Sequence[int], *, cut: bool, style: str | None = None) -> Text:
    """One line of a table. ``cut``: cells wider than their column end in an ellipsis; else they push the rest aside."""
    from rich.cells import cell_len  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    made = Text(end="")
    for position, (cell, width) in enumerate(zip(cells, fitted, strict=True)):
        part = Text(printable(cell), style=style or STYLES.get(cell, ""))
        if cut:
            part.truncate(width, overflow="ellipsis")
        if position < len(cells) - 1:
            part.append(" " * (max(0, width - cell_len(part.plain)) + GAP))
        made.append_text(part)
    made.rstrip()
    return made


def show(table: Table, console: Console | None = None, *, fitted: Sequence[int] = (), header: bool = True) -> tuple[int, ...]:
    """Print a table and return its column widths, for a later ``show`` of more rows."""
    where = console or terminal()
    room = where.width if where.is_terminal else None
    chosen = widths(table, room, fitted)
    if header:
        emit(where, line(table.columns, chosen, cut=room is not None, style="bold"))
    for row in table.rows:
        emit(where, line(row, chosen, cut=room is not None))
    return chosen


def terminal(*, error: bool = False) -> Console:
    """Standard output (or error) as Rich sees it: NO_COLOR, COLUMNS and the absence of a terminal are heeded."""
    from rich.console import Console  # noqa: PLC0415

    return Console(stderr=error, highlight=False, markup=False, emoji=False)


def emit(console: Console, text: Text) -> None:
    """Print one line as it is, never wrapped."""
    console.print(text, soft_wrap=True)


def json_text(body: Any) -> str:
    """A value as JSON for people and machines."""
    return orjson.dumps(body, option=orjson.OPT_INDENT_2).decode()


def yaml_text(body: Any) -> str:
    """A value as YAML, in the order of its keys."""
    import yaml  # noqa: PLC0415

    text: str = yaml.safe_dump(body, sort_keys=False, allow_unicode=True, width=120)
    return text.rstrip("\n")


def structured(output: Output, bodies: Sequence[Body], *, single: bool) -> str:
    """Objects as JSON or YAML: one by itself, several as a List, without the managers of their fields (as kubectl prints them)."""
    clean = [without_managers(body) for body in bodies]
    content: Body = clean[0] if single else {"apiVersion": "v1", "kind": "List", "metadata": {}, "items": clean}
    return yaml_text(content) if output is Output.YAML else json_text(content)


def without_managers(body: Body) -> Body:
    """The object as people want to read it."""
    metadata = {name: value for name, value in (body.get("metadata") or {}).items() if name != "managedFields"}
    return {**body, "metadata": metadata}


def name_lines(bodies: Iterable[Body]) -> str:
    """``workload.roadstead.dev/chat``, one a line: what kubectl takes as an argument."""
    return "\n".join(f"{body['kind'].lower()}.{str(body['apiVersion']).partition('/')[0]}/{body['metadata']['name']}" for body in bodies)


def printable(text: str) -> str:
    """The text on one line and without control characters: statuses quote strangers, and a terminal obeys what it is sent."""
    return "".join(character if character.isprintable() else " " for character in text)


def note(sentence: str) -> None:
    """A remark on standard error: never part of what is piped on."""
    print(sentence, file=sys.stderr, flush=True)
