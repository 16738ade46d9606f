"""Stable digests of JSON values: the same value gives the same text on any machine and in any key order."""

from __future__ import annotations

import hashlib

import orjson


def digest(value: object) -> str:
    """16 hex digits of BLAKE2b over the value's JSON with sorted keys. ``value`` holds only JSON types with string keys."""
    return hashlib.blake2b(orjson.dumps(value, option=orjson.OPT_SORT_KEYS), digest_size=8).hexdigest()
