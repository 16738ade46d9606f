"""The OpenAPI document of exactly this API, and the page that shows it without the internet."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import resources
from typing import Any, Final

import orjson
import yaml
from fastapi import FastAPI, Response
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from roadstead.rest.idempotency import HEADER as IDEMPOTENCY_KEY
from roadstead.rest.idempotency import LONGEST_KEY
from roadstead.rest.links import add_links
from roadstead.rest.namespaces import HEADER as NAMESPACE
from roadstead.rest.routing import JSON, Router

TITLE: Final = "Workload API"
DESCRIPTION: Final = (
    "Runs containerised AI services on a Kubernetes cluster. An **artifact** is what runs, a **workload** how it runs, "
    "and a **deployment** the stable endpoint under which it is served. All of them are custom resources of the cluster: "
    "`kubectl`, GitOps and this API see the same objects.\n\n"
    "Every call but those for this document carries `Authorization: Bearer <token>`: any token that the cluster itself accepts. "
    "What its owner may do is decided by Kubernetes RBAC."
)
TAGS: Final = {
    "Workloads": "How something runs: how many replicas, or between which limits they are scaled; started, stopped, and how it goes.",
    "Artifacts": "What runs: containers, their resources, probes and environment. A draft may change, a registered one can't.",
    "Deployments": "Under which stable address a workload is served, and how important it is.",
    "Platform": "What this cluster offers.",
}
DONE: Final = {"200": "As asked for.", "201": "What has been made.", "202": "The wish has been noted.", "204": "Deleted."}
TROUBLES: Final = {
    "400": "Malformed",
    "401": "Unauthorized",
    "403": "Forbidden",
    "404": "NotFound",
    "413": "TooLarge",
    "422": "Refused",
    "429": "TooManyRequests",
    "500": "Defect",
    "503": "Unavailable",
}
HEADERS: Final[dict[str, dict[str, Any]]] = {
    NAMESPACE: {
        "name": NAMESPACE,
        "in": "header",
        "required": False,
        "description": "Namespace of the new object. Absent: that of what it refers to, else the service account's own, else the default.",
        "schema": {"type": "string", "pattern": "^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"},
    },
    IDEMPOTENCY_KEY: {
        "name": IDEMPOTENCY_KEY,
        "in": "header",
        "required": False,
        "description": "Any text that no other request bears: a repetition of this very request then makes nothing new.",
        "schema": {"type": "string", "minLength": 1, "maxLength": LONGEST_KEY, "pattern": "^[!-~]+$"},
    },
}


def document(app: FastAPI, bodies: Iterable[type[BaseModel]], version: str) -> dict[str, Any]:
    """As JSON. ``bodies`` are the models of request bodies, which the routes only refer to."""
    found = get_openapi(title=TITLE, version=version, openapi_version="3.1.0", description=DESCRIPTION, routes=app.routes)
    _, schemas = models_json_schema([(model, "validation") for model in bodies], ref_template="#/components/schemas/{model}")
    components = found.setdefault("components", {})
    components.setdefault("schemas", {}).update(schemas["$defs"])
    for unused in ("HTTPValidationError", "ValidationError"):
        components["schemas"].pop(unused, None)
    components["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer"}}
    found["security"] = [{"bearer": []}]
    for operations in found["paths"].values():
        for method, operation in operations.items():
            if "401" not in operation["responses"]:
                operation["security"] = []
            if method == "post" and "201" in operation["responses"]:
                operation.setdefault("parameters", []).extend({"$ref": f"#/components/parameters/{name}"} for name in HEADERS)
            _described(operation)
    components["parameters"] = HEADERS
    components["responses"] = _shared(found["paths"])
    add_links(found["paths"])
    found["tags"] = [{"name": name, "description": text} for name, text in TAGS.items()]
    found["servers"] = [{"url": "/", "description": "Where this document comes from."}]
    _strip(found["paths"])
    _strip(components)
    return found


def _described(operation: dict[str, Any]) -> None:
    """Every answer carries the request's id. FastAPI adds a 422 of its own form to whatever has a parameter; an id gets 400 here."""
    answers = operation["responses"]
    if "HTTPValidationError" in str(answers.get("422")):
        del answers["422"]
    for code, response in answers.items():
        response["description"] = DONE.get(code, response["description"])
        headers = response.setdefault("headers", {})
        headers["X-Request-ID"] = {"description": "Id of the request, as it stands in the log.", "schema": {"type": "string"}}


def _shared(paths: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Answers that say the same on all routes, to be referred to: what goes wrong is told once. Takes their place in ``paths``."""
    shared: dict[str, Any] = {}
    for operations in paths.values():
        for operation in operations.values():
            for code, response in operation["responses"].items():
                if code in TROUBLES:
                    name = TROUBLES[code]
                    if shared.setdefault(name, response) == response:
                        operation["responses"][code] = {"$ref": f"#/components/responses/{name}"}
    return shared


def _strip(part: Any) -> None:
    """What is said to Kubernetes alone, and titles, which only repeat the names. Rules that no JSON Schema can say are told in words."""
    match part:
        case dict():
            if rules := _rules(part):
                part["description"] = "\n\n".join([*filter(None, [part.get("description")]), *(f"Rule: {rule}." for rule in rules)])
            for name, value in list(part.items()):
                if str(name).startswith("x-kubernetes-") or (name == "title" and isinstance(value, str)):
                    del part[name]
            for value in part.values():
                _strip(value)
        case list():
            for value in part:
                _strip(value)


def _rules(schema: dict[str, Any]) -> list[str]:
    """Takes the sentences of a schema's CEL rules out of it, also of what it may be beside null."""
    own = [str(rule["message"]) for rule in schema.pop("x-kubernetes-validations", ()) if "message" in rule]
    return own + [sentence for option in schema.get("anyOf", ()) for sentence in _rules(option)]


def in_yaml(made: dict[str, Any]) -> str:
    """A document for people; nothing in it refers to another place by a YAML alias."""
    return yaml.dump(made, Dumper=_Plain, sort_keys=False, allow_unicode=True, width=120)


class _Plain(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def routes(made: dict[str, Any]) -> Router:
    """``openapi.json``, ``openapi.yaml`` and ``docs`` of that document."""
    as_json = orjson.dumps(made, option=orjson.OPT_INDENT_2)
    as_yaml = in_yaml(made)
    page = (resources.files("roadstead.rest") / "docs.html").read_bytes()
    router = Router(include_in_schema=False)

    @router.get("/openapi.json")
    async def json_document() -> Response:
        return Response(as_json, media_type=JSON)

    @router.get("/openapi.yaml")
    async def yaml_document() -> Response:
        return Response(as_yaml, media_type="application/yaml")

    @router.get("/docs")
    async def docs() -> Response:
        return Response(page, media_type="text/html", headers={"Content-Security-Policy": POLICY})

    return router


POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; img-src data:"
"""The page needs nothing from anywhere else."""
