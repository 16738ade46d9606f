"""``roadstead crds``: the CRDs that this version needs, printed or applied.

They travel inside the package, so that the operator's image and its CRDs can't be of different versions. Helm installs what is in
``crds/`` only once; the chart's upgrade hook therefore runs ``roadstead crds apply``.
"""

from __future__ import annotations

import time
from importlib import resources
from typing import Annotated, Any, Final

import typer
import yaml

from roadstead.cli.connection import Cluster, connected, path_of
from roadstead.cli.failure import Failure, fail
from roadstead.cli.flags import Context, Kubeconfig
from roadstead.kube.resource import CRDS

FIELD_MANAGER: Final = "roadstead-crds"
POLL_SECONDS: Final = 0.3

app = typer.Typer(no_args_is_help=True, help="The CRDs of this version: print them, or apply them to the cluster.")

Crd = dict[str, Any]


def documents() -> list[str]:
    """The packaged CRDs as YAML, in the order of their file names."""
    folder = resources.files("roadstead") / "crds"
    if not folder.is_dir():
        return []
    return [entry.read_text() for entry in sorted(folder.iterdir(), key=lambda entry: entry.name) if entry.name.endswith(".yaml")]


@app.command("print")
def print_crds() -> None:
    """Print the CRDs as YAML, for `kubectl apply --server-side -f -` or a Git repository."""
    found = documents()
    if not found:
        fail("This installation carries no CRDs; run `make generate`, or install the released package.")
    typer.echo("---\n".join(text if text.endswith("\n") else text + "\n" for text in found), nl=False)


@app.command("apply")
def apply_crds(
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    field_manager: Annotated[
        str,
        typer.Option(help="Who the fields then belong to. The chart's hook says helm, so that Helm meets no conflict at its next install."),
    ] = FIELD_MANAGER,
    timeout_seconds: Annotated[float, typer.Option(min=1, help="How long to wait until the API server serves them.")] = 60.0,
) -> None:
    """Apply the CRDs (server-side) and wait until the API server serves them. Harmless when nothing has changed."""
    crds = [yaml.safe_load(text) for text in documents()]
    if not crds:
        fail("This installation carries no CRDs; run `make generate`, or install the released package.")
    with connected(kubeconfig, context) as cluster:
        apply(cluster, crds, field_manager, time.monotonic() + timeout_seconds)


def apply(cluster: Cluster, crds: list[Crd], field_manager: str, deadline: float) -> None:
    """Apply every CRD, then wait for all of them. Raises ApiError, and Failure where one isn't served in time or never will be."""
    for crd in crds:
        # Forced, since Helm or a person may have applied an older one. `spec.versions` is one atomic field: nothing of it survives.
        cluster.apply(path_of(CRDS, None, crd["metadata"]["name"]), crd, manager=field_manager, force=True)
    for crd in crds:
        name = crd["metadata"]["name"]
        while not served(cluster.get(path_of(CRDS, None, name))):
            if time.monotonic() > deadline:
                raise Failure(f"The API server doesn't serve {name} in time; `kubectl describe crd {name}` says why.")
            time.sleep(POLL_SECONDS)
        typer.echo(f"{name} is up to date")


def served(crd: Crd) -> bool:
    """Whether the API server serves the kind. Raises Failure when it never will."""
    conditions = {entry["type"]: entry for entry in crd.get("status", {}).get("conditions") or ()}
    names = conditions.get("NamesAccepted", {})
    if names.get("status") == "False":
        said = names.get("message", "its names are taken")
        raise Failure(f"{crd['metadata']['name']} is not accepted: {said}; remove the other CRD of that name, if nobody needs it.")
    return bool(conditions.get("Established", {}).get("status") == "True")
