"""Where endpoints are found, and what of a path says which one. Envoy has normalised paths before anybody here sees them."""

from __future__ import annotations

import re
from typing import Final

_ENDPOINT: Final = re.compile(rb"/api/v2/endpoints/(workloads|deployments)/([0-9a-f]{24})(?:[/?]|\Z)")


def endpoint(url: bytes) -> tuple[str, str] | None:
    """Kind and id of the endpoint that a request's target (path and query) leads to; None if it leads to none."""
    found = _ENDPOINT.match(url)
    return None if found is None else (found[1].decode(), found[2].decode())
