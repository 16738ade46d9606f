"""Pages of lists, and the address under which the client sees us."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any, Final
from urllib.parse import urlencode

from starlette.requests import Request

HOST: Final = re.compile(r"[A-Za-z0-9.-]+(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]+\](:[0-9]{1,5})?")
PREFIX: Final = re.compile(r"(/[A-Za-z0-9._~-]+)*")
MOST: Final = 100


@dataclass(frozen=True, slots=True)
class Proxies:
    """Whose X-Forwarded headers are believed."""

    networks: tuple[IPv4Network | IPv6Network, ...]

    @classmethod
    def of(cls, texts: Sequence[str]) -> Proxies:
        """From addresses and networks. Raises ValueError."""
        return cls(tuple(ip_network(text, strict=False) for text in texts))

    def base(self, request: Request) -> str:
        """Scheme, host and prefix under which the client reached us, without a slash at the end."""
        scheme, host, prefix = request.url.scheme, request.headers.get("host", ""), ""
        if self._trusted(request):
            forwarded = _first(request, "x-forwarded-proto").lower()
            scheme = forwarded if forwarded in ("http", "https") else scheme
            host = _first(request, "x-forwarded-host") or host
            prefix = _first(request, "x-forwarded-prefix").rstrip("/")
        if not HOST.fullmatch(host):
            server = request.scope.get("server") or ("localhost", None)
            host = server[0] if server[1] is None else f"{server[0]}:{server[1]}"
        return f"{scheme}://{host}{prefix if PREFIX.fullmatch(prefix) else ''}"

    def _trusted(self, request: Request) -> bool:
        if not self.networks or request.client is None:
            return False
        try:
            address = ip_address(request.client.host)
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
