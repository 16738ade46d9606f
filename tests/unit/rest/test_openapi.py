"""The OpenAPI document: valid, whole, good for generated clients, and the one that is written down in docs/openapi.yaml."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import httpx
import jsonschema_rs
import pytest
import yaml
from fastapi import FastAPI
from schemathesis.specs.openapi.definitions import OPENAPI_31_VALIDATOR

from roadstead.rest import openapi
from roadstead.rest.app import document
from tests.clusters import ROOT

Body = dict[str, Any]


@pytest.fixture(scope="module")
def api() -> Body:
    return document()


def operations(api: Body) -> Iterator[tuple[str, str, Body]]:
    for path, methods in api["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def parts(value: Any) -> Iterator[Body]:
    """All objects in a document."""
    if isinstance(value, dict):
        yield value
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from parts(part)


def resolved(api: Body, part: Body) -> Body:
    found: Any = api
    for step in part.get("$ref", "#").split("/")[1:]:
        found = found[step]
    return part if "$ref" not in part else found


def test_it_is_the_one_written_down(api: Body) -> None:
    assert yaml.safe_load((ROOT / "docs" / "openapi.yaml").read_text()) == api, "make generate writes docs/openapi.yaml anew"


def test_it_is_valid_openapi_3_1(api: Body) -> None:
    assert api["openapi"].startswith("3.1.")
    assert [str(error) for error in OPENAPI_31_VALIDATOR.iter_errors(api)] == []
    for name, schema in api["components"]["schemas"].items():
        jsonschema_rs.meta.validate(schema)
        assert not name.startswith("_")


def test_every_reference_leads_somewhere_and_nothing_lies_around(api: Body) -> None:
    references = {part["$ref"] for part in parts(api) if isinstance(part.get("$ref"), str)}
    for reference in references:
        assert resolved(api, {"$ref": reference})
    there = {f"#/components/{kind}/{name}" for kind in ("schemas", "responses", "parameters") for name in api["components"][kind]}
    assert there == references


def test_each_path_has_one_form(api: Body) -> None:
    bare = [path.rstrip("/") for path in api["paths"]]
    assert len(bare) == len(set(bare))


def test_names_for_generated_clients(api: Body) -> None:
    names = [operation["operationId"] for *_, operation in operations(api)]
    assert len(names) == len(set(names))
    assert all(re.fullmatch(r"(create|list|get|replace|update|delete|start|stop)[A-Z][A-Za-z]+", name) for name in names), names
    described = {tag["name"] for tag in api["tags"]}
    for path, method, operation in operations(api):
        assert operation["summary"], (method, path)
        assert set(operation["tags"]) <= described, (method, path)


def test_every_code_that_can_come_is_there_with_its_body(api: Body) -> None:
    for path, method, operation in operations(api):
        where = f"{method} {path}"
        codes = set(operation["responses"])
        if operation.get("security") == []:
            assert codes == {"200"}, where
            continue
        assert codes >= {"401", "429", "500", "503"}, where
        if "{id}" in path:
            assert codes >= {"400", "404"}, where
        if method != "get":
            assert "403" in codes, where
        if "requestBody" in operation:
            assert codes >= {"400", "413", "422"}, where
        for code, response in operation["responses"].items():
            answer = resolved(api, response)
            assert answer["description"], where
            assert ("content" in answer) == (code != "204"), (where, code)
            assert "X-Request-ID" in answer["headers"], (where, code)
            assert ("Retry-After" in answer["headers"]) == (code in ("429", "503")), (where, code)


def test_examples_are_what_they_are_examples_of(api: Body) -> None:
    """Of every body, every answer that isn't a page, and every trouble."""
    given = []
    for part in parts(api):
        if "schema" in part and "example" in part:
            given.append((part["schema"], part["example"]))
    for schema in api["components"]["schemas"].values():
        given.extend((schema, example) for example in schema.get("examples", ()))
    for schema, example in given:
        assert jsonschema_rs.validator_for({**schema, "components": api["components"]}).is_valid(example), example
    bodies = [operation["requestBody"]["content"]["application/json"] for *_, operation in operations(api) if "requestBody" in operation]
    assert sum("example" not in body for body in bodies) == 2, "start and stop have none"
    assert all("example" in answer["content"]["application/json"] for answer in api["components"]["responses"].values())
    assert all("examples" in api["components"]["schemas"][f"{kind}Formatted"] for kind in ("Workload", "Artifact", "Deployment"))


def test_links_lead_from_what_was_made_to_all_about_it(api: Body) -> None:
    by_id = {operation["operationId"]: (path, operation) for path, _, operation in operations(api)}
    for path, method, operation in operations(api):
        if "201" not in operation["responses"]:
            continue
        links = operation["responses"]["201"]["links"]
        about_one = {name for name, (other, _) in by_id.items() if other.startswith(path) and other != path}
        assert links.keys() >= about_one, (method, path)
        for link in links.values():
            assert link["operationId"] in by_id
    assert "createWorkload" in by_id["createArtifact"][1]["responses"]["201"]["links"]
    assert "createDeployment" in by_id["createWorkload"][1]["responses"]["201"]["links"]


def test_rules_of_the_crds_are_told_in_words(api: Body) -> None:
    schemas = api["components"]["schemas"]
    assert "replicaCount cannot be set while autoscaling is enabled" in schemas["Runtime"]["description"]
    assert "header names may hold letters, digits and '-' only" in schemas["Probe"]["properties"]["httpHeaders"]["description"]
    assert not any(str(name).startswith("x-kubernetes-") for part in parts(api) for name in part)


@pytest.mark.parametrize("slash", ["", "/"])
async def test_it_is_served_in_both_forms_and_as_a_page_that_needs_nothing_from_elsewhere(api: Body, slash: str) -> None:
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
    app.include_router(openapi.routes(api), prefix="/api/v2")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api/api/v2") as client:
        as_json, as_yaml, page = [await client.get(f"/{name}{slash}") for name in ("openapi.json", "openapi.yaml", "docs")]
    assert as_json.json() == api
    assert yaml.safe_load(as_yaml.text) == api
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    assert page.headers["content-security-policy"].startswith("default-src 'none';")
    assert "http" not in page.headers["content-security-policy"]
    assert re.findall(r"https?://|@import|\burl\(|src=|<link", page.text) == []
