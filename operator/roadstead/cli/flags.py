"""The arguments and flags that commands share, each spelt and explained once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from roadstead.cli.completing import artifact_words, namespace_words, object_words, workload_words

Kubeconfig: TypeAlias = Annotated[
    Path | None,
    typer.Option(envvar="ROADSTEAD_KUBECONFIG", help="Kubeconfig file. Absent: as kubectl finds it, or in a pod its service account."),
]
Context: TypeAlias = Annotated[
    str | None, typer.Option(envvar="ROADSTEAD_CONTEXT", help="Context of the kubeconfig. Absent: its current context.")
]
Namespace: TypeAlias = Annotated[
    str | None, typer.Option("--namespace", "-n", help="Namespace. Absent: the context's.", autocompletion=namespace_words)
]
AllNamespaces: TypeAlias = Annotated[bool, typer.Option("--all-namespaces", "-A", help="In every namespace.")]
Selector: TypeAlias = Annotated[
    str, typer.Option("--selector", "-l", help="Only objects with such labels, for example app=chat,tier!=test.")
]

Objects: TypeAlias = Annotated[
    list[str], typer.Argument(metavar="KIND/NAME", help="One or more; or KIND and names.", autocompletion=object_words)
]
WorkloadsOrOthers: TypeAlias = Annotated[
    list[str], typer.Argument(metavar="KIND/NAME", help="One or more; or names of Workloads.", autocompletion=object_words)
]
Workloads: TypeAlias = Annotated[list[str], typer.Argument(metavar="WORKLOAD", help="Names of Workloads.", autocompletion=workload_words)]
OneWorkload: TypeAlias = Annotated[list[str], typer.Argument(metavar="WORKLOAD", help="Name of a Workload.", autocompletion=workload_words)]
OneArtifact: TypeAlias = Annotated[
    list[str], typer.Argument(metavar="ARTIFACT", help="Name of an Artifact.", autocompletion=artifact_words)
]
