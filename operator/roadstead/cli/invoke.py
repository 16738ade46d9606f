"""``roadstead invoke``: one HTTP request to a Workload or a Deployment, its answer streamed to standard output.

Through the gateway's URL (``status.endpoint``) with the caller's own token, where there are both; else through the API server's proxy of
the Workload's Service, which needs the right to ``services/proxy`` and doesn't wake what is at zero. The API server takes the credentials
off before it passes a request on, the gateway likewise: a Workload never sees them.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import quote, urlsplit

import typer

from roadstead.cli.completing import workload_words
from roadstead.cli.connection import Cluster, chunks, connected, path_of, send
from roadstead.cli.durations import seconds
from roadstead.cli.failure import Failure, sentence
from roadstead.cli.flags import Context, Kubeconfig, Namespace
from roadstead.cli.kinds import DEPLOYMENT, WORKLOAD, Target, one_target
from roadstead.cli.output import note
from roadstead.kube.errors import error_of_response
from roadstead.kube.resource import SERVICES, Body
from roadstead.names import PORT_NAME

LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")


class Via(StrEnum):
    """Which way a request goes."""

    AUTO = "auto"
    GATEWAY = "gateway"
    PROXY = "proxy"


@dataclass(frozen=True, slots=True)
class Call:
    """A request as the user wants it; ``path`` begins with a slash and may have a query."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes | None
    silence_seconds: float


def invoke(
    target: Annotated[str, typer.Argument(metavar="WORKLOAD", help="Its name, or deployment/NAME.", autocompletion=workload_words)],
    path: Annotated[str, typer.Argument(metavar="PATH", help="Path and query, for example /v1/models.")] = "/",
    method: Annotated[str | None, typer.Option("--request", "-X", help="Absent: POST with data, else GET.")] = None,
    data: Annotated[str | None, typer.Option("--data", "-d", help="Body; @FILE: of that file, @-: of standard input.")] = None,
    header: Annotated[
        list[str] | None, typer.Option("--header", "-H", help="'Name: value'; may be repeated. A body is JSON unless said.")
    ] = None,
    include: Annotated[bool, typer.Option("--include", "-i", help="Also the status line and headers, on standard error.")] = False,
    via: Annotated[Via, typer.Option(help="auto: the gateway where there is one, else the API server's proxy.")] = Via.AUTO,
    timeout: Annotated[str, typer.Option(help="How long the answer may be silent, waking included.")] = "15m",
    namespace: Namespace = None,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
) -> None:
    """Send an HTTP request to a Workload, and stream its answer."""
    chosen = one_target([target], default=WORKLOAD, allowed=(WORKLOAD, DEPLOYMENT))
    made = call(method, path, headers_of(header or ()), data, seconds(timeout))
    with connected(kubeconfig, context, namespace) as cluster:
        body = cluster.get(path_of(chosen.kind.resource, cluster.namespace, chosen.name))
        endpoint = (body.get("status") or {}).get("endpoint")
        if via is Via.GATEWAY or (via is Via.AUTO and endpoint and cluster.token()):
            through_gateway(cluster, chosen, endpoint, made, include=include)
        else:
            if endpoint and via is Via.AUTO:
                note("Your kubeconfig holds no token for the gateway, so this goes through the API server's proxy")
            through_proxy(cluster, chosen, body, made, include=include)


def call(method: str | None, path: str, headers: Mapping[str, str], data: str | None, silence_seconds: float) -> Call:
    """The request. Raises BadParameter for a file that can't be read."""
    body: bytes | None = None
    if data is not None and data.startswith("@"):
        try:
            body = sys.stdin.buffer.read() if data == "@-" else Path(data[1:]).read_bytes()
        except OSError as error:
            raise typer.BadParameter(f"{data[1:]} can't be read: {error.strerror}") from error
    elif data is not None:
        body = data.encode()
    typed = any(name.lower() == "content-type" for name in headers)
    more = {} if body is None or typed else {"Content-Type": "application/json"}
    return Call((method or ("GET" if body is None else "POST")).upper(), f"/{path.lstrip('/')}", {**headers, **more}, body, silence_seconds)


def headers_of(lines: Sequence[str]) -> dict[str, str]:
    """``Name: value`` lines. Raises BadParameter."""
    made = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name.strip():
            raise typer.BadParameter(f"{line!r} is no header; write 'Name: value'")
        made[name.strip()] = value.strip()
    return made


def through_gateway(cluster: Cluster, target: Target, endpoint: str | None, made: Call, *, include: bool) -> None:
    """With the user's token, which never goes over plain HTTP to another machine."""
    from kubernetes.client import Configuration  # noqa: PLC0415
    from kubernetes.client.rest import RESTClientObject  # noqa: PLC0415

    token = cluster.token()
    if not endpoint:
        raise Failure(f"{target} has no URL at the gateway; leave --via out, or ask the administrator for Platform's gateway.url.")
    if token is None:
        raise Failure("Your kubeconfig holds no token, and the gateway takes nothing else; leave --via out to go through the API server.")
    parts = urlsplit(endpoint)
    if parts.scheme != "https" and parts.hostname not in LOOPBACK:
        raise Failure(f"{endpoint} is not https, so your token isn't sent there; --via proxy goes through the API server.")
    headers = {**made.headers, "Authorization": f"Bearer {token}"}
    # The public authorities, not the cluster's, and the proxy of the environment.
    pool = RESTClientObject(Configuration(host=endpoint)).pool_manager
    answer = send(pool, made.method, endpoint.rstrip("/") + made.path, headers, made.body, made.silence_seconds)
    if include:
        note(f"HTTP {answer.status}\n" + "\n".join(f"{name}: {value}" for name, value in answer.headers.items()) + "\n")
    for chunk in chunks(answer):
        _out(chunk)
    if answer.status >= 400:
        raise Failure(f"{target} answered {answer.status}.")


def through_proxy(cluster: Cluster, target: Target, body: Body, made: Call, *, include: bool) -> None:
    """Through the API server, which speaks to the Service for us."""
    workload = body
    if target.kind is DEPLOYMENT:
        name = (body.get("status") or {}).get("activeWorkload") or body["spec"]["workloadRef"]["name"]
        workload = cluster.get(path_of(WORKLOAD.resource, cluster.namespace, name))
    answer = cluster.open(
        made.method,
        proxy_path(workload) + made.path,
        headers=made.headers,
        body=made.body,
        silence_seconds=made.silence_seconds,
        refusals=False,
    )
    if include:
        note(f"HTTP {answer.status}\n" + "\n".join(f"{name}: {value}" for name, value in answer.headers.items()) + "\n")
    if answer.status < 400:
        for chunk in chunks(answer):
            _out(chunk)
        return
    payload = b"".join(chunks(answer))
    refusal = error_of_response(answer.status, answer.headers, payload)
    if refusal.reason == "Unknown":  # no Status of the API server's, so it is the Workload's own answer
        _out(payload)
        raise Failure(f"{target} answered {answer.status}.")
    if refusal.status == 503:
        status = workload.get("status") or {}
        said = status.get("message") or status.get("state") or refusal.message
        raise Failure(f"No pod of {target} answers: {said}. `roadstead wait {target}` waits for one.")
    raise Failure(sentence(refusal, cluster.server))


def proxy_path(workload: Body) -> str:
    """Where the API server passes requests on to a Workload's Service, by the name of its port."""
    secure = str((workload.get("status") or {}).get("internalUrl") or "").startswith("https:")
    service = f"{'https:' if secure else ''}{workload['metadata']['name']}:{PORT_NAME}"
    return SERVICES.path(workload["metadata"]["namespace"], quote(service, safe=":"), "proxy")


def _out(chunk: bytes) -> None:
    sys.stdout.buffer.write(chunk)
    sys.stdout.buffer.flush()
