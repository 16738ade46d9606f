"""Where the cluster is and how to prove who we are: a pod's service account, or a kubeconfig file.

Tokens and CA bundles in a pod are rotated under the running process, so both are read again; what comes from a kubeconfig stays,
apart from a ``tokenFile`` and the file of a ``certificate-authority``. Exec plug-ins and auth providers are refused with a clear
message: production runs in a pod.
"""

from __future__ import annotations

import base64
import os
import ssl
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import yaml

from roadstead.kube.resource import Body

SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
REREAD_SECONDS: Final = 60.0
"""The kubelet renews a token when 80 % of its life (an hour by default) is over, so a minute is soon enough."""


class ConfigError(Exception):
    """No usable way to the cluster; the message says what is missing."""


@dataclass(slots=True)
class ClusterConfig:
    """An address and credentials. ``bearer()`` is asked before every request; it touches files at most once a minute."""

    url: str
    ssl: ssl.SSLContext | None = None
    token: str | None = None
    token_file: Path | None = None
    ca_file: Path | None = None
    """Set where the CA bundle may be replaced while we run."""
    server_name: str | None = None
    namespace: str = "default"
    clock: Callable[[], float] = time.monotonic
    _read_at: float | None = field(default=None, init=False)
    _ca: bytes | None = field(default=None, init=False)

    def bearer(self) -> str | None:
        """The token to send now, or None where a client certificate (or nothing) identifies us."""
        if self._read_at is None or self.clock() - self._read_at >= REREAD_SECONDS:
            self.reread()
        return self.token

    def reread(self) -> bool:
        """Read token and CA bundle again; True if the token is another one."""
        self._read_at = self.clock()
        before = self.token
        with suppress(OSError):  # mid-rotation; the old one serves until the next look
            if self.token_file is not None:
                self.token = self.token_file.read_text().strip()
        with suppress(OSError, ValueError):  # ssl.SSLError is an OSError
            if self.ca_file is not None and self.ssl is not None:
                bundle = self.ca_file.read_bytes()
                if bundle != self._ca:
                    # New connections of the same context trust the new bundle as well. The old one stays trusted until a restart:
                    # while a CA is exchanged both are in use.
                    self.ssl.load_verify_locations(cadata=bundle.decode())
                    self._ca = bundle
        return self.token != before

    def renewed(self, refused: str | None) -> bool:
        """After a 401: whether there is another token than the refused one by now, so that a second try is worth it."""
        return self.reread() or self.token != refused


def load(kubeconfig: Path | None = None, context: str | None = None, *, credentials: bool = True) -> ClusterConfig:
    """From ``kubeconfig`` if given, else from the pod we run in, else from $KUBECONFIG or ~/.kube/config. Raises ConfigError.

    Without ``credentials`` only the way there: for calls that each carry a token of their own.
    """
    if kubeconfig is None and context is None and "KUBERNETES_SERVICE_HOST" in os.environ:
        config = _from_pod()
        if not credentials:
            config.token_file = None
        return config
    if kubeconfig is None:
        # kubectl merges the files of a list; one is enough here.
        first = os.environ.get("KUBECONFIG", "").split(os.pathsep)[0]
        kubeconfig = Path(first) if first else Path.home() / ".kube" / "config"
    return _from_kubeconfig(kubeconfig, context, credentials)


def _from_pod() -> ClusterConfig:
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    token_file, ca_file = SERVICE_ACCOUNT / "token", SERVICE_ACCOUNT / "ca.crt"
    for file in (token_file, ca_file):
        if not file.is_file():
            raise ConfigError(f"{file} is missing: is the service account's token mounted?")
    with suppress(OSError):
        return ClusterConfig(
            url=f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}",
            ssl=_context(ca_file.read_text()),
            token_file=token_file,
            ca_file=ca_file,
            namespace=(SERVICE_ACCOUNT / "namespace").read_text().strip(),
        )
    raise ConfigError(f"{SERVICE_ACCOUNT} can't be read")


def _from_kubeconfig(path: Path, context: str | None, credentials: bool) -> ClusterConfig:
    try:
        document = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} can't be read: {error}") from error
    if not isinstance(document, dict):
        raise ConfigError(f"{path} isn't a kubeconfig")
    chosen = _named(document, "context", context or document.get("current-context") or "", path)
    cluster = _named(document, "cluster", chosen.get("cluster", ""), path)
    user = _named(document, "user", chosen["user"], path) if credentials and chosen.get("user") else {}
    if "server" not in cluster:
        raise ConfigError(f"{path}: cluster {chosen['cluster']!r} has no server")
    for unsupported in ("exec", "auth-provider", "username"):
        if unsupported in user:
            raise ConfigError(
                f"{path}: user {chosen['user']!r} logs in by {unsupported!r}, which isn't supported; use a token or a certificate"
            )
    url = str(cluster["server"]).rstrip("/")
    return ClusterConfig(
        url=url,
        ssl=_tls(cluster, user, path) if url.startswith("https:") else None,
        token=user.get("token"),
        token_file=path.parent / user["tokenFile"] if "tokenFile" in user else None,
        ca_file=path.parent / cluster["certificate-authority"] if "certificate-authority" in cluster else None,
        server_name=cluster.get("tls-server-name"),
        namespace=chosen.get("namespace", "default"),
    )


def _named(document: Body, what: str, name: str, path: Path) -> Body:
    for entry in document.get(f"{what}s") or ():
        if entry.get("name") == name:
            found: Body = entry.get(what) or {}
            return found
    raise ConfigError(f"{path} has no {what} {name!r}")


def _tls(cluster: Body, user: Body, path: Path) -> ssl.SSLContext:
    try:
        ca = _data_or_file(cluster, "certificate-authority", path)
        context = _context(ca.decode() if ca else None)
        if cluster.get("insecure-skip-tls-verify"):
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        certificate, key = (_data_or_file(user, part, path) for part in ("client-certificate", "client-key"))
        if certificate and key:
            # The ssl module takes certificates from files only. NamedTemporaryFile is readable by its owner alone.
            with tempfile.NamedTemporaryFile() as file:
                file.write(certificate + b"\n" + key)
                file.flush()
                context.load_cert_chain(file.name)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise ConfigError(f"{path}: certificates can't be read: {error}") from error
    return context


def _data_or_file(section: Body, name: str, path: Path) -> bytes | None:
    if f"{name}-data" in section:
        return base64.b64decode(section[f"{name}-data"])
    return (path.parent / section[name]).read_bytes() if name in section else None


def _context(ca: str | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=ca)
    # Python 3.13 turned on checks that many clusters' own CAs fail ("Missing Authority Key Identifier"),
    # see https://github.com/kubernetes-client/python/issues/2394.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context
