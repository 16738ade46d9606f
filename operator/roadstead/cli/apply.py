"""``roadstead apply``: server-side apply of manifests that were checked first."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from roadstead.cli.connection import Cluster, connected, path_of
from roadstead.cli.failure import Failure, fail, sentence
from roadstead.cli.flags import Context, Kubeconfig, Namespace
from roadstead.cli.manifests import Manifest, read
from roadstead.cli.output import Output, OutputOption, name_lines, structured
from roadstead.kube.errors import ApiError, Unreachable
from roadstead.kube.resource import Body


class DryRun(StrEnum):
    """What is tried without being kept."""

    NONE = "none"
    SERVER = "server"


def apply(
    files: Annotated[list[str], typer.Option("--filename", "-f", help="File, folder, or - for standard input; may be repeated.")],
    recursive: Annotated[bool, typer.Option("--recursive", "-R", help="Also the folders inside a folder.")] = False,
    dry_run: Annotated[DryRun, typer.Option(help="server: let the API server check everything and keep nothing.")] = DryRun.NONE,
    force_conflicts: Annotated[bool, typer.Option(help="Take fields over that another manager has set.")] = False,
    namespace: Namespace = None,
    output: OutputOption = None,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
) -> None:
    """Make what manifests say: create, or change what differs."""
    if output is Output.WIDE:
        raise typer.BadParameter("-o wide is for tables; choose json, yaml or name")
    try:
        manifests = read(files, recursive=recursive)
    except Failure as failure:
        fail(str(failure), failure.code)
    with connected(kubeconfig, context, namespace) as cluster:
        placed = [(manifest, place(manifest, cluster.namespace, namespace)) for manifest in manifests]
        made: list[Body] = []
        refused: list[str] = []
        for manifest, where in placed:
            try:
                body, created = put(cluster, manifest, where, force=force_conflicts, dry_run=dry_run is DryRun.SERVER)
            except Unreachable:
                raise
            except ApiError as error:
                # As kubectl: what can be applied is, and the rest is told at the end.
                refused.append(f"{manifest.origin}: {sentence(error, cluster.server)}")
                continue
            made.append(body)
            if output is None:
                told = "created" if created else "applied"
                print(
                    f"{manifest.resource.kind.lower()}/{manifest.name} {told}{' (dry run)' if dry_run is DryRun.SERVER else ''}", flush=True
                )
        if made and output is not None:
            print(name_lines(made) if output is Output.NAME else structured(output, made, single=len(manifests) == 1))
        if refused:
            raise Failure("\n".join(refused))


def place(manifest: Manifest, present: str, asked: str | None) -> str | None:
    """The namespace: the document's own, else the one in force. Raises Failure where the flag says another one, as kubectl does."""
    if not manifest.resource.namespaced:
        return None
    if asked is not None and manifest.namespace not in (None, asked):
        raise Failure(
            f"{manifest.origin}: it is of namespace {manifest.namespace!r}, but --namespace says {asked!r}; leave one of them out."
        )
    return manifest.namespace or present


def put(cluster: Cluster, manifest: Manifest, namespace: str | None, *, force: bool, dry_run: bool) -> tuple[Body, bool]:
    """Apply one manifest; the object as it is now, and whether it is new."""
    return cluster.apply(path_of(manifest.resource, namespace, manifest.name), manifest.body, force=force, strict=True, dry_run=dry_run)
