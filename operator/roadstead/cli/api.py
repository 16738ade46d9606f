"""``roadstead api``: the REST API as a process."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer

from roadstead.cli.flags import Context, Kubeconfig
from roadstead.cli.process_options import (
    LOG_FORMAT,
    LOG_LEVEL,
    Audience,
    Certificates,
    DrainSeconds,
    HealthPort,
    LogFormatOption,
    LogLevelOption,
    MetricsPort,
    OwnNamespace,
    RefusalSeconds,
    VerdictSeconds,
    run_process,
)
from roadstead.series import LABEL
from roadstead.settings import ApiSettings

DEFAULTS = ApiSettings()


def api(
    *,
    kubeconfig: Kubeconfig = DEFAULTS.kubeconfig,
    context: Context = DEFAULTS.context,
    namespace: OwnNamespace = DEFAULTS.namespace,
    default_namespace: Annotated[
        str, typer.Option(envvar="ROADSTEAD_DEFAULT_NAMESPACE", help="Where objects go whose request and caller name no namespace.")
    ] = DEFAULTS.default_namespace,
    log_format: LogFormatOption = LOG_FORMAT,
    log_level: LogLevelOption = LOG_LEVEL,
    host: Annotated[str, typer.Option(envvar="ROADSTEAD_HOST", help="Address to listen on.")] = DEFAULTS.host,
    port: Annotated[int, typer.Option(envvar="ROADSTEAD_PORT", min=1, max=65535, help="Port to listen on.")] = DEFAULTS.port,
    health_port: HealthPort = DEFAULTS.health_port,
    metrics_port: MetricsPort = DEFAULTS.metrics_port,
    audience: Audience = DEFAULTS.audience,
    verdict_seconds: VerdictSeconds = DEFAULTS.verdict_seconds,
    refusal_seconds: RefusalSeconds = DEFAULTS.refusal_seconds,
    requests_per_second: Annotated[
        float, typer.Option(envvar="ROADSTEAD_REQUESTS_PER_SECOND", min=0, help="What a caller may ask for in the long run; 0: no limit.")
    ] = DEFAULTS.requests_per_second,
    burst: Annotated[int, typer.Option(envvar="ROADSTEAD_BURST", min=1, help="What a caller may ask for at once.")] = DEFAULTS.burst,
    max_body_bytes: Annotated[
        int, typer.Option(envvar="ROADSTEAD_MAX_BODY_BYTES", min=1, help="Largest body of a request.")
    ] = DEFAULTS.max_body_bytes,
    request_seconds: Annotated[
        float, typer.Option(envvar="ROADSTEAD_REQUEST_SECONDS", min=1, help="How long a request may take.")
    ] = DEFAULTS.request_seconds,
    drain_seconds: DrainSeconds = DEFAULTS.drain_seconds,
    trusted_proxies: Annotated[
        list[str] | None,
        typer.Option(
            "--trusted-proxy", envvar="ROADSTEAD_TRUSTED_PROXIES", help="Address or network whose X-Forwarded headers are believed."
        ),
    ] = None,
    gateway: Annotated[
        str, typer.Option(envvar="ROADSTEAD_GATEWAY", help="The gateway's peers, host:port, to ask for statistics; empty: these are null.")
    ] = DEFAULTS.gateway,
    certificates: Certificates = DEFAULTS.certificates,
    prometheus: Annotated[
        str, typer.Option(envvar="ROADSTEAD_PROMETHEUS", help="URL of a Prometheus, for statistics beyond the gateway's; empty: none.")
    ] = DEFAULTS.prometheus,
    prometheus_token_file: Annotated[
        Path | None, typer.Option(envvar="ROADSTEAD_PROMETHEUS_TOKEN_FILE", help="Bearer token to show it.")
    ] = DEFAULTS.prometheus_token_file,
    prometheus_ca_file: Annotated[
        Path | None, typer.Option(envvar="ROADSTEAD_PROMETHEUS_CA_FILE", help="Whom to trust there; absent: as usual.")
    ] = DEFAULTS.prometheus_ca_file,
    prometheus_labels: Annotated[
        list[str] | None,
        typer.Option(
            "--prometheus-label", envvar="ROADSTEAD_PROMETHEUS_LABELS", help="name=value that our series have there besides their own."
        ),
    ] = None,
) -> None:
    """Run the REST API until it is told to stop. Any number of replicas may run side by side."""
    for proxy in trusted_proxies or ():
        try:
            ip_network(proxy, strict=False)
        except ValueError as error:
            raise typer.BadParameter(f"--trusted-proxy: {error}") from error
    if prometheus and (problem := _fault(prometheus)):
        raise typer.BadParameter(f"--prometheus: {problem}")
    settings = ApiSettings(
        kubeconfig=kubeconfig,
        context=context,
        namespace=namespace,
        default_namespace=default_namespace,
        log_format=str(log_format),
        log_level=log_level.upper(),
        host=host,
        port=port,
        health_port=health_port,
        metrics_port=metrics_port,
        audience=audience,
        verdict_seconds=verdict_seconds,
        refusal_seconds=refusal_seconds,
        requests_per_second=requests_per_second,
        burst=burst,
        max_body_bytes=max_body_bytes,
        request_seconds=request_seconds,
        drain_seconds=drain_seconds,
        trusted_proxies=tuple(trusted_proxies or ()),
        gateway=gateway,
        certificates=certificates,
        prometheus=prometheus,
        prometheus_token_file=prometheus_token_file,
        prometheus_ca_file=prometheus_ca_file,
        prometheus_labels=tuple(_label(label) for label in prometheus_labels or ()),
    )
    # FastAPI and aiohttp cost most of a second, and only this command needs them.
    from roadstead.rest.server import run  # noqa: PLC0415

    run_process(run, settings)


def _fault(url: str) -> str | None:
    """What is wrong with a URL whose API is to be asked, in a sentence."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        return str(error)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return "a URL begins with http:// or https:// and a host"
    if parts.username is not None or parts.password is not None:
        return "a user and a password don't belong into a URL that everybody can read; name a file with a token"
    return "nothing may follow its path" if parts.query or parts.fragment else None


def _label(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or LABEL.fullmatch(name) is None:
        raise typer.BadParameter(f"--prometheus-label: {text!r} isn't name=value")
    return name, value
