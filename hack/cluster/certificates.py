"""The cluster's certificate authority and the kubeconfig files made from it.

Keys are EC P-256: making one takes a millisecond. Everything is valid for a year and lives only in the state folder of a
throw-away cluster, so nothing here renews or revokes.
"""

from __future__ import annotations

import base64
import datetime
import ipaddress
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

YEAR = datetime.timedelta(days=365)


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its key, as files."""

    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority in a folder: ``ca.crt`` and ``ca.key``."""

    folder: Path

    @property
    def certificate(self) -> Path:
        return self.folder / "ca.crt"

    @property
    def key(self) -> Path:
        return self.folder / "ca.key"

    @classmethod
    def create(cls, folder: Path, common_name: str = "roadstead-ca") -> Authority:
        """Make a new authority in the folder, which is created when absent."""
        folder.mkdir(parents=True, exist_ok=True)
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
        usage = x509.KeyUsage(True, False, True, False, False, True, True, False, False)
        certificate = (
            _builder(name, name, key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        authority = cls(folder)
        _write(Pair(authority.certificate, authority.key), certificate, key)
        return authority

    def server(self, file_name: str, names: Iterable[str], addresses: Iterable[str]) -> Pair:
        """A certificate for servers that answer to these DNS names and IP addresses (good for clients too)."""
        alternatives = [x509.DNSName(name) for name in names] + [x509.IPAddress(ipaddress.ip_address(a)) for a in addresses]
        return self._issue(file_name, file_name, (), alternatives)

    def client(self, file_name: str, user: str, groups: Iterable[str] = ()) -> Pair:
        """A certificate that makes its bearer this user, member of these groups."""
        return self._issue(file_name, user, groups, [])

    def kubeconfig(self, path: Path, url: str, user: str, groups: Iterable[str] = ()) -> Path:
        """Write a kubeconfig for that user with everything embedded, so that it works from any folder and any process."""
        pair = self.client(f"client-{path.stem}", user, groups)
        bearer = {"client-certificate-data": _encoded(pair.certificate), "client-key-data": _encoded(pair.key)}
        path.touch(mode=0o600)
        path.write_text(kubeconfig(url, self.certificate, user, bearer))
        return path

    def _issue(self, file_name: str, common_name: str, groups: Iterable[str], alternatives: list[x509.GeneralName]) -> Pair:
        issuer_key = serialization.load_pem_private_key(self.key.read_bytes(), password=None)
        issuer = x509.load_pem_x509_certificate(self.certificate.read_bytes())
        key = ec.generate_private_key(ec.SECP256R1())
        attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
        subject = x509.Name([*attributes, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
        usages = [ExtendedKeyUsageOID.CLIENT_AUTH] + ([ExtendedKeyUsageOID.SERVER_AUTH] if alternatives else [])
        builder = (
            _builder(subject, issuer.subject, key.public_key())
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.public_key()), critical=False)
        )
        if alternatives:
            builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        pair = Pair(self.folder / f"{file_name}.crt", self.folder / f"{file_name}.key")
        _write(pair, builder.sign(issuer_key, hashes.SHA256()), key)
        return pair


def kubeconfig(url: str, authority: Path, user: str, credentials: dict[str, str]) -> str:
    """The text of a kubeconfig for that user, with everything embedded.

    ``authority`` is a file, ``credentials`` are the user's, as a kubeconfig names them.
    """
    cluster = {"server": url, "certificate-authority-data": _encoded(authority)}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "roadstead",
        "clusters": [{"name": "roadstead", "cluster": cluster}],
        "users": [{"name": user, "user": credentials}],
        "contexts": [{"name": "roadstead", "context": {"cluster": "roadstead", "user": user, "namespace": "default"}}],
    }
    return json.dumps(document, indent=2) + "\n"


def signing_key(folder: Path) -> Path:
    """A private key for service-account tokens (its public half is read from the same file)."""
    path = folder / "service-account.key"
    path.touch(mode=0o600)
    path.write_bytes(_private_bytes(ec.generate_private_key(ec.SECP256R1())))
    return path


def _builder(subject: x509.Name, issuer: x509.Name, public_key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + YEAR)
    )


def _write(pair: Pair, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
    pair.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    pair.key.touch(mode=0o600)
    pair.key.write_bytes(_private_bytes(key))


def _private_bytes(key: ec.EllipticCurvePrivateKey) -> bytes:
    form = serialization.PrivateFormat.TraditionalOpenSSL
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())


def _encoded(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
