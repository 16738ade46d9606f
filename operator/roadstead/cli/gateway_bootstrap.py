"""``roadstead gateway-bootstrap``: Envoy's first configuration, of which the rest comes from ``roadstead gateway``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import orjson
import typer

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
) -> None:
    """Write Envoy's configuration as JSON."""
    from roadstead.gateway.envoy.bootstrap import bootstrap  # noqa: PLC0415 - Envoy's messages cost half a second
    from roadstead.gateway.envoy.settings import EnvoySettings  # noqa: PLC0415 - Envoy's messages cost half a second

    host = f"{peer_service}.{namespace}.svc" if peer_service else ""
    settings = EnvoySettings(node=identity, peer_host=host, certificates=certificates, trusted_hops=trusted_hops)
    out.write_bytes(orjson.dumps(bootstrap(settings), option=orjson.OPT_INDENT_2))
