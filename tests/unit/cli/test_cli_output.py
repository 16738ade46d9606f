"""Tables that fit, and what is printed for machines."""

from __future__ import annotations

import io
import json

import pytest
import yaml
from rich.console import Console

from roadstead.cli.output import Output, Table, name_lines, show, structured, widths

LONG = Table(("NAME", "STATE", "MESSAGE"), (("a-rather-long-workload-name", "errored", "m" * 90), ("b", "running", "")))
BODY = {
    "apiVersion": "roadstead.dev/v1alpha1",
    "kind": "Workload",
    "metadata": {"name": "chat", "managedFields": [{"manager": "kubectl"}]},
    "spec": {"note": "two\nlines"},
}


def shown(table: Table, *, width: int | None) -> list[str]:
    file = io.StringIO()
    show(table, Console(file=file, width=width or 80, force_terminal=width is not None, color_system=None, highlight=False))
    return file.getvalue().splitlines()


def test_a_table_fits_the_terminal_and_keeps_names_whole() -> None:
    lines = shown(LONG, width=70)

    assert max(map(len, lines)) == 70
    assert lines[1].startswith("a-rather-long-workload-name   errored   mmm")
    assert lines[1].endswith("m…")
    assert lines[2].split() == ["b", "running"]


def test_names_are_cut_when_nothing_else_is_left() -> None:
    assert sum(widths(LONG, 34)) + 2 * 3 == 34
    assert widths(LONG, 34)[1:] == (7, 8)


def test_off_a_terminal_nothing_is_cut_or_padded() -> None:
    lines = shown(LONG, width=None)

    assert lines[1].endswith("m" * 90)
    assert lines[2] == lines[2].rstrip()
    assert "\x1b" not in "".join(lines)


def test_wide_characters_count_twice() -> None:
    assert widths(Table(("NAME",), (("錨地",),)), None) == (4,)


def test_a_terminal_is_not_sent_what_a_status_quotes() -> None:
    lines = shown(Table(("MESSAGE",), (("red \x1b[31malert\nnext",),)), width=60)

    assert lines == ["MESSAGE", "red  [31malert next"]


@pytest.mark.parametrize(("output", "load"), [(Output.JSON, json.loads), (Output.YAML, yaml.safe_load)])
def test_objects_for_machines(output: Output, load: type) -> None:
    one, several = load(structured(output, [BODY], single=True)), load(structured(output, [BODY, BODY], single=False))

    assert one == {**BODY, "metadata": {"name": "chat"}}
    assert (several["kind"], several["items"]) == ("List", [one, one])


def test_names_are_what_kubectl_takes() -> None:
    assert name_lines([BODY]) == "workload.roadstead.dev/chat"


def test_columns_grow_with_later_rows() -> None:
    """A watch prints row by row: what comes later is longer, and is read all the same."""
    first = widths(Table(("NAME", "STATE"), (("a", "stopped"),)), 60)

    assert widths(Table(("NAME", "STATE"), (("a", "initializing"),)), 60, first) == (4, 12)
    assert widths(Table(("NAME", "STATE"), (("a", "ok"),)), 60, first) == (4, 7)
