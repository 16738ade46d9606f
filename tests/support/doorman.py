"""A registry in front of the cluster's own, at an address of this machine that the node reaches: it asks for a login, or isn't up yet."""

from __future__ import annotations

import base64
import http.client
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from hack.cluster import beside
from hack.cluster.full import FullCluster

USER, PASSWORD = "tests", "anchor"
LOGIN = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()


class Doorman:
    """``open`` makes it answer. With ``login`` it passes on only what bears the tests' user and password."""

    def __init__(self, cluster: FullCluster, *, login: bool) -> None:
        host = beside.address(cluster)
        with socket.socket() as probe:
            probe.bind((host, 0))
            port = probe.getsockname()[1]
        self.address = f"{host}:{port}"
        self._behind = cluster.registry
        self._login = login
        self._server: ThreadingHTTPServer | None = None
        folder = cluster.state / "registries" / self.address
        folder.mkdir()
        url = f"http://{self.address}"
        (folder / "hosts.toml").write_text(f'server = "{url}"\n[host."{url}"]\n  capabilities = ["pull", "resolve"]\n')

    def open(self) -> None:
        """Listen from now on."""
        host, port = self.address.split(":")
        self._server = ThreadingHTTPServer((host, int(port)), self._handler())
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Listen no more."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()

    def pull_secret(self, name: str) -> dict[str, Any]:
        """A Secret to pull images with."""
        data = {".dockerconfigjson": json.dumps({"auths": {self.address: {"auth": LOGIN}}})}
        kind = "kubernetes.io/dockerconfigjson"
        return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "type": kind, "stringData": data}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        behind, login = self._behind, self._login

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                if login and self.headers.get("Authorization") != f"Basic {LOGIN}":
                    self.send_response(401)
                    self.send_header("WWW-Authenticate", 'Basic realm="tests"')
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                connection = http.client.HTTPConnection(behind, timeout=60)
                with closing(connection):
                    connection.request(self.command, self.path, headers={"Accept": ", ".join(self.headers.get_all("Accept", ["*/*"]))})
                    answer = connection.getresponse()
                    self.send_response(answer.status)
                    for name in ("Content-Type", "Content-Length", "Docker-Content-Digest"):
                        if (value := answer.headers.get(name)) is not None:
                            self.send_header(name, value)
                    self.end_headers()
                    self.wfile.write(answer.read())

            do_HEAD = do_GET  # noqa: N815

            def log_message(self, format: str, *args: object) -> None:
                pass

        return Handler


@contextmanager
def doorman(cluster: FullCluster, *, login: bool, is_open: bool) -> Iterator[Doorman]:
    """A registry for the length of the block; one that isn't open refuses connections until it is opened."""
    made = Doorman(cluster, login=login)
    try:
        if is_open:
            made.open()
        yield made
    finally:
        made.close()
