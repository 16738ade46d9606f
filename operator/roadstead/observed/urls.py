"""Where the gateway answers for an object."""

from __future__ import annotations


def public_url(gateway: str | None, plural: str, id: str) -> str | None:
    """The endpoint of an object; None where the Platform names no public address of the gateway."""
    return f"{gateway.rstrip('/')}/api/v2/endpoints/{plural}/{id}/" if gateway else None
