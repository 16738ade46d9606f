"""Settings of the processes: one frozen object each, filled from flags and ``ROADSTEAD_*`` variables by the command line.

What several are told has one name, one default and one meaning.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessSettings:
    """What every process is told: how to reach the cluster, how to log, and where to tell of itself."""

    kubeconfig: Path | None = None
    """File to reach the cluster by; None: the pod's service account, else the user's own kubeconfig."""
    context: str | None = None
    """Context of that file; None: its current one."""
    namespace: str = "roadstead-system"
    """Where Roadstead is installed: the leader's Lease and the gateway's replicas are found there."""
    log_format: str = "text"
    """``text`` for people, ``json`` for machines."""
    log_level: str = "INFO"
    health_port: int = 8081
    """``/livez`` and ``/readyz``; 0 switches the listener off."""
    metrics_port: int = 8080
    """``/metrics``; 0 switches the listener off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingSettings(ProcessSettings):
    """What the REST API and the gateway are told, which answer callers and talk to each other."""

    audience: str = "roadstead"
    """Tokens for this audience may read and invoke, beside those for the API server's own."""
    verdict_seconds: float = 10.0
    """How long a positive answer of TokenReview or SubjectAccessReview is kept."""
    refusal_seconds: float = 1.0
    """How long a negative one is kept: short, so that a new right works at once."""
    certificates: Path | None = None
    """Folder of tls.crt, tls.key and ca.crt that gateway and API know each other by; it may be filled later.

    None: the API's statistics are null; a gateway has no peers, and a scaler without TLS.
    """
    drain_seconds: float = 5.0
    """After SIGTERM: how long requests are still taken, until no load balancer sends any."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(ProcessSettings):
    """Settings of ``roadstead operator``."""

    identity: str = ""
    """Name of this replica in the Lease; empty: host name and process id."""
    gateway_service: str = "roadstead-gateway"
    """The gateway's Service, in the same namespace: while it has no ready pod, nothing at zero would wake."""
    workers: int = 16
    """Reconciles under way at once. They wait for the API server most of the time."""
    lease_seconds: float = 15.0
    """A leader that has not renewed for so long is replaced."""
    renew_deadline_seconds: float = 10.0
    """A leader gives up when it could not renew for so long."""
    retry_seconds: float = 2.0
    """Pause between attempts to take or renew the Lease."""
    sweep_seconds: float = 600.0
    """Pause between sweeps for deletions that kopf's watches missed."""
    resync_seconds: float = 36_000.0
    """Pause between looks at every object, changed or not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiSettings(ServingSettings):
    """Settings of ``roadstead api``."""

    default_namespace: str = "default"
    """Where objects go whose request names no namespace and whose caller is no service account."""
    host: str = "0.0.0.0"  # noqa: S104 - a pod listens on all of its addresses
    """Address that the API listens on."""
    port: int = 8000
    """Port that the API listens on."""
    requests_per_second: float = 50.0
    """What one caller may ask for, in the long run, of one replica; 0: no limit."""
    burst: int = 200
    """What one caller may ask for at once."""
    max_body_bytes: int = 1_048_576
    """Largest body of a request; what the cluster stores may have 1.5 MB."""
    request_seconds: float = 25.0
    """Time for headers and body of a request to arrive, and for its answer; clients give up after 30."""
    trusted_proxies: tuple[str, ...] = ()
    """Addresses or networks whose X-Forwarded-Proto, -Host and -Prefix are believed."""
    gateway: str = ""
    """The gateway's processes, asked for statistics: host:port, all of that name's addresses; empty: statistics are null."""
    prometheus: str = ""
    """URL of a Prometheus that scrapes the gateway, for statistics that the gateway itself doesn't know (any more); empty: none."""
    prometheus_token_file: Path | None = None
    """File of the bearer token to show it; it may be filled later, or anew."""
    prometheus_ca_file: Path | None = None
    """File of the certificates that its own must be signed by; None: those that this machine trusts."""
    prometheus_labels: tuple[tuple[str, str], ...] = ()
    """Labels that our series have there besides their own, where it knows of several clusters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewaySettings(ServingSettings):
    """Settings of ``roadstead gateway``, the process beside Envoy."""

    identity: str = ""
    """Name of this process among its peers, and of its Envoy's node; empty: host name and process id."""
    control_port: int = 18000
    """xDS and load reports for the Envoy beside us, on loopback."""
    peer_port: int = 18001
    """The same for the Envoys of other replicas, and what replicas tell each other: mutual TLS, on all addresses."""
    authoriser_port: int = 18002
    """Questions for permission by the Envoy beside us, on loopback."""
    peer_authoriser_port: int = 18003
    """The same for the Envoys of other replicas: mutual TLS, on all addresses."""
    scaler_port: int = 9090
    """KEDA's external scaler, on all addresses; with TLS where there are certificates."""
    admin_port: int = 9901
    """Envoy's administration, on loopback: figures, and draining at the end."""
    peers: tuple[str, ...] = ()
    """Addresses of the other replicas, host:port; none: those of the Service ``peer_service``."""
    peer_service: str = "roadstead-gateway-peers"
    """Headless Service whose endpoints are the replicas; empty: none but those of ``peers``."""
    state: Path | None = None
    """Folder where counts outlive a restart of the container; None: they don't."""
    drain_limit_seconds: float = 3570.0
    """After SIGTERM: how long requests under way may last."""
    minute_seconds: float = 60.0
    """What the counts take for a minute: less lets a test see an hour pass. Replicas that don't agree don't understand each other."""
