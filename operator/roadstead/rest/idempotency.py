"""Safe retries of a POST: with an ``Idempotency-Key`` the object's name follows from user and key, so that it can be made only once."""

from __future__ import annotations

import hashlib
import re
import secrets
import unicodedata
from dataclasses import dataclass
from typing import Final

import orjson

from roadstead.kube.resource import Body
from roadstead.names import REQUEST_ANNOTATION
from roadstead.rest.problems import invalid

HEADER: Final = "Idempotency-Key"
LONGEST_KEY: Final = 255
LONGEST_NAME: Final = 54
"""Of a Workload; see its CRD."""
ALPHABET: Final = "abcdefghijklmnopqrstuvwxyz0123456789"
RANDOM: Final = 6


@dataclass(frozen=True, slots=True)
class Once:
    """The key of one request by one user, and what it asked for."""

    key: str
    digest: str

    def name(self, word: str) -> str:
        """The name of what it makes: the same for every try."""
        return f"{word}-{hashlib.sha256(f'{word}/{self.key}'.encode()).hexdigest()[:16]}"

    def check(self, body: Body) -> None:
        """That the object of that name was made by this very request, and is still there. Raises Problem."""
        metadata = body["metadata"]
        if (metadata.get("annotations") or {}).get(REQUEST_ANNOTATION) != self.digest:
            raise invalid(("header", HEADER), "this key was used for another request; use a new key for each request")
        if body["spec"].get("deleted") or "deletionTimestamp" in metadata:
            raise invalid(("header", HEADER), "what this key made has been deleted; use a new key")


def once(header: str | None, username: str, payload: bytes) -> Once | None:
    """What the header asks for; None without one. Raises Problem where it can't be a key."""
    if header is None:
        return None
    if not header or len(header) > LONGEST_KEY or not header.isprintable():
        raise invalid(("header", HEADER), f"must be 1 to {LONGEST_KEY} printable characters", "string_pattern_mismatch")
    canonical = orjson.dumps(orjson.loads(payload), option=orjson.OPT_SORT_KEYS)
    key = hashlib.sha256(orjson.dumps([username, header])).hexdigest()
    return Once(key, hashlib.sha256(key.encode() + canonical).hexdigest())


def slug(title: str | None, word: str) -> str:
    """A name for an object of that title: what of it may stand in a DNS label, and random characters."""
    plain = unicodedata.normalize("NFKD", title or "").encode("ascii", "ignore").decode().lower()
    stem = re.sub(r"[^a-z0-9]+", "-", plain).lstrip("-0123456789")[: LONGEST_NAME - RANDOM - 1].strip("-")
    if not stem or stem.startswith("keda-hpa"):
        stem = word
    return f"{stem}-{''.join(secrets.choice(ALPHABET) for _ in range(RANDOM))}"
