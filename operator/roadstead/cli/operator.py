"""``roadstead operator``: the operator as a process."""

from __future__ import annotations

from typing import Annotated

import typer

from roadstead.cli.flags import Context, Kubeconfig
from roadstead.cli.process_options import (
    LOG_FORMAT,
    LOG_LEVEL,
    HealthPort,
    Identity,
    LogFormatOption,
    LogLevelOption,
    MetricsPort,
    OwnNamespace,
    run_process,
)
from roadstead.settings import Settings

DEFAULTS = Settings()


def operator(
    *,
    kubeconfig: Kubeconfig = DEFAULTS.kubeconfig,
    context: Context = DEFAULTS.context,
    namespace: OwnNamespace = DEFAULTS.namespace,
    identity: Identity = DEFAULTS.identity,
    gateway_service: Annotated[
        str, typer.Option(envvar="ROADSTEAD_GATEWAY_SERVICE", help="The gateway's Service, without which nothing wakes from zero.")
    ] = DEFAULTS.gateway_service,
    log_format: LogFormatOption = LOG_FORMAT,
    log_level: LogLevelOption = LOG_LEVEL,
    workers: Annotated[
        int, typer.Option(envvar="ROADSTEAD_WORKERS", min=1, max=64, help="Reconciles under way at once.")
    ] = DEFAULTS.workers,
    health_port: HealthPort = DEFAULTS.health_port,
    metrics_port: MetricsPort = DEFAULTS.metrics_port,
    lease_seconds: Annotated[
        float, typer.Option(envvar="ROADSTEAD_LEASE_SECONDS", min=0.1, help="A leader that hasn't renewed for so long is replaced.")
    ] = DEFAULTS.lease_seconds,
    renew_deadline_seconds: Annotated[
        float, typer.Option(envvar="ROADSTEAD_RENEW_DEADLINE_SECONDS", min=0.1, help="A leader that can't renew for so long gives up.")
    ] = DEFAULTS.renew_deadline_seconds,
    retry_seconds: Annotated[
        float, typer.Option(envvar="ROADSTEAD_RETRY_SECONDS", min=0.05, help="Pause between attempts to take or renew the Lease.")
    ] = DEFAULTS.retry_seconds,
    sweep_seconds: Annotated[
        float, typer.Option(envvar="ROADSTEAD_SWEEP_SECONDS", min=1, help="Pause between sweeps for deletions missed by watches.")
    ] = DEFAULTS.sweep_seconds,
    resync_seconds: Annotated[
        float, typer.Option(envvar="ROADSTEAD_RESYNC_SECONDS", min=1, help="Pause between looks at every object, changed or not.")
    ] = DEFAULTS.resync_seconds,
) -> None:
    """Run the operator until it is told to stop. Several replicas share the work of one: the holder of the Lease acts."""
    if not retry_seconds < renew_deadline_seconds < lease_seconds:
        raise typer.BadParameter("--retry-seconds must be less than --renew-deadline-seconds, and that less than --lease-seconds")
    settings = Settings(
        kubeconfig=kubeconfig,
        context=context,
        namespace=namespace,
        identity=identity,
        gateway_service=gateway_service,
        log_format=str(log_format),
        log_level=log_level.upper(),
        workers=workers,
        health_port=health_port,
        metrics_port=metrics_port,
        lease_seconds=lease_seconds,
        renew_deadline_seconds=renew_deadline_seconds,
        retry_seconds=retry_seconds,
        sweep_seconds=sweep_seconds,
        resync_seconds=resync_seconds,
    )
    # kopf and aiohttp cost half a second, and only this command needs them.
    from roadstead.operator.main import run  # noqa: PLC0415

    run_process(run, settings)
