"""What Envoy is told of each endpoint: a cluster, its pods, and the one route that leads to all of them.

There is one route, whatever the number of Workloads: the authoriser names the cluster in a header. A route for each would be searched from
top to bottom for every request, and sent again as a whole with every change.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.resources import files as package_files
from typing import Any, Final

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import health_check_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.route.v3 import route_pb2
from envoy.extensions.filters.http.lua.v3 import lua_pb2  # noqa: F401 - ParseDict needs to know its type
from envoy.extensions.retry.host.previous_hosts.v3 import previous_hosts_pb2  # noqa: F401 - the same
from envoy.extensions.transport_sockets.tls.v3 import tls_pb2  # noqa: F401 - the same
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2  # noqa: F401 - the same
from google.protobuf import json_format

from roadstead.api.container import Protocol
from roadstead.gateway.envoy.ads import CLUSTERS, ENDPOINTS, ROUTES, Store
from roadstead.gateway.envoy.settings import KEEPALIVE_INTERVAL_SECONDS, KEEPALIVE_PROBES, KEEPALIVE_SECONDS
from roadstead.gateway.views import Address

CLUSTER_HEADER: Final = "x-roadstead-cluster"
"""The authoriser's word on where a request goes."""
KNOWN_HEADER: Final = "x-roadstead-known"
"""The same from what Envoy remembers (permission.lua)."""
ROUTE: Final = "endpoints"
KINDS: Final = ("workloads", "deployments")
ID_LENGTH: Final = 24
UNLIMITED: Final = 1_000_000
"""Envoy's own limits of 1,024 requests and 3 retries per cluster would refuse what may pass."""
LIMITS: Final = {
    "thresholds": [
        {"max_connections": UNLIMITED, "max_pending_requests": UNLIMITED, "max_requests": UNLIMITED, "max_retries": UNLIMITED},
    ]
}
KEPT_ALIVE: Final = {
    "tcp_keepalive": {
        "keepalive_time": KEEPALIVE_SECONDS,
        "keepalive_interval": KEEPALIVE_INTERVAL_SECONDS,
        "keepalive_probes": KEEPALIVE_PROBES,
    }
}
RETRIES: Final = 3
"""So many further pods are tried after one that refuses a connection, before the caller is told that none can be reached."""
HTTP_OPTIONS: Final = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
IDLE_CONNECTION_SECONDS: Final = 1
"""Idle connections to pods are given up before servers do, lest a request meets one that is just being closed: it would be lost, since
nobody knows whether it has been read. gunicorn waits for 2 s, uvicorn and Node.js for 5. A new one costs a round trip, over TLS two."""


def cluster(name: str, protocol: Protocol) -> cluster_pb2.Cluster:
    """An endpoint: pods come by EDS, the least busy of two gets the next request."""
    config: dict[str, Any] = {
        "name": name,
        "type": "EDS",
        "eds_cluster_config": {"eds_config": {"ads": {}, "resource_api_version": "V3"}},
        "connect_timeout": "2s",
        "lb_policy": "LEAST_REQUEST",
        "ignore_health_on_host_removal": True,
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
        "circuit_breakers": LIMITS,
        "upstream_connection_options": KEPT_ALIVE,
        "typed_extension_protocol_options": {HTTP_OPTIONS: http_options(protocol)},
    }
    if protocol is Protocol.HTTPS:
        # What a pod shows is for its own name, which nobody here can check: encrypted, not authenticated (as Kubernetes' own proxy does).
        tls = {"@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"}
        config["transport_socket"] = {"name": "envoy.transport_sockets.tls", "typed_config": tls}
    return json_format.ParseDict(config, cluster_pb2.Cluster())


def http_options(protocol: Protocol) -> dict[str, Any]:
    """The version of HTTP that a container speaks; over TLS it is agreed upon."""
    match protocol:
        case Protocol.H2C:
            version: dict[str, Any] = {"explicit_http_config": {"http2_protocol_options": {}}}
        case Protocol.HTTPS:
            version = {"auto_config": {}}
        case _:
            version = {"explicit_http_config": {"http_protocol_options": {}}}
    return {
        "@type": f"type.googleapis.com/{HTTP_OPTIONS}",
        "common_http_protocol_options": {"idle_timeout": f"{IDLE_CONNECTION_SECONDS}s"},
        **version,
    }


def assignment(name: str, addresses: Iterable[Address], unready: Iterable[Address] = ()) -> endpoint_pb2.ClusterLoadAssignment:
    """Its pods. Where there is none, or none can be reached, Envoy says so itself (``_own_words`` of listener.py).

    The unready ones get no new requests. What they were sent before goes on, and stays in the load reports.
    """
    found = endpoint_pb2.ClusterLoadAssignment(cluster_name=name)
    locality = found.endpoints.add()
    locality.locality.zone = "pods"
    healthy = tuple(addresses)
    unhealthy = sorted({*unready}.difference(healthy))  # a pod may be in two slices for a moment, and Envoy takes the first word
    for status, pods in ((health_check_pb2.UNKNOWN, healthy), (health_check_pb2.DRAINING, unhealthy)):
        for host, port in pods:
            pod = locality.lb_endpoints.add(health_status=status)
            socket = pod.endpoint.address.socket_address
            socket.address, socket.port_value = host, port
    return found


def routes(idle_timeout_seconds: int, cold_start_limit_seconds: int) -> route_pb2.RouteConfiguration:
    """The way to every endpoint; what is none is answered here. Both limits are the administrator's.

    The script that decides between the routes comes with them: while replicas of two versions serve, an Envoy may get its routes from the
    other's process.
    """
    # A request may wait twice: should the process that holds it die, a sibling is asked anew.
    waiting = {"cluster_header": CLUSTER_HEADER, "idle_timeout": f"{2 * cold_start_limit_seconds + idle_timeout_seconds}s"}
    source = package_files("roadstead.gateway.envoy").joinpath("permission.lua").read_text()
    action = {
        "cluster_not_found_response_code": "SERVICE_UNAVAILABLE",
        "timeout": "0s",
        "idle_timeout": f"{idle_timeout_seconds}s",
        # Only what no pod has seen anything of is tried again, so that nothing is ever done twice.
        "retry_policy": {
            "retry_on": "connect-failure,refused-stream,reset-before-request",
            "num_retries": RETRIES,
            "retry_back_off": {"base_interval": "0.01s", "max_interval": "0.2s"},
            # Chance alone would send every other request for two pods, one of them dead, to the dead one again.
            "retry_host_predicate": [
                {
                    "name": "envoy.retry_host_predicates.previous_hosts",
                    "typed_config": {
                        "@type": "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate",
                    },
                }
            ],
            "host_selection_retry_max_attempts": 100,  # of two by chance, each attempt finds another pod one time in four
        },
    }
    config = {
        "name": ROUTE,
        "virtual_hosts": [
            {
                "name": "all",
                "domains": ["*"],
                "request_headers_to_remove": ["authorization"],
                "typed_per_filter_config": _script(source_code={"inline_string": source}),
                "routes": [
                    # What permission.lua lets through, whose path is the service's own already. Nobody outside can set the header.
                    {
                        "match": {"prefix": "/", "headers": [{"name": KNOWN_HEADER, "present_match": True}]},
                        "route": {**action, "cluster_header": KNOWN_HEADER},
                        "request_headers_to_remove": [KNOWN_HEADER],
                        "typed_per_filter_config": _script(disabled=True),
                    },
                    {
                        "match": {"path": "/healthz"},
                        "direct_response": {"status": 200, "body": {"inline_string": "ok"}},
                    },
                    *(_waiting(kind, waiting) for kind in KINDS),
                    *(_endpoint(kind, action) for kind in KINDS),
                    {
                        "match": {"prefix": "/"},
                        "direct_response": {"status": 404, "body": {"inline_string": "there is nothing to call here"}},
                    },
                ],
            }
        ],
    }
    return json_format.ParseDict(config, route_pb2.RouteConfiguration())


def _script(**config: Any) -> dict[str, Any]:
    return {"envoy.filters.http.lua": {"@type": "type.googleapis.com/envoy.extensions.filters.http.lua.v3.LuaPerRoute", **config}}


def _waiting(kind: str, action: dict[str, Any]) -> dict[str, Any]:
    """The route of one kind while the authoriser is asked, which may hold a request for longer than the administrator's idle timeout."""
    return {"match": {"prefix": _prefix(kind), "headers": [{"name": CLUSTER_HEADER, "present_match": False}]}, "route": action}


def _endpoint(kind: str, action: dict[str, Any]) -> dict[str, Any]:
    """The route of one kind for requests that the authoriser has let through.

    Envoy's timer of the stream runs on with the limit of waiting until something moves, and for a request without a body nothing does. So a
    second one begins when the pod has the whole request. What is neither whole nor moves (a body that never comes, a WebSocket that the pod
    doesn't answer) is cut by the first one, later than others.
    """
    prefix = _prefix(kind)
    rewrite = {"pattern": {"regex": f"^{prefix}[^/?]+/?"}, "substitution": "/"}
    retries = {**action["retry_policy"], "per_try_idle_timeout": action["idle_timeout"]}
    return {
        "match": {"prefix": prefix},
        "route": {**action, "retry_policy": retries, "cluster_header": CLUSTER_HEADER, "regex_rewrite": rewrite},
        "request_headers_to_remove": [CLUSTER_HEADER],
        # All ids are of one length: what goes before the service's own path is the path's beginning.
        "request_headers_to_add": [
            {
                "header": {"key": "x-forwarded-prefix", "value": f"%REQ(:PATH):{len(prefix) + ID_LENGTH}%"},
                "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
            }
        ],
    }


def _prefix(kind: str) -> str:
    return f"/api/v2/endpoints/{kind}/"


class EnvoyUpstreams:
    """The directory's word to Envoy."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._protocols: dict[str, Protocol] = {}
        """Of the clusters that are told already: to build one costs as much as all the rest of a change."""

    def put(self, cluster_name: str, protocol: Protocol, addresses: Iterable[Address], unready: Iterable[Address] = ()) -> None:
        """Make or change a cluster."""
        if self._protocols.get(cluster_name) is not protocol:
            self._protocols[cluster_name] = protocol
            self._store.put(CLUSTERS, cluster_name, cluster(cluster_name, protocol))
        self._store.put(ENDPOINTS, cluster_name, assignment(cluster_name, addresses, unready))

    def drop(self, cluster_name: str) -> None:
        """Take it away."""
        self._protocols.pop(cluster_name, None)
        self._store.drop(CLUSTERS, cluster_name)
        self._store.drop(ENDPOINTS, cluster_name)

    async def acknowledged(self, cluster_name: str) -> None:
        """Return when every Envoy that listens knows the cluster's present addresses."""
        await self._store.acknowledged(ENDPOINTS, cluster_name)

    def knows(self, node: str, cluster_name: str) -> bool:
        """Whether that Envoy is configured here, and knows the cluster's present addresses."""
        return self._store.knows(node, ENDPOINTS, cluster_name)

    async def learnt(self, node: str, cluster_name: str) -> None:
        """Return when it does, or has had the time to be told by somebody else."""
        await self._store.learnt(node, ENDPOINTS, cluster_name)

    def configure(self, idle_timeout_seconds: int, cold_start_limit_seconds: int) -> None:
        """The administrator's settings of the route."""
        self._store.put(ROUTES, ROUTE, routes(idle_timeout_seconds, cold_start_limit_seconds))
