"""``roadstead gateway``: the process beside Envoy."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from roadstead.cli.flags import Context, Kubeconfig
from roadstead.cli.process_options import (
    LOG_FORMAT,
    LOG_LEVEL,
    Audience,
    Certificates,
    DrainSeconds,
    HealthPort,
    Identity,
    LogFormatOption,
    LogLevelOption,
    MetricsPort,
    OwnNamespace,
    PeerService,
    RefusalSeconds,
    VerdictSeconds,
    run_process,
)
from roadstead.settings import GatewaySettings

DEFAULTS = GatewaySettings()


def _port(variable: str, help: str) -> typer.models.OptionInfo:
    option: typer.models.OptionInfo = typer.Option(envvar=f"ROADSTEAD_{variable}", min=1, max=65535, help=help)
    return option


def gateway(
    *,
    kubeconfig: Kubeconfig = DEFAULTS.kubeconfig,
    context: Context = DEFAULTS.context,
    namespace: OwnNamespace = DEFAULTS.namespace,
    identity: Identity = DEFAULTS.identity,
    log_format: LogFormatOption = LOG_FORMAT,
    log_level: LogLevelOption = LOG_LEVEL,
    health_port: HealthPort = DEFAULTS.health_port,
    metrics_port: MetricsPort = DEFAULTS.metrics_port,
    control_port: Annotated[int, _port("CONTROL_PORT", "Envoy's configuration and load reports, on loopback.")] = DEFAULTS.control_port,
    peer_port: Annotated[int, _port("PEER_PORT", "The same for other replicas, by mutual TLS.")] = DEFAULTS.peer_port,
    authoriser_port: Annotated[int, _port("AUTHORISER_PORT", "Envoy's questions for permission, on loopback.")] = DEFAULTS.authoriser_port,
    peer_authoriser_port: Annotated[
        int, _port("PEER_AUTHORISER_PORT", "The same for other replicas, by mutual TLS.")
    ] = DEFAULTS.peer_authoriser_port,
    scaler_port: Annotated[int, _port("SCALER_PORT", "KEDA's external scaler.")] = DEFAULTS.scaler_port,
    admin_port: Annotated[int, _port("ADMIN_PORT", "Envoy's administration, on loopback.")] = DEFAULTS.admin_port,
    certificates: Certificates = DEFAULTS.certificates,
    peers: Annotated[
        list[str] | None, typer.Option("--peer", envvar="ROADSTEAD_PEERS", help="Another replica's host:port, in the peer service's place.")
    ] = None,
    peer_service: PeerService = DEFAULTS.peer_service,
    state: Annotated[
        Path | None, typer.Option(envvar="ROADSTEAD_STATE", help="Folder where counts outlive a restart of the container.")
    ] = DEFAULTS.state,
    audience: Audience = DEFAULTS.audience,
    verdict_seconds: VerdictSeconds = DEFAULTS.verdict_seconds,
    refusal_seconds: RefusalSeconds = DEFAULTS.refusal_seconds,
    drain_seconds: DrainSeconds = DEFAULTS.drain_seconds,
    drain_limit_seconds: Annotated[
        float, typer.Option(envvar="ROADSTEAD_DRAIN_LIMIT_SECONDS", min=0, help="How long requests under way may last after SIGTERM.")
    ] = DEFAULTS.drain_limit_seconds,
    minute_seconds: Annotated[
        float, typer.Option(envvar="ROADSTEAD_MINUTE_SECONDS", hidden=True, min=0.1, help="For tests: what the counts take for a minute.")
    ] = DEFAULTS.minute_seconds,
) -> None:
    """Run the gateway's process beside an Envoy (roadstead gateway-bootstrap) until it is told to stop."""
    settings = GatewaySettings(
        kubeconfig=kubeconfig,
        context=context,
        namespace=namespace,
        identity=identity,
        log_format=str(log_format),
        log_level=log_level.upper(),
        health_port=health_port,
        metrics_port=metrics_port,
        control_port=control_port,
        peer_port=peer_port,
        authoriser_port=authoriser_port,
        peer_authoriser_port=peer_authoriser_port,
        scaler_port=scaler_port,
        admin_port=admin_port,
        certificates=certificates,
        peers=tuple(peers or ()),
        peer_service=peer_service,
        state=state,
        audience=audience,
        verdict_seconds=verdict_seconds,
        refusal_seconds=refusal_seconds,
        drain_seconds=drain_seconds,
        drain_limit_seconds=drain_limit_seconds,
        minute_seconds=minute_seconds,
    )
    # grpc and Envoy's messages cost most of a second, and only this command needs them.
    from roadstead.gateway.server import run  # noqa: PLC0415

    run_process(run, settings)
