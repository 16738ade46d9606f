"""``roadstead get``: lists and single objects, in the columns that the kinds themselves declare.

The API server makes the table (the CRD's printer columns), so this shows what ``kubectl get`` shows, only fitted to the terminal.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from roadstead.cli.completing import object_words
from roadstead.cli.connection import TABLE, Cluster, connected, path_of
from roadstead.cli.failure import Failure
from roadstead.cli.flags import AllNamespaces, Context, Kubeconfig, Namespace, Selector
from roadstead.cli.kinds import Selection, Target, selections
from roadstead.cli.output import Output, OutputOption, Table, json_text, name_lines, show, structured, without_managers, yaml_text
from roadstead.cli.watching import Change, Watch
from roadstead.kube.resource import Body


def get(
    what: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="WHAT",
            help="KIND, KIND and names, KIND/NAME, or all. Kinds: artifacts (rsa), workloads (rsw), deployments (rsd).",
            autocompletion=object_words,
        ),
    ] = None,
    namespace: Namespace = None,
    all_namespaces: AllNamespaces = False,
    selector: Selector = "",
    output: OutputOption = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Then go on printing what changes, until interrupted.")] = False,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
) -> None:
    """List Artifacts, Workloads and Deployments, or show some of them."""
    wanted = selections(what or ())
    if any(selection.names for selection in wanted) and (selector or all_namespaces):
        raise typer.BadParameter("names exclude --selector and --all-namespaces")
    if watch and (len(wanted) > 1 or len(wanted[0].names) > 1):
        raise typer.BadParameter("one kind, or one object, can be watched at a time")
    with connected(kubeconfig, context, namespace) as cluster:
        where = None if all_namespaces else cluster.namespace
        if watch:
            follow(cluster, wanted[0], where, selector, output)
        elif output is None or output is Output.WIDE:
            tables(cluster, wanted, where, selector, wide=output is Output.WIDE)
        else:
            bodies = [body for selection in wanted for body in objects(cluster, selection, where, selector)]
            single = len(wanted) == 1 and len(wanted[0].names) == 1
            print(name_lines(bodies) if output is Output.NAME else structured(output, bodies, single=single))


def objects(cluster: Cluster, selection: Selection, namespace: str | None, selector: str) -> list[Body]:
    """The chosen objects. Raises NotFound for a name that isn't there."""
    resource = selection.kind.resource
    if selection.names:
        return [cluster.get(path_of(resource, namespace, name)) for name in selection.names]
    return cluster.items(resource, namespace, {"labelSelector": selector} if selector else {})


def tables(cluster: Cluster, wanted: tuple[Selection, ...], namespace: str | None, selector: str, *, wide: bool) -> None:
    """Print a table for each kind; says so on standard error where there is nothing at all."""
    shown = 0
    for selection in wanted:
        resource = selection.kind.resource
        if selection.names:
            pages = [cluster.get(path_of(resource, namespace, name), accept=TABLE) for name in selection.names]
        else:
            pages = list(cluster.pages(path_of(resource, namespace), {"labelSelector": selector} if selector else {}, accept=TABLE))
        prefix = f"{selection.kind.singular}/" if len(wanted) > 1 else ""
        rows = [row for page in pages for row in page.get("rows") or ()]
        if rows:
            if shown:
                print()
            columns = next(page["columnDefinitions"] for page in pages if page.get("columnDefinitions"))
            show(table_of(columns, rows, wide=wide, namespaces=namespace is None, prefix=prefix))
            shown += len(rows)
    if not shown:
        kinds = ", ".join(selection.kind.resource.plural for selection in wanted)
        nothing(kinds, namespace, selector)


def nothing(kinds: str, namespace: str | None, selector: str) -> None:
    """Say that a list is empty: no failure, and nothing for a pipe."""
    place = "in any namespace" if namespace is None else f'in namespace "{namespace}"'
    typer.echo(f"No {kinds} {place}{f' with {selector}' if selector else ''}.", err=True)


def follow(cluster: Cluster, selection: Selection, namespace: str | None, selector: str, output: Output | None) -> None:
    """Print what there is, then every change, for ever."""
    query = {"labelSelector": selector} if selector else {}
    if selection.names:
        query["fieldSelector"] = f"metadata.name={selection.names[0]}"
    printed = output in (None, Output.WIDE)
    watch = Watch(cluster, path_of(selection.kind.resource, namespace), query, table=printed)
    found = watch.present()
    if selection.names and not found:
        missing = Target(selection.kind, selection.names[0])
        raise Failure(f'{missing} is not in namespace "{namespace}"; `roadstead get {selection.kind.resource.plural} -A` lists them.')
    if not printed:
        for change in found:
            _print_object(change, output)
        for change in watch.follow():
            _print_object(change, output)
        return
    wide, namespaces = output is Output.WIDE, namespace is None
    fitted = show(table_of(watch.columns, [change.body for change in found], wide=wide, namespaces=namespaces))
    for change in watch.follow():
        fitted = show(table_of(watch.columns, [change.body], wide=wide, namespaces=namespaces), fitted=fitted, header=False)


def table_of(columns: list[Body], rows: list[Body], *, wide: bool, namespaces: bool, prefix: str = "") -> Table:
    """The server's table as ours: upper-case titles, wide columns only if asked for, the namespace in front, prefixed names."""
    chosen = [index for index, column in enumerate(columns) if wide or not column.get("priority")]
    titles = tuple(str(columns[index]["name"]).upper() for index in chosen)
    made = []
    for row in rows:
        cells = tuple(cell(row["cells"][index]) for index in chosen)
        if prefix and titles[0] == "NAME":
            cells = (prefix + cells[0], *cells[1:])
        made.append((row["object"]["metadata"].get("namespace", ""), *cells) if namespaces else cells)
    return Table(("NAMESPACE", *titles) if namespaces else titles, tuple(made))


def cell(value: Any) -> str:
    """A cell as kubectl writes it."""
    return "" if value is None else str(value)


def _print_object(change: Change, output: Output | None) -> None:
    body = without_managers(change.body)
    match output:
        case Output.NAME:
            print(name_lines([body]), flush=True)
        case Output.YAML:
            print(f"---\n{yaml_text(body)}", flush=True)
        case _:
            print(json_text(body), flush=True)
