"""Push an image to the cluster's registry over its HTTP API (https://distribution.github.io/distribution/spec/api/)."""

from __future__ import annotations

import http.client
from pathlib import Path
from urllib.parse import urlsplit

from hack.cluster.console import ClusterError
from hack.cluster.oci import Blob, Image


def push(image: Image, registry: str, repository: str) -> str:
    """Push what the registry doesn't have yet; returns the reference by digest, ``<registry>/<repository>@sha256:…``."""
    base = f"/v2/{repository}"
    for blob in image.blobs:
        if _request(registry, "HEAD", f"{base}/blobs/{blob.digest}").status != 200:
            _upload(registry, base, blob)
    manifest = image.manifest
    for reference in (manifest.digest, "latest"):
        answer = _request(registry, "PUT", f"{base}/manifests/{reference}", manifest.path, {"Content-Type": manifest.media_type})
        _expect(answer, 201, f"manifest of {repository}")
    return f"{registry}/{repository}@{manifest.digest}"


def answers(registry: str) -> bool:
    """Whether a registry answers there."""
    try:
        return _request(registry, "GET", "/v2/").status == 200
    except OSError:
        return False


def _upload(registry: str, base: str, blob: Blob) -> None:
    begun = _request(registry, "POST", f"{base}/blobs/uploads/")
    _expect(begun, 202, f"upload to {base}")
    location = urlsplit(begun.headers["Location"])
    target = f"{location.path}?{location.query}&digest={blob.digest}"
    finished = _request(registry, "PUT", target, blob.path, {"Content-Type": "application/octet-stream"})
    _expect(finished, 201, f"blob {blob.digest}")


def _request(
    registry: str, method: str, path: str, body: Path | None = None, headers: dict[str, str] | None = None
) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection(registry, timeout=60)
    try:
        if body is None:
            connection.request(method, path, headers=headers or {})
        else:
            with body.open("rb") as content:
                connection.request(method, path, content, {**(headers or {}), "Content-Length": str(body.stat().st_size)})
        answer = connection.getresponse()
        answer.read()
        return answer
    finally:
        connection.close()


def _expect(answer: http.client.HTTPResponse, status: int, what: str) -> None:
    if answer.status != status:
        raise ClusterError(f"The registry answered {answer.status} {answer.reason} to the {what}")
