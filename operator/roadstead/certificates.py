"""Certificates by which gateway replicas and KEDA know each other: what a Secret must hold next, as a pure decision.

Each *generation* has a certificate authority of its own, whose key is thrown away once it has signed two leaves: the gateway's (server and
client) and KEDA's (client only). So no key is kept anywhere with which more could be signed. The price is that a renewal changes whom to
trust, and processes learn of that one after the other. Hence two steps: first everybody is told to trust the next authority as well
(*staged*), weeks later the next leaves are put in use (*promoted*), and the authority before stays trusted until it ends. Weeks, since
KEDA reads a Secret only when it takes up a ScaledObject or after an error (kedacore/keda#7906): until it is restarted once it knows the
old authority alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, TypeAlias

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

Data: TypeAlias = Mapping[str, bytes]
"""A Secret's ``data``, decoded."""

LIFE: Final = timedelta(days=365)
DUE: Final = LIFE / 3
"""With less of its life left a generation is to be replaced."""
STAGED: Final = LIFE / 6
"""How long the next authority is trusted before its leaves are used."""
LATE: Final = timedelta(days=2)
"""With so little left there is no waiting."""
SKEW: Final = timedelta(hours=1)
"""How far clocks may be apart."""
AUTHORITIES: Final = "ca.crt"
SERVER: Final = "tls"
CLIENT: Final = "client"
NEXT: Final = "next-"
CLIENT_NAME: Final = "roadstead-scaler-client"
_PEM: Final = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----\n?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Renewal:
    """What the gateway's Secret must hold from now on, and why, as a half sentence for the log."""

    data: dict[str, bytes]
    reason: str


def dns_names(namespace: str, service: str, peers: str) -> tuple[str, ...]:
    """Names of the gateway's Service, of its headless one and of the pods behind that, in full and as pods may shorten them."""
    ends = (f".{namespace}", f".{namespace}.svc", f".{namespace}.svc.cluster.local")
    return (service, peers, *(f"{name}{end}" for name in (service, peers, f"*.{peers}") for end in ends))


def renewal(data: Data | None, names: Sequence[str], now: datetime) -> Renewal | None:
    """What must replace a Secret's data (None: there is no Secret yet); None where it may stay as it is.

    ``tls.crt`` and ``tls.key`` are the gateway's pair for these DNS names, ``client.crt`` and ``client.key`` KEDA's, ``ca.crt`` holds
    whom to trust; with ``next-`` in front what is staged.
    """
    held = data or {}
    trusted = _authorities(held, now)
    current = _leaf(held, "", names, trusted, now)
    following = _leaf(held, NEXT, names, trusted, now)
    if current is None and following is None:
        authority, files = _generation(names, now)
        why = "there was none" if data is None else "what was there is no longer, or not, what is needed"
        return Renewal(files | _bundle([authority, *trusted]), f"made, since {why}")
    left = timedelta() if current is None else current.not_valid_after_utc - now
    if left > DUE:
        return None
    if following is None:
        authority, files = _generation(names, now)
        kept = {key: held[key] for pair in (SERVER, CLIENT) for key in _files(pair)}
        staged = {NEXT + key: value for key, value in files.items()}
        return Renewal(kept | staged | _bundle([*trusted, authority]), f"the next authority is trusted from now on: {left.days} days left")
    if now - (following.not_valid_before_utc + SKEW) < STAGED and left > LATE:
        return None
    promoted = {key: held[NEXT + key] for pair in (SERVER, CLIENT) for key in _files(pair)}
    return Renewal(promoted | _bundle(trusted), "the next pair is in use from now on")


def _files(pair: str) -> tuple[str, str]:
    return f"{pair}.crt", f"{pair}.key"


def _bundle(authorities: Sequence[x509.Certificate]) -> dict[str, bytes]:
    return {AUTHORITIES: b"".join(_pem(authority) for authority in authorities)}


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _authorities(data: Data, now: datetime) -> list[x509.Certificate]:
    """Those of the bundle that can be read and haven't ended."""
    found = []
    for block in _PEM.findall(data.get(AUTHORITIES, b"")):
        try:
            certificate = x509.load_pem_x509_certificate(block)
        except ValueError:
            continue
        if certificate.not_valid_after_utc > now:
            found.append(certificate)
    return found


def _leaf(data: Data, prefix: str, names: Sequence[str], trusted: list[x509.Certificate], now: datetime) -> x509.Certificate | None:
    """The gateway's certificate, if it and KEDA's are whole, in force, trusted, and good for all the names."""
    found: list[x509.Certificate] = []
    for pair in (SERVER, CLIENT):
        certificate_file, key_file = _files(pair)
        try:
            certificate = x509.load_pem_x509_certificate(data[prefix + certificate_file])
            key = serialization.load_pem_private_key(data[prefix + key_file], password=None)
        except (KeyError, ValueError, TypeError):
            return None
        if certificate.public_key() != key.public_key() or certificate.not_valid_after_utc <= now or not _issued(certificate, trusted):
            return None
        found.append(certificate)
    try:
        alternatives = found[0].extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return None
    return found[0] if set(names) <= set(alternatives.get_values_for_type(x509.DNSName)) else None


def _issued(certificate: x509.Certificate, authorities: list[x509.Certificate]) -> bool:
    for authority in authorities:
        try:
            certificate.verify_directly_issued_by(authority)
        except (ValueError, TypeError, InvalidSignature):
            continue
        return True
    return False


def _generation(names: Sequence[str], now: datetime) -> tuple[x509.Certificate, dict[str, bytes]]:
    """A new authority's certificate, and the files of the two pairs that it has signed. Its key ends here."""
    authority_key = ec.generate_private_key(ec.SECP256R1())
    serial = x509.random_serial_number()
    # A subject of its own: libraries look for an issuer by that first.
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"roadstead-gateway-ca-{serial:x}"[:40])])
    authority = (
        _builder(issuer, issuer, authority_key.public_key(), now)
        .serial_number(serial)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    both = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    files: dict[str, bytes] = {}
    for pair, alternatives, purposes in ((SERVER, names, both), (CLIENT, [CLIENT_NAME], both[1:])):
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, alternatives[0])])
        certificate = (
            _builder(subject, issuer, key.public_key(), now)
            .serial_number(x509.random_serial_number())
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in alternatives]), critical=False)
            .sign(authority_key, hashes.SHA256())
        )
        certificate_file, key_file = _files(pair)
        files[certificate_file] = _pem(certificate)
        # PKCS #8, which every TLS library reads.
        files[key_file] = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return authority, files


def _builder(subject: x509.Name, issuer: x509.Name, public_key: ec.EllipticCurvePublicKey, now: datetime) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .not_valid_before(now - SKEW)
        .not_valid_after(now + LIFE)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )
