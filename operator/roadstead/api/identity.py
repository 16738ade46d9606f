"""Ids: the same manifests give the same ids and URLs on any cluster, and nothing has to be stored (design, section 5)."""

from __future__ import annotations

import hashlib


def object_id(plural: str, namespace: str, name: str) -> str:
    """The first 24 hex digits of SHA-256 over ``<plural>/<namespace>/<name>``."""
    return hashlib.sha256(f"{plural}/{namespace}/{name}".encode()).hexdigest()[:24]
