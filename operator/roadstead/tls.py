"""The certificates by which gateway processes, their Envoys, KEDA and the REST API know each other: mutual TLS on each port that leaves the
pod.

They are read again for each new connection and handshake, so that a renewal (``roadstead certs ensure``) takes no restart.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Final

import grpc

SNI: Final = "roadstead-gateway"


class Certificates:
    """A folder of tls.crt, tls.key and ca.crt."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen: tuple[bytes, ...] = ()
        self._server: ssl.SSLContext | None = None

    def read(self) -> tuple[bytes, bytes, bytes]:
        """Key, chain and authority as they are now. Raises OSError where they can't be read."""
        return tuple((self._folder / name).read_bytes() for name in ("tls.key", "tls.crt", "ca.crt"))  # type: ignore[return-value]

    def server(self) -> ssl.SSLContext:
        """For asyncio: asks clients for a certificate of ours. The context follows the files by ``refresh``."""
        if self._server is None:
            self._server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._server.minimum_version = ssl.TLSVersion.TLSv1_2
            self._server.verify_mode = ssl.CERT_REQUIRED
            self.refresh()
        return self._server

    def refresh(self) -> None:
        """Take the files' present content for new connections."""
        content = self.read()
        if self._server is not None and content != self._seen:
            self._server.load_cert_chain(self._folder / "tls.crt", self._folder / "tls.key")
            self._server.load_verify_locations(self._folder / "ca.crt")
            self._seen = content

    def grpc_server(self) -> grpc.ServerCredentials:
        """For gRPC's server, which asks for the files' content before each handshake."""
        return grpc.dynamic_ssl_server_credentials(self._configuration(), self._configuration, require_client_authentication=True)

    def grpc_client(self) -> grpc.ChannelCredentials:
        """For a channel to a replica, with what the files hold now."""
        key, chain, authority = self.read()
        return grpc.ssl_channel_credentials(authority, key, chain)

    def _configuration(self) -> grpc.ServerCertificateConfiguration:
        key, chain, authority = self.read()
        return grpc.ssl_server_certificate_configuration([(key, chain)], authority)
