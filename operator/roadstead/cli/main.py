"""The command ``roadstead``."""

from __future__ import annotations

import typer

from roadstead import __version__
from roadstead.cli import certs, crds
from roadstead.cli.api import api
from roadstead.cli.apply import apply
from roadstead.cli.catalogue import bundles, gpus
from roadstead.cli.describe import describe
from roadstead.cli.gateway import gateway
from roadstead.cli.gateway_bootstrap import gateway_bootstrap
from roadstead.cli.get import get
from roadstead.cli.invoke import invoke
from roadstead.cli.lifecycle import delete, register, restart, restore, start, stop
from roadstead.cli.logs import logs
from roadstead.cli.operator import operator
from roadstead.cli.token import token
from roadstead.cli.top import top
from roadstead.cli.wait import wait

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Run containerised AI services on GPU clusters.",
)
USERS = (apply, get, describe, logs, start, stop, restart, delete, restore, register, wait, invoke, token, bundles, gpus, top)
for command in (*USERS, api, gateway, gateway_bootstrap, operator):
    app.command()(command)
app.add_typer(crds.app, name="crds")
app.add_typer(certs.app, name="certs")


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(__version__)


def main() -> None:
    """Entry point of the command."""
    app(prog_name="roadstead")
