"""``roadstead gateway-bootstrap``: Envoy's first configuration, of which the rest comes from ``roadstead gateway``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import orjson
import typer

from roadstead.cli.failure import fail
from roadstead.cli.process_options import Certificates, OwnNamespace, PeerService
from roadstead.settings import GatewaySettings

DEFAULTS = GatewaySettings()


def gateway_bootstrap(
    *,
    out: Annotated[Path, typer.Option(help="The file to write; Envoy is started with -c FILE.")],
    namespace: OwnNamespace = DEFAULTS.namespace,
    identity: Annotated[str, typer.Option(envvar="ROADSTEAD_IDENTITY", help="Name of this replica: the pod's.")] = "gateway",
    peer_service: PeerService = DEFAULTS.peer_service,
    certificates: Certificates = DEFAULTS.certificates,
    trusted_hops: Annotated[
        int, typer.Option(envvar="ROADSTEAD_TRUSTED_HOPS", min=0, help="Proxies in front whose X-Forwarded-For is believed.")
    ] = 0,
    max_connections: Annotated[
        int, typer.Option(envvar="ROADSTEAD_MAX_CONNECTIONS", min=1, help="Connections of clients that are taken, all together.")
    ] = 20_000,
    memory: Annotated[
        str | None, typer.Option(envvar="ROADSTEAD_ENVOY_MEMORY", help="What Envoy may use, for example 1Gi; absent: no limit.")
    ] = None,
) -> None:
    """Write Envoy's configuration as JSON."""
    from roadstead.desired.quantities import in_bytes  # noqa: PLC0415 - pydantic costs too
    from roadstead.gateway.envoy.bootstrap import bootstrap  # noqa: PLC0415 - Envoy's messages cost half a second
    from roadstead.gateway.envoy.settings import EnvoySettings  # noqa: PLC0415 - Envoy's messages cost half a second

    host = f"{peer_service}.{namespace}.svc" if peer_service else ""
    try:
        memory_bytes = None if memory is None else in_bytes(memory)
    except ValueError as error:
        fail(f"--memory: {error}")
    settings = EnvoySettings(
        node=identity,
        peer_host=host,
        certificates=certificates,
        trusted_hops=trusted_hops,
        max_connections=max_connections,
        memory_bytes=memory_bytes,
    )
    out.write_bytes(orjson.dumps(bootstrap(settings), option=orjson.OPT_INDENT_2))
