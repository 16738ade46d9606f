"""Which tokens the cluster has signed itself: nobody makes those up, so they are no guesses.

A signature is no right: whether a token is in force is for the API server to say (``callers``). It only keeps somebody who guesses from
shutting out new tokens of service accounts where all callers have one address, as behind a proxy. Tokens of other makers (OpenID Connect,
a webhook) can't be told from guesses by it.
"""

from __future__ import annotations

import base64
import logging
from math import inf
from typing import Any, Final, TypeAlias

import orjson
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    SECP256R1,
    SECP384R1,
    SECP521R1,
    EllipticCurve,
    EllipticCurvePublicKey,
    EllipticCurvePublicNumbers,
)
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey, RSAPublicNumbers
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512, HashAlgorithm

from roadstead.access.verdicts import Keeping, Verdicts
from roadstead.kube.client import SIGNING_KEYS, ApiClient
from roadstead.kube.errors import ApiError

log = logging.getLogger(__name__)
KEPT_SECONDS: Final = 60.0
"""A key that is new counts for none for so long."""
REFUSED_SECONDS: Final = 10.0
RSA: Final[dict[str, HashAlgorithm]] = {"RS256": SHA256(), "RS384": SHA384(), "RS512": SHA512()}
ELLIPTIC: Final[dict[str, tuple[HashAlgorithm, int]]] = {"ES256": (SHA256(), 32), "ES384": (SHA384(), 48), "ES512": (SHA512(), 66)}
"""Hash, and bytes of each of a signature's two numbers (RFC 7518, section 3.4)."""
CURVES: Final[dict[str, EllipticCurve]] = {"P-256": SECP256R1(), "P-384": SECP384R1(), "P-521": SECP521R1()}

Key: TypeAlias = RSAPublicKey | EllipticCurvePublicKey


class Signatures:
    """Keeps the cluster's keys; asks for them when it is asked itself."""

    def __init__(self, client: ApiClient, kept_seconds: float = KEPT_SECONDS, refused_seconds: float = REFUSED_SECONDS) -> None:
        self._client = client
        self._keys: Verdicts[str, dict[str, Key]] = Verdicts(bool, Keeping(kept_seconds, refused_seconds, lambda: inf))

    async def ours(self, token: str) -> bool:
        """Whether it is a JWT that the cluster has signed. False also where the keys can't be read."""
        try:
            keys = await self._keys.get(SIGNING_KEYS, self._read)
        except ApiError:
            return False
        try:
            signed, _, signature = token.rpartition(".")
            head: dict[str, Any] = orjson.loads(_bytes(signed.partition(".")[0]))
            proof = _bytes(signature)
            if base64.urlsafe_b64encode(proof).rstrip(b"=") != signature.encode():
                return False  # written otherwise it would be a new token each time, of which one was signed
            _verify(keys[head["kid"]], head["alg"], signed.encode(), proof)
        except (ValueError, KeyError, TypeError, InvalidSignature):
            return False
        return True

    async def _read(self) -> dict[str, Key]:
        try:
            jwks = await self._client.signing_keys()
        except ApiError as error:
            if error.transient:
                raise
            log.warning("The cluster's signing keys can't be read; may this process get %s? %s", SIGNING_KEYS, error)
            return {}
        found: list[dict[str, Any]] = jwks.get("keys") or []
        return {jwk["kid"]: key for jwk in found if "kid" in jwk and (key := _key(jwk)) is not None}


def _key(jwk: dict[str, Any]) -> Key | None:
    """A public key, if it is of a kind that clusters sign with (RFC 7518, section 6)."""
    try:
        match jwk["kty"]:
            case "RSA":
                return RSAPublicNumbers(_number(jwk["e"]), _number(jwk["n"])).public_key()
            case "EC":
                return EllipticCurvePublicNumbers(_number(jwk["x"]), _number(jwk["y"]), CURVES[jwk["crv"]]).public_key()
            case _:
                return None
    except (ValueError, KeyError, TypeError):
        return None


def _verify(key: Key, algorithm: str, signed: bytes, signature: bytes) -> None:
    """Raises InvalidSignature, and KeyError where the algorithm isn't one for such a key."""
    if isinstance(key, RSAPublicKey):
        key.verify(signature, signed, PKCS1v15(), RSA[algorithm])
        return
    digest, size = ELLIPTIC[algorithm]
    if len(signature) != 2 * size:
        raise InvalidSignature
    r, s = (int.from_bytes(half, "big") for half in (signature[:size], signature[size:]))
    key.verify(encode_dss_signature(r, s), signed, ECDSA(digest))


def _number(value: str) -> int:
    return int.from_bytes(_bytes(value), "big")


def _bytes(value: str) -> bytes:
    return base64.urlsafe_b64decode(value + "=" * (-len(value) % 4))
