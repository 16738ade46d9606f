"""The way to the cluster for every command: the official client with the user's kubeconfig, and plain calls on plain dicts.

The client's own models are left aside: our kinds have types already, and what is printed is what the server sent. Importing the client
costs a quarter of a second, so it happens when a command connects, and never for ``roadstead operator`` or ``--help``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from urllib.parse import quote

import orjson

from roadstead import __version__
from roadstead.cli.failure import FIELD_MANAGER, Failure, fail, sentence
from roadstead.cli.output import note, printable
from roadstead.kube.errors import ApiError, Unreachable, error_of_response
from roadstead.kube.resource import Body, Resource

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse, PoolManager

SERVICE_ACCOUNT_NAMESPACE: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
APPLY: Final = "application/apply-patch+yaml"
MERGE: Final = "application/merge-patch+json"
JSON: Final = "application/json"
TABLE: Final = "application/json;as=Table;v=v1;g=meta.k8s.io"
CONNECT_SECONDS: Final = 10.0
ANSWER_SECONDS: Final = 60.0
PAGE: Final = 500
LIST_TRIES: Final = 3
Query: TypeAlias = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Cluster:
    """An API server as one person reaches it. Its calls raise ApiError."""

    client: Any
    """The official client's ApiClient, which carries no types."""
    namespace: str
    """The one to act in: --namespace, else the context's."""

    @property
    def server(self) -> str:
        """The address, for messages."""
        return str(self.client.configuration.host)

    def get(self, path: str, query: Query | None = None, *, accept: str = JSON, silence_seconds: float = ANSWER_SECONDS) -> Body:
        """The answer to a GET."""
        return _parsed(self.open("GET", path, query, headers={"Accept": accept}, silence_seconds=silence_seconds))

    def pages(self, path: str, query: Query, *, accept: str = JSON) -> Iterator[Body]:
        """A consistent list, in answers of at most 500 items."""
        asked = {**query, "limit": str(PAGE)}
        while True:
            page = self.get(path, asked, accept=accept)
            yield page
            asked["continue"] = page["metadata"].get("continue", "")
            if not asked["continue"]:
                return

    def items(self, resource: Resource, namespace: str | None, query: Query | None = None) -> list[Body]:
        """All objects of a kind in a namespace (None: in all), each with the ``apiVersion`` and ``kind`` that lists leave out."""
        found = [item for page in self.pages(path_of(resource, namespace), query or {}) for item in page.get("items") or ()]
        return [{"apiVersion": resource.api_version, "kind": resource.kind, **item} for item in found]

    def post(self, path: str, body: Body, query: Query | None = None) -> Body:
        """The answer to a POST."""
        return self._json("POST", path, query, headers={"Content-Type": JSON}, body=body)

    def apply(
        self, path: str, body: Body, *, manager: str = FIELD_MANAGER, force: bool = False, strict: bool = False, dry_run: bool = False
    ) -> tuple[Body, bool]:
        """Server-side apply; the object as it is now, and whether it was made by this. ``strict``: unknown fields are refused."""
        query = {"fieldManager": manager, "force": str(force).lower()}
        query |= {"fieldValidation": "Strict"} if strict else {}
        query |= {"dryRun": "All"} if dry_run else {}
        answer = self.open("PATCH", path, query, headers={"Content-Type": APPLY}, body=body)
        return _parsed(answer), answer.status == 201

    def merge(self, path: str, body: Body) -> Body:
        """A merge patch; the object as it is now."""
        return self._json("PATCH", path, {"fieldManager": FIELD_MANAGER}, headers={"Content-Type": MERGE}, body=body)

    def delete(self, path: str) -> None:
        """Delete an object for good."""
        self._json("DELETE", path, None, headers={"Content-Type": JSON}, body={"propagationPolicy": "Background"})

    def lines(self, path: str, query: Query, *, silence_seconds: float | None, accept: str = JSON) -> Iterator[bytes]:
        """A streamed answer line by line, until it ends or nothing has come for so long (None: however long)."""
        answer = self.open("GET", path, query, headers={"Accept": accept}, silence_seconds=silence_seconds)
        rest = b""
        for chunk in chunks(answer):
            *whole, rest = (rest + chunk).split(b"\n")
            yield from whole
        if rest:
            yield rest

    def open(
        self,
        method: str,
        path: str,
        query: Query | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        body: Body | bytes | None = None,
        silence_seconds: float | None = ANSWER_SECONDS,
        refusals: bool = True,
    ) -> BaseHTTPResponse:
        """The answer, its body not read yet. ``refusals``: answers of 400 and above are raised as ApiError."""
        _, url, full_headers, _, _ = self.client.param_serialize(
            method,
            path,
            query_params=list((query or {}).items()),
            header_params=dict(headers or {}),
            auth_settings=["BearerToken"],
        )
        content = orjson.dumps(body) if isinstance(body, dict) else body
        answer = send(self.client.rest_client.pool_manager, method, url, full_headers, content, silence_seconds)
        if refusals and answer.status >= 400:
            raise error_of_response(answer.status, answer.headers, b"".join(chunks(answer)))
        for warning in answer.headers.getlist("Warning"):
            note(f"Warning: {printable(warning.partition(' ')[2].partition(' ')[2].strip(chr(34)) or warning)}")
        return answer

    def _json(self, method: str, path: str, query: Query | None, *, headers: Mapping[str, str], body: Body | bytes | None = None) -> Body:
        return _parsed(self.open(method, path, query, headers=headers, body=body))

    def token(self) -> str | None:
        """The bearer token in use; None where a certificate (or nothing) identifies the user."""
        configuration = self.client.configuration
        entry = configuration.auth_settings().get("BearerToken")
        scheme, _, token = str(entry["value"] if entry else "").partition(" ")
        return token if scheme.lower() == "bearer" and token else None


def path_of(resource: Resource, namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
    """The URL path; what a user typed as a name can't lead elsewhere. Raises Failure for what would mean the whole collection."""
    for typed in (namespace, name):
        if typed in ("", ".", ".."):
            raise Failure(f"{typed!r} can't be a name; write the object's own, as `roadstead get` lists it.")
    quoted = None if name is None else quote(name, safe="")
    return resource.path(None if namespace is None else quote(namespace, safe=""), quoted, subresource)


@contextmanager
def connected(kubeconfig: Path | None, context: str | None, namespace: str | None = None) -> Iterator[Cluster]:
    """The cluster; whatever fails in the block is told in a sentence and ends the command with its exit code."""
    try:
        cluster = connect(kubeconfig, context, namespace)
    except Failure as failure:
        fail(str(failure), failure.code)
    try:
        yield cluster
    except ApiError as error:
        fail(sentence(error, cluster.server))
    except Failure as failure:
        fail(str(failure), failure.code)
    finally:
        cluster.client.close()


def connect(kubeconfig: Path | None, context: str | None, namespace: str | None) -> Cluster:
    """Read the kubeconfig as kubectl does; without any, use the pod's service account. Raises Failure."""
    from kubernetes.client import ApiClient, Configuration  # noqa: PLC0415
    from kubernetes.config import ConfigException, load_incluster_config  # noqa: PLC0415

    configuration = Configuration()
    files = [kubeconfig] if kubeconfig is not None else _default_files()
    in_pod = kubeconfig is None and context is None and not any(file.exists() for file in files) and "KUBERNETES_SERVICE_HOST" in os.environ
    own = "default"
    try:
        if in_pod:
            load_incluster_config(client_configuration=configuration)
            with suppress(OSError):
                own = SERVICE_ACCOUNT_NAMESPACE.read_text().strip()
        else:
            own = _load(configuration, files, context)
    except (ConfigException, OSError, ValueError) as error:
        raise Failure(f"The cluster can't be reached: {error}") from error
    client = ApiClient(configuration)
    client.user_agent = f"roadstead-cli/{__version__}"
    _relax(client)
    return Cluster(client, namespace or own)


def _default_files() -> list[Path]:
    if listed := [Path(part) for part in os.environ.get("KUBECONFIG", "").split(os.pathsep) if part]:
        return listed
    with suppress(RuntimeError):  # neither $HOME nor an entry in /etc/passwd, as in our image: so there is no such file
        return [Path.home() / ".kube" / "config"]
    return []


def _load(configuration: Any, files: Sequence[Path], context: str | None) -> str:
    """Fill the client's configuration from kubeconfig files; returns the context's namespace."""
    import yaml  # noqa: PLC0415
    from kubernetes.config import ConfigException  # noqa: PLC0415
    from kubernetes.config.kube_config import KubeConfigLoader, KubeConfigMerger  # noqa: PLC0415

    listed = os.pathsep.join(map(str, files))
    if not any(file.exists() for file in files):
        raise ConfigException(f"{listed or '~/.kube/config'} does not exist; name a kubeconfig with --kubeconfig or in $KUBECONFIG")
    try:
        merged = KubeConfigMerger(listed)
        if merged.config is None:
            raise ConfigException("it is empty")
        loader = KubeConfigLoader(merged.config, active_context=context, config_base_path=None, config_persister=merged.save_changes)
        loader.load_and_set(configuration)
    except (ConfigException, yaml.YAMLError, TypeError, AttributeError) as error:
        # The last two are what the loader makes of a file that isn't a kubeconfig at all.
        raise ConfigException(f"{listed}: {error}; `kubectl config get-contexts` lists the contexts") from error
    return str(loader.current_context["context"].get("namespace") or "default")


def _relax(client: Any) -> None:
    """Python 3.13 turned on checks that many clusters' own CAs fail ("Missing Authority Key Identifier"),
    see https://github.com/kubernetes-client/python/issues/2394; the client has no setting for it."""
    import ssl  # noqa: PLC0415

    from urllib3 import disable_warnings  # noqa: PLC0415
    from urllib3.util.ssl_ import create_urllib3_context  # noqa: PLC0415

    verified = client.configuration.verify_ssl
    if not verified:
        disable_warnings()  # who wrote insecure-skip-tls-verify knows; urllib3 would say so at every request
    context = create_urllib3_context(cert_reqs=ssl.CERT_REQUIRED if verified else ssl.CERT_NONE)
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    client.rest_client.pool_manager.connection_pool_kw["ssl_context"] = context


def send(
    pool: PoolManager, method: str, url: str, headers: Mapping[str, str], body: bytes | None, silence_seconds: float | None
) -> BaseHTTPResponse:
    """One request; the answer's body is not read yet. Raises Unreachable.

    Sent by the client's own pool, but not by its ``call_api``: that encodes any body of type JSON once more.
    """
    from urllib3 import Timeout  # noqa: PLC0415
    from urllib3.exceptions import HTTPError  # noqa: PLC0415

    patience = Timeout(connect=min(CONNECT_SECONDS, silence_seconds or CONNECT_SECONDS), read=silence_seconds)
    try:
        return pool.urlopen(method, url, headers=headers, body=body, timeout=patience, retries=False, redirect=False, preload_content=False)
    except HTTPError as error:
        raise Unreachable(_cause(error)) from error


def chunks(answer: BaseHTTPResponse) -> Iterator[bytes]:
    """The body as it comes in. Raises Unreachable where it breaks off."""
    from urllib3.exceptions import HTTPError  # noqa: PLC0415

    try:
        while chunk := answer.read1(65536, decode_content=True):
            yield chunk
    except HTTPError as error:
        raise Unreachable(_cause(error)) from error
    finally:
        answer.close()


def _parsed(answer: BaseHTTPResponse) -> Body:
    try:
        body = orjson.loads(b"".join(chunks(answer)))
    except orjson.JSONDecodeError as error:
        raise Unreachable("what answers there is not a Kubernetes API server (no JSON)") from error
    if not isinstance(body, dict):
        raise Unreachable("what answers there is not a Kubernetes API server (no object)")
    return body


def _cause(error: Exception) -> str:
    """The innermost words of a failure: urllib3 wraps them in the names of its objects."""
    inner: BaseException = error
    while (deeper := getattr(inner, "reason", None) or inner.__cause__) is not None and isinstance(deeper, BaseException):
        inner = deeper
    text = str(inner)
    return text.rpartition(">: ")[2] or type(inner).__name__
