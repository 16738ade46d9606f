"""A running cluster as its users see it, whichever tier runs it: a URL, kubeconfig files and kubectl."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import re
import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from hack.cluster import binaries
from hack.cluster.certificates import Authority, kubeconfig
from hack.cluster.console import ClusterError


@dataclass(slots=True)
class Cluster:
    """A cluster that answers at ``url``; ``kubeconfig`` makes its bearer the administrator."""

    kubeconfig: Path
    url: str
    ca_file: Path
    state: Path
    audit_log: Path | None

    def kubectl(self, *args: str, input: str | None = None, check: bool = True) -> str:
        """Run kubectl as administrator and return its standard output; raises ClusterError with its error text unless ``check`` is off."""
        command = [str(binaries.path_to(binaries.KUBERNETES, "kubectl")), "--kubeconfig", str(self.kubeconfig), *args]
        done = subprocess.run(command, input=input, capture_output=True, text=True, check=False)
        if check and done.returncode != 0:
            raise ClusterError(f"kubectl {' '.join(args)}: {done.stderr.strip()}")
        return done.stdout

    def client_kubeconfig(self, user: str, groups: tuple[str, ...] = ()) -> Path:
        """A kubeconfig with a client certificate of that user, for example ``system:serviceaccount:<namespace>:<name>``.

        A service account's groups have to be given too (``system:serviceaccounts``, ``system:serviceaccounts:<namespace>``) where rules
        are bound to them; the API server adds only ``system:authenticated``.
        """
        digest = hashlib.sha256("\0".join((user, *groups)).encode()).hexdigest()[:10]
        path = self.state / f"{re.sub(r'[^a-z0-9]+', '-', user.lower())}-{digest}.kubeconfig"
        if not path.exists():
            Authority(self.ca_file.parent).kubeconfig(path, self.url, user, groups)
        return path

    def account_kubeconfig(self, namespace: str, name: str) -> Path:
        """A kubeconfig with a new token of a service account, good for a day: what a pod of that account has.

        The account must exist. The API server keeps its verdict on a token for ten seconds, while it verifies a client certificate's
        signature at every request: some tenth of its CPU time where many small ones come.
        """
        token = self.kubectl("create", "token", name, "--namespace", namespace, "--duration=24h").strip()
        path = self.state / f"account-{namespace}-{name}.kubeconfig"
        document = kubeconfig(self.url, self.ca_file, f"system:serviceaccount:{namespace}:{name}", {"token": token})
        path.touch(mode=0o600)
        path.write_text(document)
        return path

    def ready(self) -> bool:
        """Whether the API server says it is ready, right now."""
        return https_status(self.url, "/readyz", self.ca_file) == 200


def https_status(url: str, path: str, ca_file: Path) -> int | None:
    """The HTTP status of a GET, or None when nobody with the right certificate answers."""
    parts = urlsplit(url)
    context = ssl.create_default_context(cafile=str(ca_file))
    connection = http.client.HTTPSConnection(parts.hostname or "", parts.port, timeout=2, context=context)
    with contextlib.closing(connection):
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return None
