"""What every command that talks to the cluster has in common: its two flags, and how its failures are told."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, NoReturn, TypeAlias

import typer

Kubeconfig: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        envvar="ROADSTEAD_KUBECONFIG", help="Kubeconfig file. Absent: the pod's service account, else $KUBECONFIG or ~/.kube/config."
    ),
]
Context: TypeAlias = Annotated[
    str | None, typer.Option(envvar="ROADSTEAD_CONTEXT", help="Context of the kubeconfig. Absent: its current context.")
]


def fail(sentence: str) -> NoReturn:
    """Say on standard error what went wrong, and end with exit code 1."""
    typer.echo(f"roadstead: {sentence}", err=True)
    raise typer.Exit(1)
