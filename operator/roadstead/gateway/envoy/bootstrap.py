"""Envoy's static configuration: the listener, and the way to the processes that tell it the rest.

Everything that keeps hostile or clumsy clients from harm is here: limits of headers, of time and of connections, and the removal of the
headers by which the parts of the gateway speak to each other.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Final

from roadstead.gateway.envoy.resources import ANSWERS, HTTP_OPTIONS, LIMITS, ROUTE
from roadstead.gateway.ledger.history import LATENCY_BOUNDS

TYPE: Final = "type.googleapis.com/"
MIB: Final = 1_048_576
HELD_SECONDS: Final = 86_400
"""How long the authoriser may think: the limits of waiting are its own."""
OURS: Final = r"x[-_](roadstead|envoy)[-_].*|x[-_]forwarded[-_]prefix"
"""Headers that nobody outside may set, which a client's are taken away: the gateway's parts speak to each other by them, and to containers.

With underscores too, whatever it is that they stand for: WSGI and CGI take both for the same, and other headers with underscores pass.
"""
PEER: Final = {"envoy.transport_socket_match": {"peer": True}}


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
    answerer_port: int = 18004
    peer_host: str = ""
    """DNS name of the replicas; empty: those of ``peers``."""
    peers: tuple[tuple[str, int, int], ...] = ()
    """Other replicas: host, peer port, authoriser port."""
    certificates: Path | None = None
    """Folder of tls.crt, tls.key and ca.crt; None: no replicas."""
    trusted_hops: int = 0
    """Proxies in front whose X-Forwarded-For is believed."""
    max_connections: int = 20_000
    max_header_kib: int = 60
    headers_seconds: float = 10.0
    """Time for the head of a request to arrive."""
    idle_connection_seconds: int = 620
    """Longer than load balancers in front keep theirs (Google's: 600 s), for the same reason as in resources.IDLE_CONNECTION_SECONDS."""


def bootstrap(settings: EnvoySettings) -> dict[str, Any]:
    """The configuration, to be written as JSON. Envoy refuses what it doesn't know."""
    return {
        "node": {"id": settings.node, "cluster": "roadstead-gateway"},
        "admin": {"address": _address("127.0.0.1", settings.admin_port)},
        "dynamic_resources": {"ads_config": _grpc("DELTA_GRPC"), "cds_config": {"ads": {}, "resource_api_version": "V3"}},
        "cluster_manager": {"load_stats_config": _grpc("GRPC")},
        "static_resources": {
            "listeners": [_listener(settings)],
            "clusters": [
                _cluster("control", settings, settings.control_port, settings.peer_port, 0, http2=True),
                _cluster("authoriser", settings, settings.authoriser_port, settings.peer_authoriser_port, 1, http2=False),
                {**_plain(ANSWERS), "load_assignment": _assignment(ANSWERS, [_endpoint("127.0.0.1", settings.answerer_port)])},
            ],
        },
        "stats_config": {
            "stats_matcher": {"inclusion_list": {"patterns": list(_statistics())}},
            "histogram_bucket_settings": [{"match": {"prefix": "cluster."}, "buckets": list(LATENCY_BOUNDS)}],
        },
        # Envoy itself would skip what a chunk holds beyond its size; somebody in front of it might not.
        "layered_runtime": {"layers": [{"name": "ours", "static_layer": {"envoy.reloadable_features.strict_chunk_parsing": True}}]},
        "overload_manager": {
            "resource_monitors": [
                {
                    "name": "envoy.resource_monitors.global_downstream_max_connections",
                    "typed_config": {
                        "@type": f"{TYPE}envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
                        "max_active_downstream_connections": settings.max_connections,
                    },
                }
            ]
        },
    }


def _listener(settings: EnvoySettings) -> dict[str, Any]:
    manager = {
        "@type": f"{TYPE}envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "gateway",
        "codec_type": "AUTO",
        "use_remote_address": True,
        "xff_num_trusted_hops": settings.trusted_hops,
        # What the authoriser judges is what the container gets: dots are resolved before, escaped slashes are left alone by both.
        "normalize_path": True,
        "path_with_escaped_slashes_action": "KEEP_UNCHANGED",
        "server_header_transformation": "PASS_THROUGH",
        "request_timeout": "0s",
        "stream_idle_timeout": f"{HELD_SECONDS}s",  # the route's own, once there is one, is the administrator's
        "request_headers_timeout": f"{settings.headers_seconds:g}s",
        "max_request_headers_kb": settings.max_header_kib,
        "delayed_close_timeout": "1s",
        "common_http_protocol_options": {
            "idle_timeout": f"{settings.idle_connection_seconds}s",
            "max_headers_count": 100,
            "headers_with_underscores_action": "ALLOW",
        },
        # nginx speaks 1.0 to what is behind it if nobody tells it otherwise.
        "http_protocol_options": {"accept_http_10": True, "default_host_for_http_10": "roadstead"},
        "http2_protocol_options": {
            "max_concurrent_streams": 1000,
            "initial_stream_window_size": MIB,
            "initial_connection_window_size": 4 * MIB,
            "connection_keepalive": {"interval": "60s", "timeout": "20s"},
        },
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "early_header_mutation_extensions": [
            {
                "name": "envoy.http.early_header_mutation.header_mutation",
                "typed_config": {
                    "@type": f"{TYPE}envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation",
                    "mutations": [{"remove_on_match": {"key_matcher": {"safe_regex": {"regex": OURS}}}}],
                },
            }
        ],
        "local_reply_config": _own_words(),
        "rds": {"route_config_name": ROUTE, "config_source": {"ads": {}, "resource_api_version": "V3"}},
        "http_filters": [_verdicts(), _authorization(), _filter("router", "router.v3.Router")],
    }
    return {
        "name": "gateway",
        "address": _address(settings.host, settings.port),
        "per_connection_buffer_limit_bytes": MIB,
        "filter_chains": [{"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}],
    }


def _own_words() -> dict[str, Any]:
    """What Envoy says itself gets the form of all other errors, and words where it has none.

    The authoriser's refusals have that form, and would get it twice; those of 5xx are Envoy's own, for an authoriser that is away.
    """

    def status(operator: str, code: int) -> dict[str, Any]:
        return {"status_code_filter": {"comparison": {"op": operator, "value": {"default_value": code, "runtime_key": "roadstead.none"}}}}

    def flags(*names: str) -> dict[str, Any]:
        return {"response_flag_filter": {"flags": names}}

    def words(which: dict[str, Any], said: str, *headers: tuple[str, str]) -> dict[str, Any]:
        added = [{"header": {"key": key, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"} for key, value in headers]
        return {"filter": which, "body": {"inline_string": said}, "headers_to_add": added}

    refused = {"and_filter": {"filters": [flags("UAEX"), status("LE", 499)]}}
    as_it_is = {"text_format_source": {"inline_string": "%LOCAL_REPLY_BODY%"}, "content_type": "application/json"}
    soon = ("retry-after", "1")
    return {
        "mappers": [
            {"filter": refused, "body_format_override": as_it_is},
            words(flags("UAEX"), "permission can't be asked for at the moment; try again", soon),
            # No cluster, no pod, none that can be connected to: as the answerer says it.
            words(flags("NC", "UH", "UF"), "the service can't be reached at the moment; try again", soon),
            words(status("EQ", 404), "there is nothing to call here"),
            words(flags("UC"), "the service has closed the connection without an answer"),
            words(flags("SI"), "nothing has moved for too long (the gateway's idle timeout)"),
            words(status("EQ", 403), "there is nothing here that such a connection could be upgraded to"),
            words(status("EQ", 400), "this is not a valid HTTP request"),
            words(status("EQ", 408), "the head of the request has not arrived in time"),
            words(status("EQ", 431), "the head of the request is too large"),
        ],
        "body_format": {"json_format": {"detail": "%LOCAL_REPLY_BODY%"}, "content_type": "application/json"},
    }


def _verdicts() -> dict[str, Any]:
    source = resources.files("roadstead.gateway.envoy").joinpath("verdicts.lua").read_text()
    return _filter("lua", "lua.v3.Lua", default_source_code={"inline_string": source})


def _authorization() -> dict[str, Any]:
    answer = ("x-roadstead-cluster", "x-roadstead-answer", "x-roadstead-user")
    kept = ("x-roadstead-cluster", "x-roadstead-user", "x-roadstead-verdict-seconds")
    return _filter(
        "ext_authz",
        "ext_authz.v3.ExtAuthz",
        transport_api_version="V3",
        stat_prefix="gateway",
        clear_route_cache=True,
        failure_mode_allow=False,
        status_on_error={"code": "ServiceUnavailable"},
        allowed_headers={"patterns": [{"exact": "authorization", "ignore_case": True}]},
        http_service={
            "server_uri": {"uri": "http://authoriser", "cluster": "authoriser", "timeout": f"{HELD_SECONDS}s"},
            # The process beside us may be starting anew: then a sibling is asked.
            "retry_policy": {
                "retry_on": "connect-failure,reset,refused-stream",
                "num_retries": 6,
                "retry_back_off": {"base_interval": "0.01s", "max_interval": "0.25s"},
                "retry_priority": {
                    "name": "envoy.retry_priorities.previous_priorities",
                    "typed_config": {
                        "@type": f"{TYPE}envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig",
                        "update_frequency": 1,
                    },
                },
            },
            "authorization_request": {
                "headers_to_add": [
                    {"key": "x-roadstead-client", "value": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"},
                    # Envoy gives every such retry policy 10 s a try, and no field to change it: held requests would be asked about anew.
                    {"key": "x-envoy-upstream-rq-per-try-timeout-ms", "value": "0"},
                ]
            },
            "authorization_response": {
                "allowed_upstream_headers": _names(answer),
                "allowed_client_headers": _names(("retry-after", "content-type", "www-authenticate")),
                "allowed_client_headers_on_success": _names(("x-roadstead-cold-start",)),
                "dynamic_metadata_from_headers": _names(kept),
            },
        },
    )


def _cluster(name: str, settings: EnvoySettings, port: int, peer_port: int, which: int, *, http2: bool) -> dict[str, Any]:
    """The process beside us; and the replicas' processes, for when it is away."""
    endpoints = [_endpoint("127.0.0.1", port)]
    groups = [{"priority": 0, "lb_endpoints": endpoints}]
    found: dict[str, Any] = {
        **_plain(name),
        "type": "STRICT_DNS",
        "dns_lookup_family": "ALL",
        "connect_timeout": "1s",
        # A process that is gone refuses at once; one that hangs is found out.
        "health_checks": [
            {
                "timeout": "2s",
                "interval": "1s",
                "no_traffic_interval": "1s",
                "unhealthy_interval": "0.25s",
                "unhealthy_threshold": 1,
                "healthy_threshold": 1,
                "tcp_health_check": {},
            }
        ],
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
    }
    if http2:
        version = {"http2_protocol_options": {"connection_keepalive": {"interval": "5s", "timeout": "3s"}}}
        found["typed_extension_protocol_options"] = {HTTP_OPTIONS: _explicit(version)}
    if settings.certificates is not None:
        addresses = [(settings.peer_host, peer_port)] if settings.peer_host else _peers(settings, which)
        if addresses:
            groups.append({"priority": 1, "lb_endpoints": [_endpoint(host, number, PEER) for host, number in addresses]})
        found["transport_socket_matches"] = [
            {"name": "peer", "match": {"peer": True}, "transport_socket": _tls(settings.certificates, ["h2"] if http2 else [])},
            {"name": "beside", "match": {}, "transport_socket": _plaintext()},
        ]
    return {**found, "load_assignment": {"cluster_name": name, "endpoints": groups}}


def _peers(settings: EnvoySettings, which: int) -> list[tuple[str, int]]:
    return [(host, ports[which]) for host, *ports in settings.peers]


def _tls(folder: Path, alpn: list[str]) -> dict[str, Any]:
    """Mutual TLS with what the folder holds now: Envoy watches it."""
    files = {"certificate_chain": {"filename": str(folder / "tls.crt")}, "private_key": {"filename": str(folder / "tls.key")}}
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": f"{TYPE}envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
            "sni": "roadstead-gateway",
            "common_tls_context": {
                "alpn_protocols": alpn,
                "tls_certificates": [{**files, "watched_directory": {"path": str(folder)}}],
                "validation_context": {
                    "trusted_ca": {"filename": str(folder / "ca.crt")},
                    "watched_directory": {"path": str(folder)},
                    # Whoever has a certificate of this authority is a replica of ours; they are found by address, not by name.
                    "match_typed_subject_alt_names": [{"san_type": "DNS", "matcher": {"contains": "gateway"}}],
                },
            },
        },
    }


def _statistics() -> Iterable[dict[str, Any]]:
    """What Envoy counts: all of the listener and of itself; of each endpoint no more than is read. 64 KiB a cluster become 36."""
    yield from ({"prefix": prefix} for prefix in ("http.gateway.", "server.", "listener.", "cluster_manager.", "control_plane."))
    yield from ({"prefix": f"cluster.{name}."} for name in ("control", "authoriser", ANSWERS))
    # Protocols by name: Envoy counts everything once more as "….external.…"
    yield {"safe_regex": {"regex": r"cluster\.[wd]-[0-9a-f]+(\.(h2c|https))?\.(upstream_rq_[245]xx|upstream_rq_time|upstream_rq_active)"}}


def _grpc(api_type: str) -> dict[str, Any]:
    return {
        "api_type": api_type,
        "transport_api_version": "V3",
        "grpc_services": [{"envoy_grpc": {"cluster_name": "control"}}],
    }


def _plain(name: str) -> dict[str, Any]:
    return {"name": name, "type": "STATIC", "connect_timeout": "1s", "circuit_breakers": LIMITS}


def _assignment(name: str, endpoints: list[dict[str, Any]]) -> dict[str, Any]:
    return {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]}


def _endpoint(host: str, port: int, metadata: dict[str, Any] | None = None) -> dict[str, Any]:
    endpoint: dict[str, Any] = {"endpoint": {"address": _address(host, port)}}
    return {**endpoint, "metadata": {"filter_metadata": metadata}} if metadata else endpoint


def _address(host: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": host, "port_value": port}}


def _explicit(version: dict[str, Any]) -> dict[str, Any]:
    return {"@type": f"{TYPE}{HTTP_OPTIONS}", "explicit_http_config": version}


def _plaintext() -> dict[str, Any]:
    config = {"@type": f"{TYPE}envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"}
    return {"name": "envoy.transport_sockets.raw_buffer", "typed_config": config}


def _filter(name: str, kind: str, **config: Any) -> dict[str, Any]:
    return {"name": f"envoy.filters.http.{name}", "typed_config": {"@type": f"{TYPE}envoy.extensions.filters.http.{kind}", **config}}


def _names(names: Iterable[str]) -> dict[str, Any]:
    return {"patterns": [{"exact": name} for name in names]}
