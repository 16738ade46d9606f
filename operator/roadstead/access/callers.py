"""Who calls: a bearer token, as the API server itself judges it (TokenReview).

A token for the API server's own audience may do everything its owner may. One for our audience alone may read and invoke: the API
server wouldn't take it for a write. Which of the two it is shows by asking in turn; no audience has to be configured or guessed.
"""

from __future__ import annotations

import base64
import hashlib
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address
from math import inf
from typing import Any, Final

import orjson

from roadstead.access.errors import BAD_TOKEN, NO_TOKEN, MayOnlyRead, Throttled, Unauthenticated
from roadstead.access.limits import Buckets
from roadstead.access.signatures import Signatures
from roadstead.access.verdicts import Keeping, Verdicts
from roadstead.kube.client import ApiClient
from roadstead.kube.errors import ApiError, Invalid
from roadstead.kube.resource import TOKEN_REVIEWS

SERVICE_ACCOUNT: Final = "system:serviceaccount:"
LONGEST_TOKEN: Final = 16_384
GUESSES_PER_SECOND: Final = 10.0
GUESSES_AT_ONCE: Final = 100.0
"""Tokens that are none, from one place: each costs the API server two reviews. What the cluster has signed is no guess."""


@dataclass(frozen=True, slots=True)
class Caller:
    """The owner of a token."""

    username: str
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    writes: bool = True
    """The token is one for the API server, which will take it for writes."""
    token: str = field(default="", repr=False)
    expires_at: float = field(default=inf, repr=False)
    """Unix time at which the token's own word ends; no verdict outlives it."""
    identity: bytes = field(init=False, repr=False)
    """What its rights hang on, as a hash."""

    def __post_init__(self) -> None:
        rights = orjson.dumps([self.username, self.uid, self.groups, self.extra], option=orjson.OPT_SORT_KEYS)
        object.__setattr__(self, "identity", hashlib.sha256(rights).digest())

    @property
    def namespace(self) -> str | None:
        """A service account's own."""
        return self.username.split(":")[2] if self.username.startswith(SERVICE_ACCOUNT) else None

    def writer(self) -> Caller:
        """The caller, if the token can write; raises MayOnlyRead otherwise."""
        if not self.writes:
            raise MayOnlyRead
        return self


class Callers:
    """Tokens and their owners. Only hashes of tokens are kept as keys, with a key of this process."""

    def __init__(self, client: ApiClient, audience: str, keeping: Keeping) -> None:
        self._client = client
        self._audience = audience
        self._salt = os.urandom(32)
        self._signatures = Signatures(client)
        self._guesses = Buckets(GUESSES_PER_SECOND, GUESSES_AT_ONCE)
        self._verdicts: Verdicts[bytes, Caller | None] = Verdicts(lambda caller: caller is not None, keeping)

    async def of(self, authorization: str | None, address: str) -> Caller:
        """The caller of a request with that header, from that address.

        Raises Unauthenticated and Throttled, and ApiError where nobody can be asked.
        """
        token = _bearer(authorization or "")
        if not token:
            raise Unauthenticated(NO_TOKEN)
        if len(token) > LONGEST_TOKEN or not token.isascii() or time.time() >= _expires_at(token):
            raise Unauthenticated(BAD_TOKEN)
        key = self._key(token)
        guess = self._verdicts.guessing(key)
        place = _place(address) if guess else ""
        # Taken before the answer is there, or guesses all at once would be free. Who leaves meanwhile has still asked.
        if guess and (wait := self._guesses.take(place)):
            # Many may have that address: behind a proxy whose word isn't believed all have one.
            if not await self._signatures.ours(token):
                raise Throttled("too many tokens that aren't valid come from your address", wait)
            guess = False
        try:
            caller = await self._verdicts.get(key, lambda: self._review(token))
        except ApiError:
            if guess:
                self._guesses.give_back(place)
            raise
        if caller is None:
            raise Unauthenticated(BAD_TOKEN)
        if guess:
            self._guesses.give_back(place)
        return caller

    def kept(self, authorization: str) -> Caller | None:
        """As ``of``, if that can be said at once and is a yes; else None, and ``of`` tells."""
        token = _bearer(authorization)
        if not token or len(token) > LONGEST_TOKEN or not token.isascii():
            return None
        caller = self._verdicts.fresh(self._key(token))
        return caller if caller is not None and time.time() < caller.expires_at else None

    def forget(self, caller: Caller) -> None:
        """The API server didn't take the caller's token any more."""
        self._verdicts.forget(self._key(caller.token))

    def _key(self, token: str) -> bytes:
        return hashlib.blake2b(token.encode(), key=self._salt, digest_size=32).digest()

    async def _review(self, token: str) -> Caller | None:
        for audiences, writes in (((), True), ((self._audience,), False)):
            spec = {"token": token, "audiences": list(audiences)}
            try:
                review = await self._client.create(TOKEN_REVIEWS, None, {"apiVersion": "authentication.k8s.io/v1", "spec": spec})
            except Invalid:
                return None
            status: dict[str, Any] = review.get("status") or {}
            # Without audiences of its own an authenticator knows none: the token is then one for the API server (TokenReview's docs).
            if status.get("authenticated") and (not audiences or set(audiences) & set(status.get("audiences") or ())):
                user: dict[str, Any] = status.get("user") or {}
                extra = {name: tuple(values) for name, values in (user.get("extra") or {}).items()}
                groups = tuple(user.get("groups") or ())
                return Caller(user["username"], user.get("uid", ""), groups, extra, writes, token, _expires_at(token))
        return None


def _bearer(authorization: str) -> str:
    """The header's token; empty if it has none."""
    scheme, _, token = authorization.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _place(address: str) -> str:
    """What guesses from there count for: of IPv6 the whole /64, which is what one machine may have."""
    try:
        known = ip_address(address)
    except ValueError:
        return address
    if isinstance(known, IPv4Address):
        return address
    return str(known.ipv4_mapped or IPv6Address(int(known) >> 64 << 64))


def _expires_at(token: str) -> float:
    """When a JWT says of itself that its time is over; never, if it is none. Whatever else it says is for the API server to judge."""
    try:
        payload = token.split(".")[1]
        moment = orjson.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["exp"]
        return float(moment) if isinstance(moment, int | float) else inf
    except (IndexError, ValueError, KeyError, TypeError):
        return inf
