"""``roadstead token``: a bearer token to call the REST API or the gateway with, alone on standard output.

For ``curl -H "Authorization: Bearer $(roadstead token --service-account ci)"``.
"""

from __future__ import annotations

from typing import Annotated, Final

import typer

from roadstead.cli.connection import Cluster, connected, path_of
from roadstead.cli.durations import seconds
from roadstead.cli.failure import Failure
from roadstead.cli.flags import Context, Kubeconfig, Namespace
from roadstead.cli.output import note
from roadstead.kube.resource import Resource
from roadstead.settings import ApiSettings

AUDIENCE: Final = ApiSettings().audience
SERVICE_ACCOUNTS: Final = Resource("", "v1", "serviceaccounts", "ServiceAccount")
LEAST_SECONDS: Final = 600
"""The API server refuses less."""


def token(
    service_account: Annotated[str | None, typer.Option("--service-account", "-s", help="Make one for it. Absent: print yours.")] = None,
    audience: Annotated[
        list[str] | None,
        typer.Option(help=f"Who shall take it; may be repeated. Absent: {AUDIENCE}, good for reading and invoking."),
    ] = None,
    duration: Annotated[str | None, typer.Option(help="How long it is valid, at least 10m. Absent: 1h.")] = None,
    namespace: Namespace = None,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
) -> None:
    """Print a token: your own, or a new one of a ServiceAccount."""
    if service_account is None and (audience or duration):
        raise typer.BadParameter("--audience and --duration need --service-account: your own token is as it is")
    valid_seconds = seconds(duration or "1h")
    if valid_seconds < LEAST_SECONDS:
        raise typer.BadParameter("--duration must be at least 10m")
    with connected(kubeconfig, context, namespace) as cluster:
        print(own(cluster) if service_account is None else made(cluster, service_account, audience or [AUDIENCE], round(valid_seconds)))


def own(cluster: Cluster) -> str:
    """The token that the kubeconfig identifies its user by. Raises Failure where that is something else."""
    found = cluster.token()
    if found is None:
        raise Failure(
            "Your kubeconfig identifies you without a token (by a certificate?); make one: roadstead token --service-account NAME."
        )
    return found


def made(cluster: Cluster, account: str, audiences: list[str], valid_seconds: int) -> str:
    """A new token of a ServiceAccount; says on standard error until when it is valid."""
    wish = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {"audiences": audiences, "expirationSeconds": valid_seconds},
    }
    status = cluster.post(path_of(SERVICE_ACCOUNTS, cluster.namespace, account, "token"), wish)["status"]
    note(f"Valid until {status['expirationTimestamp']}")
    return str(status["token"])
