"""The certificates by which gateway processes, their Envoys, KEDA and the REST API know each other: mutual TLS on each port that leaves the
pod.

They are read again for each new connection and handshake, so that a renewal (``roadstead certs ensure``) takes no restart.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Iterable
from functools import partial
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
        self._seen: dict[str, tuple[bytes, ...]] = {}
        self._loaded: dict[str, ssl.SSLContext] = {}
        """For handshakes, by the protocol that is agreed upon, with what was ``_seen`` in the files."""
        self._named: tuple[bytes, frozenset[str]] = b"", frozenset()
        """Our own certificate, and the DNS names in it."""

    def read(self) -> tuple[bytes, bytes, bytes]:
        """Key, chain and authority as they are now. Raises OSError where they can't be read."""
        return tuple((self._folder / name).read_bytes() for name in ("tls.key", "tls.crt", "ca.crt"))  # type: ignore[return-value]

    def server(self, protocol: str = "") -> ssl.SSLContext:
        """For asyncio: asks clients for a certificate of ours. Raises OSError where there are none yet, or they don't fit together.
        ``protocol`` is agreed upon with clients that ask for it (ALPN).

        Each handshake has a look at the files, and goes on in another context if they have changed: one context can be told to trust
        another authority too, but never to trust one no more.
        """
        self._load(protocol)
        front = _context(protocol)
        front.sni_callback = partial(self._hand_over, protocol)  # called without a name too
        return front

    def _hand_over(self, protocol: str, handshake: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
        handshake.context = self.present(protocol)

    def present(self, protocol: str = "") -> ssl.SSLContext:
        """For a handshake now: what the files hold, or held when they could last be used."""
        try:
            return self._load(protocol)
        except OSError as error:  # ssl.SSLError is one
            if protocol not in self._loaded:
                raise
            log.warning("New certificates can't be taken; those before stay in use: %s", error)
            return self._loaded[protocol]

    def _load(self, protocol: str) -> ssl.SSLContext:
        """What the files hold now. Raises OSError, and keeps what there was, if that can't be used."""
        content = self.read()
        if self._seen.get(protocol) != content:
            context = _context(protocol)
            context.load_cert_chain(self._folder / "tls.crt", self._folder / "tls.key")
            context.load_verify_locations(self._folder / "ca.crt")
            self._loaded[protocol], self._seen[protocol] = context, content
        return self._loaded[protocol]

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


def _context(protocol: str) -> ssl.SSLContext:
    """Without resumption: a session would outlive the trust in the authority that it was begun under."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0
    if protocol:
        context.set_alpn_protocols([protocol])
    return context
