"""What of Envoy's configuration may be chosen, and what its parts are written with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

TYPE: Final = "type.googleapis.com/"
KEEPALIVE_SECONDS: Final = 60
KEEPALIVE_INTERVAL_SECONDS: Final = 10
KEEPALIVE_PROBES: Final = 3
"""On a connection on which nothing moves the kernel asks whether the other side is there: a request may be silent for hours, which load
balancers and tables of connections on the way would forget after minutes (Azure's: four); and one whose node is gone would stay for ever.
"""


@dataclass(frozen=True, slots=True)
class EnvoySettings:
    """What of it may be chosen. Ports are those of GatewaySettings."""

    node: str = "gateway"
    """Name of this Envoy: the pod's."""
    host: str = "0.0.0.0"  # noqa: S104 - a pod listens on all of its addresses
    port: int = 8000
    admin_port: int = 9901
    control_port: int = 18000
    peer_port: int = 18001
    authoriser_port: int = 18002
    peer_authoriser_port: int = 18003
    peer_host: str = ""
    """DNS name of the replicas; empty: those of ``peers``."""
    peers: tuple[tuple[str, int, int], ...] = ()
    """Other replicas: host, peer port, authoriser port."""
    certificates: Path | None = None
    """Folder of tls.crt, tls.key and ca.crt; None: no replicas."""
    trusted_hops: int = 0
    """Proxies in front whose X-Forwarded-For is believed."""
    max_connections: int = 20_000
    """Of clients, all together: Envoy knows no limit for one address."""
    memory_bytes: int | None = None
    """What Envoy's container may use; None: no limit is known, and nothing is refused for want of memory."""
    max_header_kib: int = 60
    headers_seconds: float = 10.0
    """Time for the head of a request to arrive."""
    idle_connection_seconds: int = 620
    """Longer than load balancers in front keep theirs (Google's: 600 s), for the same reason as in resources.IDLE_CONNECTION_SECONDS."""


def address(host: str, port: int) -> dict[str, Any]:
    """A socket's address, as Envoy writes it."""
    return {"socket_address": {"address": host, "port_value": port}}
