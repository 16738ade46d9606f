"""Pages of lists, and the address under which the client sees us."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any, Final
from urllib.parse import urlencode

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import Scope

HOST: Final = re.compile(r"[A-Za-z0-9.-]+(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]+\](:[0-9]{1,5})?")
PREFIX: Final = re.compile(r"(/[A-Za-z0-9._~-]+)*")
MOST: Final = 100


@dataclass(frozen=True, slots=True)
class Proxies:
    """Whose X-Forwarded headers are believed, and what they then say."""

    networks: tuple[IPv4Network | IPv6Network, ...]

    @classmethod
    def of(cls, texts: Sequence[str]) -> Proxies:
        """From addresses and networks. Raises ValueError."""
        return cls(tuple(ip_network(text, strict=False) for text in texts))

    def base(self, request: Request) -> str:
        """Scheme, host and prefix under which the client reached us, without a slash at the end."""
        scheme, host, prefix = request.url.scheme, request.headers.get("host", ""), ""
        if request.client is not None and self._trusted(request.client.host):
            forwarded = _first(request, "x-forwarded-proto").lower()
            scheme = forwarded if forwarded in ("http", "https") else scheme
            host = _first(request, "x-forwarded-host") or host
            prefix = _first(request, "x-forwarded-prefix").rstrip("/")
        if not HOST.fullmatch(host):
            server = request.scope.get("server") or ("localhost", None)
            host = server[0] if server[1] is None else f"{server[0]}:{server[1]}"
        return f"{scheme}://{host}{prefix if PREFIX.fullmatch(prefix) else ''}"

    def address(self, scope: Scope, headers: Headers) -> str:
        """Where a request comes from: the last address of X-Forwarded-For that is no proxy's, if a proxy sent it."""
        sender = (scope.get("client") or ("",))[0]
        hops = [hop.strip() for hop in headers.get("x-forwarded-for", "").split(",")]
        while self._trusted(sender) and hops and hops[-1]:
            sender = hops.pop()
        return str(sender)

    def _trusted(self, host: str) -> bool:
        if not self.networks:
            return False
        try:
            address = ip_address(host)
        except ValueError:
            return False
        return any(address in network for network in self.networks)


def _first(request: Request, header: str) -> str:
    """The value nearest to the client, where several proxies added theirs."""
    return request.headers.get(header, "").split(",")[0].strip()


def page(request: Request, base: str, total: int, offset: int, limit: int, data: list[Any]) -> dict[str, Any]:
    """One page; the links carry everything else that the request asked for."""
    others = [(name, value) for name, value in request.query_params.multi_items() if name not in ("offset", "limit")]

    def link(start: int) -> str:
        return f"{base}{request.url.path}?{urlencode([*others, ('offset', start), ('limit', limit)])}"

    return {
        "totalCount": total,
        "count": len(data),
        "next": link(offset + limit) if offset + limit < total else None,
        "previous": link(max(0, offset - limit)) if offset > 0 else None,
        "data": data,
    }
