"""``roadstead certs ensure``: the Secrets by which gateway replicas and KEDA know each other, made and renewed in time.

The chart runs it as a hook before every install and upgrade, and weekly. KEDA's Secret is only a copy of what is in the gateway's, so an
interruption between the two writes is made good by the next run. Where nothing is due nothing is written.
"""

from __future__ import annotations

import base64
import binascii
from datetime import UTC, datetime
from typing import Annotated, Final

import typer

from roadstead.cli.connection import Cluster, connected, path_of
from roadstead.cli.failure import Failure
from roadstead.cli.flags import Context, Kubeconfig
from roadstead.kube.errors import Conflict, Forbidden, NotFound
from roadstead.kube.resource import Body, Resource

FIELD_MANAGER: Final = "roadstead-certs"
CERTIFICATES: Final = "roadstead-gateway-tls"
KEDAS_COPY: Final = "roadstead-scaler-tls"
SECRETS: Final = Resource("", "v1", "secrets", "Secret")
"""Not among the kinds of ``roadstead.kube``: operator, API and gateway never ask the API server for one."""
LABELS: Final = {"app.kubernetes.io/part-of": "roadstead", "app.kubernetes.io/component": "certificates"}
KEDA_KEYS: Final = {"ca.crt": "ca.crt", "tls.crt": "client.crt", "tls.key": "client.key"}
"""Keys of KEDA's Secret, as cert-manager would name them too, and those of the gateway's Secret whose copies they are."""

app = typer.Typer(no_args_is_help=True, help="The certificates by which gateway replicas and KEDA know each other.")


@app.callback()
def certs() -> None:
    """Makes ``ensure`` a subcommand though it is the only one."""


@app.command("ensure")
def ensure_certificates(
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    namespace: Annotated[str, typer.Option(envvar="ROADSTEAD_NAMESPACE", help="Namespace of the gateway.")] = "roadstead-system",
    secret: Annotated[str, typer.Option(help="The gateway's Secret.")] = CERTIFICATES,
    service: Annotated[str, typer.Option(help="The gateway's Service.")] = "roadstead-gateway",
    peers_service: Annotated[str, typer.Option(help="The headless Service of its replicas.")] = "roadstead-gateway-peers",
    keda_namespace: Annotated[str, typer.Option(help="KEDA's namespace for cluster-wide objects; empty: no Secret for KEDA.")] = "",
    keda_secret: Annotated[str, typer.Option(help="KEDA's Secret.")] = KEDAS_COPY,
) -> None:
    """Make the Secrets, or renew them where less than a third of their life is left. Harmless when nothing is due."""
    with connected(kubeconfig, context) as cluster:
        held = _ensure_gateway(cluster, namespace, secret, service, peers_service)
        if keda_namespace:
            _ensure_copy(cluster, keda_namespace, keda_secret, {key: held[source] for key, source in KEDA_KEYS.items()})


def _ensure_gateway(cluster: Cluster, namespace: str, name: str, service: str, peers: str) -> dict[str, bytes]:
    """What the gateway's Secret holds in the end."""
    # cryptography costs 70 ms, and only this command needs it.
    from roadstead.certificates import dns_names, renewal  # noqa: PLC0415

    before = _read(cluster, namespace, name)
    held = None if before is None else _data(before)
    due = renewal(held, dns_names(namespace, service, peers), datetime.now(UTC))
    if due is None:
        typer.echo(f"Secret {namespace}/{name} may stay as it is")
        return held or {}
    _write(cluster, namespace, name, due.data, before)
    typer.echo(f"Secret {namespace}/{name}: {due.reason}")
    return due.data


def _ensure_copy(cluster: Cluster, namespace: str, name: str, data: dict[str, bytes]) -> None:
    before = _read(cluster, namespace, name)
    if before is not None and _data(before) == data:
        typer.echo(f"Secret {namespace}/{name} may stay as it is")
        return
    _write(cluster, namespace, name, data, before)
    typer.echo(f"Secret {namespace}/{name} is up to date")


def _read(cluster: Cluster, namespace: str, name: str) -> Body | None:
    """The Secret, if there is one. Raises Failure where it isn't ours: somebody's certificates are never overwritten."""
    try:
        body = cluster.get(path_of(SECRETS, namespace, name))
    except NotFound:
        return None
    if LABELS.items() <= (body["metadata"].get("labels") or {}).items():
        return body
    raise Failure(f"Secret {namespace}/{name} was not made by `roadstead certs ensure`; delete it, or choose another name.")


def _data(body: Body) -> dict[str, bytes]:
    try:
        return {key: base64.b64decode(value, validate=True) for key, value in (body.get("data") or {}).items()}
    except binascii.Error:  # the API server would not have taken it
        return {}


def _write(cluster: Cluster, namespace: str, name: str, data: dict[str, bytes], before: Body | None) -> None:
    """Apply the whole Secret. Server-side apply, since its `create` is asked for with the name, which a Role can then be bound to."""
    metadata: Body = {"name": name, "namespace": namespace, "labels": LABELS}
    if before is not None:
        metadata["resourceVersion"] = before["metadata"]["resourceVersion"]
    encoded = {key: base64.b64encode(value).decode() for key, value in sorted(data.items())}
    body = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "kubernetes.io/tls", "data": encoded}
    try:
        cluster.apply(path_of(SECRETS, namespace, name), body, manager=FIELD_MANAGER, force=True)
    except Conflict as error:
        raise Failure(f"Somebody else has just written Secret {namespace}/{name}; run it again.") from error
    except NotFound as error:
        raise Failure(f"There is no namespace {namespace}; install what belongs there first, or name another one.") from error
    except Forbidden as error:
        raise Failure(f"Secret {namespace}/{name} may not be written: {error.message}") from error
