"""The API server's verdict on an object: a server-side apply over one kept-alive connection, a few milliseconds each."""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import yaml
from pydantic import BaseModel

from roadstead.api.crd import DEFINITIONS

Body = dict[str, Any]
MODELS: dict[str, type[BaseModel]] = {kind.model.__name__: kind.model for kind in DEFINITIONS}
PLURALS = {kind.model.__name__: kind.plural for kind in DEFINITIONS}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the API server said: ``causes`` are (field, message), ``message`` is what kubectl prints for a refusal without causes."""

    code: int
    message: str
    causes: tuple[tuple[str, str], ...]
    body: Body

    @property
    def accepted(self) -> bool:
        return self.code < 300

    def __str__(self) -> str:
        return "\n".join(f"{field}: {message}" for field, message in self.causes) or f"{self.code} {self.message}"


class Server:
    """The administrator's connection to a cluster, in one namespace."""

    def __init__(self, kubeconfig: Path, namespace: str) -> None:
        config = yaml.safe_load(kubeconfig.read_text())
        user, cluster = config["users"][0]["user"], config["clusters"][0]["cluster"]
        with tempfile.TemporaryDirectory() as folder:
            context = ssl.create_default_context(cafile=str(_file(cluster, "certificate-authority", folder)))
            context.load_cert_chain(_file(user, "client-certificate", folder), _file(user, "client-key", folder))
        parts = urlsplit(cluster["server"])
        self._connection = http.client.HTTPSConnection(parts.hostname or "", parts.port, timeout=30, context=context)
        self.namespace = namespace

    def apply(self, body: Body, *, dry_run: bool = True, status: bool = False) -> Verdict:
        """Server-side apply of the object, or of its status alone."""
        kind = body["kind"]
        sent = {key: value for key, value in body.items() if key != ("spec" if status else "status")}
        query = {"fieldManager": "kubectl", "force": "true", "fieldValidation": "Strict", **({"dryRun": "All"} if dry_run else {})}
        return self._call("PATCH", self._path(kind, body["metadata"]["name"], status) + "?" + urlencode(query), sent)

    def create(self, body: Body, *, dry_run: bool = True) -> Verdict:
        """A POST as REST clients make it."""
        path = self._path(body["kind"], "", False).rstrip("/")
        return self._call("POST", path + "?fieldValidation=Strict" + ("&dryRun=All" if dry_run else ""), body)

    def delete(self, body: Body) -> None:
        self._call("DELETE", self._path(body["kind"], body["metadata"]["name"], False), None)

    def close(self) -> None:
        self._connection.close()

    def _path(self, kind: str, name: str, status: bool) -> str:
        scope = "" if kind == "Platform" else f"/namespaces/{self.namespace}"
        return f"/apis/roadstead.dev/v1alpha1{scope}/{PLURALS[kind]}/{name}" + ("/status" if status else "")

    def _call(self, method: str, path: str, body: Body | None) -> Verdict:
        kind = "application/apply-patch+yaml" if method == "PATCH" else "application/json"
        self._connection.request(method, path, None if body is None else json.dumps(body), {"Content-Type": kind})
        answer = self._connection.getresponse()
        said = json.loads(answer.read())
        if answer.status < 300:
            return Verdict(answer.status, "", (), said)
        causes = said.get("details", {}).get("causes", ())
        found = tuple((cause.get("field", ""), cause.get("message", "")) for cause in causes)
        return Verdict(answer.status, said.get("message", ""), found, said)


def _file(entry: Body, name: str, folder: str) -> Path:
    """A certificate or key of a kubeconfig as a file, whether it is named or written out there."""
    if name in entry:
        return Path(entry[name])
    path = Path(folder) / name
    path.write_bytes(base64.b64decode(entry[f"{name}-data"]))
    return path
