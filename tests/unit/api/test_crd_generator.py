"""The generator: what it makes of types, what it refuses, and that the committed files are what it makes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import yaml
from pydantic import BaseModel, Field

from roadstead.api.base import Model, Quantity, cel, keyed, ruled, text
from roadstead.api.crd import DEFINITIONS, HEADER, Definition, NoStructuralFormError, definition, documents, main, schema

ROOT = Path(__file__).parent.parent.parent.parent
LIMIT = 262_144
"""Bytes of the last-applied annotation: larger CRDs can't be applied by a plain `kubectl apply`."""
BOUNDED = {"string": ("maxLength", "enum", "format"), "array": ("maxItems",), "integer": ("format",), "number": ("maximum",)}
Body = dict[str, Any]


def places(node: Body, path: str = "") -> Iterator[tuple[str, Body]]:
    yield path, node
    for name, inner in node.get("properties", {}).items():
        yield from places(inner, f"{path}.{name}")
    if "items" in node:
        yield from places(node["items"], path + "[]")
    if isinstance(node.get("additionalProperties"), dict):
        yield from places(node["additionalProperties"], path + "{}")


def root(kind: Definition) -> Body:
    found: Body = definition(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return found


each_kind = pytest.mark.parametrize("kind", DEFINITIONS, ids=lambda kind: kind.plural)


@pytest.mark.parametrize("folder", ["crds", "charts/roadstead/crds", "operator/roadstead/crds"])
def test_what_is_committed_is_what_the_types_say(folder: str) -> None:
    committed = {path.name: path.read_text() for path in (ROOT / folder).glob("*.yaml")}
    assert committed == documents(), "run `make generate`"


def test_it_writes_the_same_into_every_folder_and_removes_what_it_no_longer_makes(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "roadstead.dev_gone.yaml").write_text(HEADER + "kind: Gone")
    (tmp_path / "a" / "values.yaml").write_text("theirs: true")
    main([str(tmp_path / "a"), str(tmp_path / "b")])
    assert {path.name for path in (tmp_path / "a").iterdir()} == {*documents(), "values.yaml"}
    assert {path.name: path.read_text() for path in (tmp_path / "b").iterdir()} == documents()


def test_without_a_folder_it_says_how_it_is_called() -> None:
    with pytest.raises(SystemExit, match="usage"):
        main([])


@each_kind
def test_a_crd_is_small_enough_for_every_way_to_apply_it(kind: Definition) -> None:
    text_ = documents()[f"roadstead.dev_{kind.plural}.yaml"]
    assert text_.startswith("# Generated")
    assert len(text_.encode()) < LIMIT
    assert len(json.dumps(definition(kind)).encode()) < LIMIT
    assert yaml.safe_load(text_) == definition(kind)


@each_kind
def test_every_field_has_a_description(kind: Definition) -> None:
    bare = [
        path
        for path, node in places(root(kind))
        if path and not path.endswith(("[]", "{}")) and path != ".metadata" and not node.get("description", "").endswith(".")
    ]
    assert bare == []


@each_kind
def test_everything_is_bounded(kind: Definition) -> None:
    """CEL's budget is reckoned from these bounds, and etcd's limit is kept by them."""
    loose = [
        path
        for path, node in places(root(kind))
        if (
            path.startswith((".spec", ".status"))
            and node.get("type") in BOUNDED
            and not any(bound in node for bound in BOUNDED[node["type"]])
        )
        or ("additionalProperties" in node and "maxProperties" not in node)
        or (node.get("x-kubernetes-int-or-string") and "maxLength" not in node)
    ]
    assert loose == []


@each_kind
def test_lists_say_how_they_are_merged_and_their_keys_exist(kind: Definition) -> None:
    for path, node in places(root(kind)):
        if node.get("type") == "array":
            assert node["x-kubernetes-list-type"] in ("atomic", "map", "set"), path
            keys = node.get("x-kubernetes-list-map-keys", [])
            assert set(keys) <= set(node["items"].get("required", ())), path
            assert (node["x-kubernetes-list-type"] == "map") == bool(keys), path


@each_kind
def test_every_rule_says_what_is_wrong(kind: Definition) -> None:
    for path, node in places(root(kind)):
        for rule in node.get("x-kubernetes-validations", ()):
            assert ("message" in rule) != ("messageExpression" in rule), path
            assert len(rule.get("message", "long enough anyway")) > 15, path


@each_kind
def test_containers_are_atomic_and_nothing_a_client_left_out_is_filled_in(kind: Definition) -> None:
    for path, node in places(root(kind)):
        if path.endswith(".containers"):
            assert node["x-kubernetes-list-type"] == "atomic"
        if ".containerGroups" in path:
            assert "default" not in node, path


@each_kind
def test_names_of_the_kind(kind: Definition) -> None:
    spec = definition(kind)["spec"]
    assert spec["names"]["categories"] == ["roadstead"]
    assert spec["scope"] == ("Cluster" if kind.plural == "platforms" else "Namespaced")
    assert spec["versions"][0]["subresources"]["status"] == {}
    assert ("scale" in spec["versions"][0]["subresources"]) == (kind.plural == "workloads")


# --- the making of a schema


class Inner(Model):
    model_config = ruled(cel("self.a > 0", "inner rule"))

    a: int = Field(description="An int.")


class Everything(Model):
    """All that has a structural form."""

    optional: str | None = None
    inner: Inner | None = Field(None, description="From outside.")
    number: Annotated[float, Field(gt=0, lt=5)] = 1
    one: Literal["a"] = "a"
    quantity: Quantity | None = None
    matched: Annotated[str, text("^a$", "must be a", 5)] = "a"
    mapping: Annotated[dict[str, str], Field(max_length=3)] | None = None
    items: Annotated[tuple[Inner, ...], Field(max_length=4, json_schema_extra=keyed("a"))] = ()
    big: Annotated[int, Field(json_schema_extra={"format": "int64"})] | None = None


def test_structural_forms() -> None:
    properties = schema(Everything)["properties"]
    assert properties["optional"] == {"type": "string"}
    assert properties["inner"]["description"] == "From outside."
    assert properties["inner"]["x-kubernetes-validations"] == [{"rule": "self.a > 0", "message": "inner rule"}]
    assert properties["inner"]["properties"]["a"] == {"type": "integer", "format": "int32", "description": "An int."}
    assert properties["number"] == {
        "type": "number",
        "default": 1,
        "minimum": 0,
        "exclusiveMinimum": True,
        "maximum": 5,
        "exclusiveMaximum": True,
    }
    assert properties["one"] == {"type": "string", "default": "a", "enum": ["a"]}
    assert properties["quantity"]["x-kubernetes-int-or-string"] is True
    assert properties["quantity"]["maxLength"] == 32
    assert "type" not in properties["quantity"]
    assert "pattern" not in properties["matched"]
    assert properties["matched"]["x-kubernetes-validations"] == [{"rule": "self.matches(r'^a$')", "message": "must be a"}]
    assert properties["mapping"] == {"type": "object", "maxProperties": 3, "additionalProperties": {"type": "string"}}
    assert properties["items"]["x-kubernetes-list-map-keys"] == ["a"]
    assert "default" not in properties["items"]
    assert properties["big"]["format"] == "int64"
    assert "required" not in schema(Everything)


class Union(BaseModel):
    value: int | bool


class Fixed(BaseModel):
    value: tuple[int, str]


class Either(BaseModel):
    value: Annotated[Inner | Everything, Field()]


class Recursive(BaseModel):
    value: Recursive | None = None


@pytest.mark.parametrize("model", [Union, Fixed, Either, Recursive])
def test_what_has_no_structural_form_is_refused(model: type[BaseModel]) -> None:
    with pytest.raises(NoStructuralFormError):
        schema(model)
