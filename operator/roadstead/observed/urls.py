"""Where the gateway answers for an object."""

from __future__ import annotations


def public_url(gateway: str, plural: str, id: str) -> str:
    """The endpoint of an object. ``gateway`` is the gateway's public address, without a path."""
    return f"{gateway.rstrip('/')}/api/v2/endpoints/{plural}/{id}/"
