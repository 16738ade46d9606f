"""The document that tells what the benches have measured: each has a part of its own between two comments."""

from __future__ import annotations

import time

from tests.clusters import ROOT

DOCUMENT = ROOT / "docs" / "benchmarks.md"
HELP = f"into {DOCUMENT.name}"
"""Of the benches' flag ``--write``."""


def write(name: str, command: str, text: str) -> None:
    """Put a bench's tables in the place of its last ones, with the command that made them and the day."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, _, rest = DOCUMENT.read_text().partition(begin)
    DOCUMENT.write_text(f"{before}{begin}\n`{command}`, {time.strftime('%Y-%m-%d')}\n\n{text}\n{end}{rest.partition(end)[2]}")
