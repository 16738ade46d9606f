"""``roadstead crds``: the CRDs that this version needs, printed or applied.

They travel inside the package, so that the operator's image and its CRDs can't be of different versions. Helm installs what is in
``crds/`` only once; the chart's upgrade hook therefore runs ``roadstead crds apply``.
"""

from __future__ import annotations

import asyncio
from importlib import resources
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
import yaml

from roadstead import __version__
from roadstead.cli.connection import Context, Kubeconfig, fail

if TYPE_CHECKING:
    from roadstead.kube.client import ApiClient

FIELD_MANAGER: Final = "roadstead-crds"
POLL_SECONDS: Final = 0.3

app = typer.Typer(no_args_is_help=True, help="The CRDs of this version: print them, or apply them to the cluster.")

Crd = dict[str, Any]


class NotAcceptedError(Exception):
    """The API server won't serve a CRD, and waiting won't help."""


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
    # aiohttp and ssl cost 0.2 s, and only this command needs them.
    from roadstead.kube.client import ApiClient  # noqa: PLC0415
    from roadstead.kube.config import ConfigError, load  # noqa: PLC0415
    from roadstead.kube.errors import ApiError  # noqa: PLC0415

    crds = [yaml.safe_load(text) for text in documents()]
    if not crds:
        fail("This installation carries no CRDs; run `make generate`, or install the released package.")

    async def run() -> None:
        async with ApiClient(load(kubeconfig, context), user_agent=f"roadstead-crds/{__version__}") as client:
            async with asyncio.timeout(timeout_seconds):
                await apply(client, crds, field_manager)

    try:
        asyncio.run(run())
    except ConfigError as error:
        fail(f"The cluster can't be reached: {error}")
    except ApiError as error:
        fail(f"The CRDs can't be applied: {error}")
    except NotAcceptedError as error:
        fail(str(error))
    except TimeoutError:
        fail(f"The API server doesn't serve the CRDs {timeout_seconds:g} seconds after they were applied.")


async def apply(client: ApiClient, crds: list[Crd], field_manager: str = FIELD_MANAGER) -> None:
    """Apply every CRD, then wait for all of them. Raises ApiError, and NotAcceptedError where a name clashes with another CRD's."""
    from roadstead.kube.resource import CRDS  # noqa: PLC0415

    for crd in crds:
        # Forced, since Helm or a person may have applied an older one. `spec.versions` is one atomic field: nothing of it survives.
        await client.apply(CRDS, None, crd, field_manager=field_manager, force=True)
    for crd in crds:
        name = crd["metadata"]["name"]
        while not served(await client.get(CRDS, None, name)):  # noqa: ASYNC110 - the event is the server's
            await asyncio.sleep(POLL_SECONDS)
        typer.echo(f"{name} is up to date")


def served(crd: Crd) -> bool:
    """Whether the API server serves the kind. Raises NotAcceptedError when it never will."""
    conditions = {entry["type"]: entry for entry in crd.get("status", {}).get("conditions", ())}
    names = conditions.get("NamesAccepted", {})
    if names.get("status") == "False":
        raise NotAcceptedError(f"{crd['metadata']['name']} is not accepted: {names.get('message', 'its names are taken')}.")
    return bool(conditions.get("Established", {}).get("status") == "True")
