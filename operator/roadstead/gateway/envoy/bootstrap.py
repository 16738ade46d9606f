"""Envoy's static configuration: the listener, and the way to the processes that tell it the rest."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from roadstead.gateway.envoy.listener import listener
from roadstead.gateway.envoy.resources import HTTP_OPTIONS, KEPT_ALIVE, LIMITS
from roadstead.gateway.envoy.settings import TYPE, EnvoySettings, address
from roadstead.latencies import BOUNDS

HEAP_SHARE: Final = 0.8
"""Of the container's memory. The rest is for what isn't in Envoy's heap (its program, stacks, what Lua keeps: some 50 MiB), and for what
comes between two looks at it."""
TRACKED_POWER: Final = 18
"""Requests that keep 2 to the power of it, 256 KiB, in buffers can be reset for want of memory."""
WATCHDOG: Final = {"miss_timeout": "2s", "megamiss_timeout": "10s"}
"""A thread shows twice in such a time that it lives. By default it does ten times a second, which is most of what an idle Envoy does."""
PEER: Final = {"envoy.transport_socket_match": {"peer": True}}


def bootstrap(settings: EnvoySettings) -> dict[str, Any]:
    """The configuration, to be written as JSON. Envoy refuses what it doesn't know."""
    return {
        "node": {"id": settings.node, "cluster": "roadstead-gateway"},
        "admin": {"address": address("127.0.0.1", settings.admin_port)},
        "dynamic_resources": {"ads_config": _grpc("DELTA_GRPC"), "cds_config": {"ads": {}, "resource_api_version": "V3"}},
        "cluster_manager": {"load_stats_config": _grpc("GRPC")},
        "static_resources": {
            "listeners": [listener(settings)],
            "clusters": [
                _cluster("control", settings, settings.control_port, settings.peer_port, 0, http2=True),
                _cluster("authoriser", settings, settings.authoriser_port, settings.peer_authoriser_port, 1, http2=False),
            ],
        },
        "stats_config": {
            "stats_matcher": {"inclusion_list": {"patterns": list(_statistics())}},
            "histogram_bucket_settings": [{"match": {"prefix": "cluster."}, "buckets": list(BOUNDS)}],
        },
        # Envoy itself would skip what a chunk holds beyond its size; somebody in front of it might not.
        "layered_runtime": {"layers": [{"name": "ours", "static_layer": {"envoy.reloadable_features.strict_chunk_parsing": True}}]},
        "overload_manager": _overload(settings),
        "watchdogs": {"main_thread_watchdog": WATCHDOG, "worker_watchdog": WATCHDOG},
    }


def _overload(settings: EnvoySettings) -> dict[str, Any]:
    """What is done when connections or memory run out: something is refused before the kernel ends everything.

    Thresholds are those of Envoy's documentation. Requests that keep most are reset first, so that a few large uploads that wait for a
    pod don't shut out all others.
    """
    connections = _monitor(
        "global_downstream_max_connections",
        "downstream_connections.v3.DownstreamConnectionsConfig",
        max_active_downstream_connections=settings.max_connections,
    )
    if settings.memory_bytes is None:
        return {"resource_monitors": [connections]}
    heap = _monitor("fixed_heap", "fixed_heap.v3.FixedHeapConfig", max_heap_size_bytes=int(settings.memory_bytes * HEAP_SHARE))

    def action(name: str, **trigger: Any) -> dict[str, Any]:
        return {"name": f"envoy.overload_actions.{name}", "triggers": [{"name": heap["name"], **trigger}]}

    return {
        "refresh_interval": "0.1s",
        "resource_monitors": [connections, heap],
        "buffer_factory_config": {"minimum_account_to_track_power_of_two": TRACKED_POWER},
        "actions": [
            action("shrink_heap", threshold={"value": 0.9}),
            action("reset_high_memory_stream", scaled={"scaling_threshold": 0.9, "saturation_threshold": 0.98}),
            action("disable_http_keepalive", threshold={"value": 0.92}),
            action("stop_accepting_requests", threshold={"value": 0.95}),
        ],
    }


def _monitor(name: str, kind: str, **config: int) -> dict[str, Any]:
    typed = {"@type": f"{TYPE}envoy.extensions.resource_monitors.{kind}", **config}
    return {"name": f"envoy.resource_monitors.{name}", "typed_config": typed}


def _cluster(name: str, settings: EnvoySettings, port: int, peer_port: int, which: int, *, http2: bool) -> dict[str, Any]:
    """The process beside us; and the replicas' processes, for when it is away."""
    endpoints = [_endpoint("127.0.0.1", port)]
    groups = [{"priority": 0, "lb_endpoints": endpoints}]
    found: dict[str, Any] = {
        "name": name,
        "type": "STRICT_DNS",
        "dns_lookup_family": "ALL",
        "connect_timeout": "1s",
        "circuit_breakers": LIMITS,
        "upstream_connection_options": KEPT_ALIVE,
        # A process that is gone refuses at once, a sibling that hangs leaves TLS unanswered; one beside us that hangs, the kubelet finds.
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
    else:
        options = {**_explicit({"http_protocol_options": {}}), "http_filters": _signed(settings.node)}
        found["typed_extension_protocol_options"] = {HTTP_OPTIONS: options}
    if settings.certificates is not None:
        addresses = [(settings.peer_host, peer_port)] if settings.peer_host else _peers(settings, which)
        if addresses:
            groups.append({"priority": 1, "lb_endpoints": [_endpoint(host, number, PEER) for host, number in addresses]})
        found["transport_socket_matches"] = [
            {
                "name": "peer",
                "match": {"peer": True},
                "transport_socket": _tls(settings.certificates, settings.peer_host, ["h2"] if http2 else []),
            },
            {"name": "beside", "match": {}, "transport_socket": _plaintext()},
        ]
    return {**found, "load_assignment": {"cluster_name": name, "endpoints": groups}}


def _peers(settings: EnvoySettings, which: int) -> list[tuple[str, int]]:
    return [(host, ports[which]) for host, *ports in settings.peers]


def _tls(folder: Path, name: str, alpn: list[str]) -> dict[str, Any]:
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
                    # Whoever has a certificate for the replicas' name is one of them, by whatever address it is found.
                    "match_typed_subject_alt_names": [{"san_type": "DNS", "matcher": {"exact": name} if name else {"contains": "gateway"}}],
                },
            },
        },
    }


def _statistics() -> Iterable[dict[str, Any]]:
    """What Envoy counts: all of the listener and of itself; of each endpoint no more than is read. 64 KiB a cluster become 36."""
    parts = ("http.gateway.", "server.", "listener.", "cluster_manager.", "control_plane.", "overload.")
    yield from ({"prefix": prefix} for prefix in parts)
    yield from ({"prefix": f"cluster.{name}."} for name in ("control", "authoriser"))
    # Protocols by name: Envoy counts everything once more as "….external.…"
    yield {"safe_regex": {"regex": r"cluster\.[wd]-[0-9a-f]+(\.(h2c|https))?\.(upstream_rq_[245]xx|upstream_rq_time|upstream_rq_active)"}}


def _grpc(api_type: str) -> dict[str, Any]:
    # By itself Envoy would wait for up to 30 s before it asks again for its configuration.
    again = {"retry_back_off": {"base_interval": "0.1s", "max_interval": "1s"}}
    return {
        "api_type": api_type,
        "transport_api_version": "V3",
        "grpc_services": [{"envoy_grpc": {"cluster_name": "control", "retry_policy": again}}],
    }


def _endpoint(host: str, port: int, metadata: dict[str, Any] | None = None) -> dict[str, Any]:
    endpoint: dict[str, Any] = {"endpoint": {"address": address(host, port)}}
    return {**endpoint, "metadata": {"filter_metadata": metadata}} if metadata else endpoint


def _explicit(version: dict[str, Any]) -> dict[str, Any]:
    return {"@type": f"{TYPE}{HTTP_OPTIONS}", "explicit_http_config": version}


def _signed(node: str) -> list[dict[str, Any]]:
    """Filters of what is asked: the script can't know whose Envoy asks."""
    name = {"header": {"key": "x-roadstead-node", "value": node}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
    kind = "envoy.extensions.filters.http"
    return [
        {
            "name": "envoy.filters.http.header_mutation",
            "typed_config": {
                "@type": f"{TYPE}{kind}.header_mutation.v3.HeaderMutation",
                "mutations": {"request_mutations": [{"append": name}]},
            },
        },
        {"name": "envoy.filters.http.upstream_codec", "typed_config": {"@type": f"{TYPE}{kind}.upstream_codec.v3.UpstreamCodec"}},
    ]


def _plaintext() -> dict[str, Any]:
    config = {"@type": f"{TYPE}envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"}
    return {"name": "envoy.transport_sockets.raw_buffer", "typed_config": config}
