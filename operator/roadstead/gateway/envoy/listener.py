"""Envoy's listener: what of a request is let through, and what Envoy itself says. Who is asked about it: permission.lua.

Everything that keeps hostile or clumsy clients from harm is here: limits of headers and of time, and the removal of the headers by which
the parts of the gateway speak to each other.
"""

from __future__ import annotations

import socket
from typing import Any, Final

from roadstead.gateway.envoy.resources import ROUTE
from roadstead.gateway.envoy.settings import KEEPALIVE_INTERVAL_SECONDS, KEEPALIVE_PROBES, KEEPALIVE_SECONDS, TYPE, EnvoySettings, address

MIB: Final = 1_048_576
HELD_SECONDS: Final = 86_460
"""How long the authoriser may think, also in permission.lua: the limits of waiting are its own, up to a day."""
OURS: Final = r"x[-_](roadstead|envoy)[-_].*|x[-_]forwarded[-_]prefix"
"""Headers that nobody outside may set, which a client's are taken away: the gateway's parts speak to each other by them, and to containers.

With underscores too, whatever it is that they stand for: WSGI and CGI take both for the same, and other headers with underscores pass.
"""


def listener(settings: EnvoySettings) -> dict[str, Any]:
    # What the script says comes with the routes (resources.py).
    filters = [
        _filter("lua", "lua.v3.Lua"),
        _filter("router", "router.v3.Router", suppress_envoy_headers=True),
    ]
    manager = {
        "@type": f"{TYPE}envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "gateway",
        "codec_type": "AUTO",
        "use_remote_address": True,
        "xff_num_trusted_hops": settings.trusted_hops,
        # A caller's own X-Request-Id stays as it is. By default Envoy also writes into one whether it is traced; nothing is traced here.
        "preserve_external_request_id": True,
        "request_id_extension": {
            "typed_config": {"@type": f"{TYPE}envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig", "pack_trace_reason": False}
        },
        # What the authoriser judges is what the container gets: dots are resolved before, escaped slashes are left alone by both.
        "normalize_path": True,
        "path_with_escaped_slashes_action": "KEEP_UNCHANGED",
        "server_header_transformation": "PASS_THROUGH",
        "request_timeout": "0s",
        "stream_idle_timeout": f"{HELD_SECONDS}s",  # each route that leads to a pod has its own
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
            # Data, for what is in between and knows nothing of TCP's keepalive (load balancers that end TLS). By TCP a client is found that
            # is gone; one that doesn't answer here is mostly one that reads nothing for a while, as "curl | slow" does.
            "connection_keepalive": {"interval": "60s", "timeout": "600s"},
        },
        "upgrade_configs": [{"upgrade_type": "websocket", "filters": [_in_http_1(), *filters]}],
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
        "http_filters": filters,
    }
    return {
        "name": "gateway",
        "address": address(settings.host, settings.port),
        "per_connection_buffer_limit_bytes": MIB,
        "socket_options": [
            _option(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
            _option(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_SECONDS),
            _option(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_INTERVAL_SECONDS),
            _option(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, KEEPALIVE_PROBES),
        ],
        "filter_chains": [{"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}],
    }


def _option(level: int, name: int, value: int) -> dict[str, Any]:
    """Set for the socket that listens; those of its connections have it from there."""
    return {"level": level, "name": name, "int_value": value}


def _own_words() -> dict[str, Any]:
    """What Envoy says itself gets the form of all other errors, and words where it has none. The script's refusals have that form."""

    def status(operator: str, code: int) -> dict[str, Any]:
        return {"status_code_filter": {"comparison": {"op": operator, "value": {"default_value": code, "runtime_key": "roadstead.none"}}}}

    def flags(*names: str) -> dict[str, Any]:
        return {"response_flag_filter": {"flags": names}}

    def words(which: dict[str, Any], said: str, *headers: tuple[str, str]) -> dict[str, Any]:
        added = [{"header": {"key": key, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"} for key, value in headers]
        return {"filter": which, "body": {"inline_string": said}, "headers_to_add": added}

    def details(name: str) -> dict[str, Any]:
        """What no flag tells from other refusals."""
        return {
            "extension_filter": {
                "name": "envoy.access_loggers.extension_filters.cel",
                "typed_config": {
                    "@type": f"{TYPE}envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter",
                    "expression": f"response.code_details == '{name}'",
                },
            }
        }

    as_it_is = {"text_format_source": {"inline_string": "%LOCAL_REPLY_BODY%"}, "content_type": "application/json"}
    soon = ("retry-after", "1")
    return {
        "mappers": [
            {"filter": details("lua_response"), "body_format_override": as_it_is},
            words(details("overload"), "the gateway is short of memory; try again", soon),
            # No cluster, no pod, none that can be connected to.
            words(flags("NC", "UH", "UF"), "the service can't be reached at the moment; try again", soon),
            words(status("EQ", 404), "there is nothing to call here"),
            words(flags("UC"), "the service has closed the connection without an answer"),
            words(flags("SI", "UT"), "nothing has moved for too long (the gateway's idle timeout)"),
            words(status("EQ", 403), "there is nothing here that such a connection could be upgraded to"),
            words(status("EQ", 400), "this is not a valid HTTP request"),
            words(status("EQ", 408), "the head of the request has not arrived in time"),
            words(status("EQ", 431), "the head of the request is too large"),
        ],
        "body_format": {"json_format": {"detail": "%LOCAL_REPLY_BODY%"}, "content_type": "application/json"},
    }


def _in_http_1() -> dict[str, Any]:
    """A filter that has pods which speak TLS agree on HTTP/1.1 for this request.

    Few servers take a WebSocket in HTTP/2 (RFC 8441), and Envoy doesn't go back to 1.1 for the others
    (https://github.com/envoyproxy/envoy/issues/37020).
    """
    version = {"object_key": "envoy.network.application_protocols", "format_string": {"text_format_source": {"inline_string": "http/1.1"}}}
    return _filter("set_filter_state", "set_filter_state.v3.Config", on_request_headers=[version])


def _filter(name: str, kind: str, **config: Any) -> dict[str, Any]:
    return {"name": f"envoy.filters.http.{name}", "typed_config": {"@type": f"{TYPE}envoy.extensions.filters.http.{kind}", **config}}
