"""The certificates by which gateway processes, their Envoys, KEDA and the REST API know each other: mutual TLS on each port that leaves the
pod.

They are read again for each new connection and handshake, so that a renewal (``roadstead certs ensure``) takes no restart.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import grpc
from cryptography import x509

log = logging.getLogger(__name__)
SNI: Final = "roadstead-gateway"
"""Looked for in a gateway's certificate, unless our own says how gateways are called here."""


class Certificates:
    """A folder of tls.crt, tls.key and ca.crt."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen: tuple[bytes, ...] = ()
        self._server: ssl.SSLContext | None = None
        self._named: tuple[bytes, frozenset[str]] = b"", frozenset()
        """Our own certificate, and the DNS names in it."""

    def read(self) -> tuple[bytes, bytes, bytes]:
        """Key, chain and authority as they are now. Raises OSError where they can't be read."""
        return tuple((self._folder / name).read_bytes() for name in ("tls.key", "tls.crt", "ca.crt"))  # type: ignore[return-value]

    def server(self) -> ssl.SSLContext:
        """For asyncio: asks clients for a certificate of ours. The context follows the files by ``refresh``."""
        if self._server is None:
            self._server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._server.minimum_version = ssl.TLSVersion.TLSv1_2
            self._server.verify_mode = ssl.CERT_REQUIRED
            self._load(self._server)
        return self._server

    def refresh(self) -> None:
        """Take the files' present content for new connections. What can't be read, or doesn't fit together, is left for the next time."""
        if self._server is None:
            return
        try:
            if self.read() != self._seen:
                self._load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))  # a key that doesn't fit would cost the real one what it has
                self._load(self._server)
        except OSError as error:  # ssl.SSLError is one
            log.warning("New certificates can't be taken; those before stay in use: %s", error)

    def _load(self, context: ssl.SSLContext) -> None:
        content = self.read()
        context.load_cert_chain(self._folder / "tls.crt", self._folder / "tls.key")
        context.load_verify_locations(self._folder / "ca.crt")
        if context is self._server:
            self._seen = content

    def grpc_server(self) -> grpc.ServerCredentials:
        """For gRPC's server, which asks for the files' content before each handshake."""
        return grpc.dynamic_ssl_server_credentials(self._configuration(), self._configuration, require_client_authentication=True)

    def ours(self, names: Iterable[str]) -> bool:
        """Whether DNS names in a certificate that has been verified say that its owner is a gateway, by a name in our own certificate.
        KEDA's is signed by the same authority, and must not do for what gateways tell each other.
        """
        return not self._own_names().isdisjoint(names)

    @property
    def server_name(self) -> str:
        """What is looked for in a gateway's certificate, at whatever address: a name in our own, which depends on the chart's release."""
        return min((name for name in self._own_names() if not name.startswith("*")), key=lambda name: (len(name), name), default=SNI)

    def _own_names(self) -> frozenset[str]:
        try:
            chain = self.read()[1]
            if chain != self._named[0]:
                found = x509.load_pem_x509_certificate(chain).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
                self._named = chain, frozenset(found.get_values_for_type(x509.DNSName))
        except (OSError, ValueError, x509.ExtensionNotFound) as error:
            log.warning("Names in our own certificate can't be read: %s", error)
        return self._named[1]

    def grpc_client(self) -> grpc.ChannelCredentials:
        """For a channel to a replica, with what the files hold now."""
        key, chain, authority = self.read()
        return grpc.ssl_channel_credentials(authority, key, chain)

    def _configuration(self) -> grpc.ServerCertificateConfiguration:
        key, chain, authority = self.read()
        return grpc.ssl_server_certificate_configuration([(key, chain)], authority)
