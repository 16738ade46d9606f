"""A cluster's key for tokens of service accounts: signs JWTs, and is told of in a JWKS (RFC 7515, 7517, 7518)."""

from __future__ import annotations

import base64
import json
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

HASHES = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}
CURVES: dict[str, tuple[ec.EllipticCurve, str]] = {
    "ES256": (ec.SECP256R1(), "P-256"),
    "ES384": (ec.SECP384R1(), "P-384"),
    "ES512": (ec.SECP521R1(), "P-521"),
}


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _number(value: int, size: int = 0) -> str:
    return b64(value.to_bytes(size or (value.bit_length() + 7) // 8, "big"))


class Signer:
    """One key pair, for one algorithm."""

    def __init__(self, algorithm: str = "ES256", kid: str = "k1") -> None:
        self.algorithm = algorithm
        self.kid = kid
        self.key = ec.generate_private_key(CURVES[algorithm][0]) if algorithm in CURVES else rsa.generate_private_key(65537, 2048)

    def token(self, name: str = "t", expires: float = 9e9, **head: str) -> str:
        """``head`` replaces what the header says of algorithm and key."""
        parts: tuple[dict[str, object], ...] = ({"alg": self.algorithm, "kid": self.kid, **head}, {"exp": expires, "name": name})
        signed = ".".join(b64(json.dumps(part).encode()) for part in parts)
        return f"{signed}.{b64(self.sign(signed.encode()))}"

    def sign(self, signed: bytes) -> bytes:
        digest = HASHES[self.algorithm[2:]]
        if isinstance(self.key, rsa.RSAPrivateKey):
            return self.key.sign(signed, padding.PKCS1v15(), digest)
        size = (self.key.curve.key_size + 7) // 8
        return b"".join(number.to_bytes(size, "big") for number in decode_dss_signature(self.key.sign(signed, ec.ECDSA(digest))))

    def jwk(self) -> dict[str, Any]:
        """The public half."""
        known = {"use": "sig", "kid": self.kid, "alg": self.algorithm}
        if isinstance(self.key, rsa.RSAPrivateKey):
            numbers = self.key.public_key().public_numbers()
            return known | {"kty": "RSA", "n": _number(numbers.n), "e": _number(numbers.e)}
        point, size = self.key.public_key().public_numbers(), (self.key.curve.key_size + 7) // 8
        return known | {"kty": "EC", "crv": CURVES[self.algorithm][1], "x": _number(point.x, size), "y": _number(point.y, size)}
