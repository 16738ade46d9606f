"""Objects that have every field, the schema beside them, and small changes to them."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
ROOT = HERE.parent.parent.parent
Body = dict[str, Any]
Steps = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Node:
    """A place in an object that the schema says something about.

    ``variant`` names the full object, ``steps`` leads to the place in it, ``path`` is the same without positions: two elements of
    a list have the same path.
    """

    variant: str
    steps: Steps
    path: str
    schema: Body
    optional: bool

    def __str__(self) -> str:
        return f"{self.variant}{self.path}"


@cache
def load(name: str) -> Any:
    """One of the YAML files beside this module."""
    return yaml.safe_load((HERE / name).read_text())


@cache
def root_schema(kind: str) -> Body:
    """The schema of a kind, as committed in crds/."""
    crd = yaml.safe_load((ROOT / "crds" / f"roadstead.dev_{kind.lower()}s.yaml").read_text())
    schema: Body = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return schema


def full(variant: str) -> Body:
    """A fresh object with every field: artifact, workload, inline (a Workload with its artifact inline), deployment or platform."""
    if variant != "inline":
        body: Body = copy.deepcopy(load(f"full_{variant}.yaml"))
        return body
    body = full("workload")
    del body["spec"]["artifactRef"], body["status"]
    body["spec"]["artifact"] = {name: value for name, value in full("artifact")["spec"].items() if name != "deleted"}
    return body


VARIANTS = ("artifact", "workload", "inline", "deployment", "platform")


@cache
def nodes(variant: str) -> tuple[Node, ...]:
    """Every place of a full object once; of the inline variant only what the workload variant doesn't have."""
    body = full(variant)
    found: dict[str, Node] = {}
    for node in _walk(variant, root_schema(body["kind"]), body, (), "", optional=False):
        found.setdefault(node.path, node)
    if variant == "inline":
        found = {path: node for path, node in found.items() if path.startswith(".spec.artifact.") or path == ".spec.artifact"}
    return tuple(found.values())


def _walk(variant: str, schema: Body, value: Any, steps: Steps, path: str, *, optional: bool) -> Iterator[Node]:
    yield Node(variant, steps, path, schema, optional)
    if isinstance(value, list):
        for index, entry in enumerate(value):
            yield from _walk(variant, schema.get("items", {}), entry, (*steps, index), path + "[]", optional=True)
    elif isinstance(value, dict):
        required = schema.get("required", ())
        for name, entry in value.items():
            inner = schema.get("properties", {}).get(name)
            if inner is not None:
                yield from _walk(variant, inner, entry, (*steps, name), f"{path}.{name}", optional=name not in required)
            elif isinstance(schema.get("additionalProperties"), dict):
                yield from _walk(variant, schema["additionalProperties"], entry, (*steps, name), path + "{}", optional=True)


def schema_paths(schema: Body, path: str = "") -> Iterator[tuple[str, Body]]:
    """Every place of a schema, by the same paths as Node's."""
    yield path, schema
    for name, inner in schema.get("properties", {}).items():
        yield from schema_paths(inner, f"{path}.{name}")
    if "items" in schema:
        yield from schema_paths(schema["items"], path + "[]")
    if isinstance(schema.get("additionalProperties"), dict):
        yield from schema_paths(schema["additionalProperties"], path + "{}")


def steps_of(path: str) -> Steps:
    """``a.b[0].c`` as steps; a key with dots is written ``a["b.c"]``."""
    found = re.findall(r'\["([^"]*)"\]|\[(\d+)\]|([^.\[\]]+)', path)
    return tuple(quoted or (int(index) if index else name) for quoted, index, name in found)


def at(body: Any, steps: Steps) -> Any:
    """The value at a place."""
    for step in steps:
        body = body[step]
    return body


def put(body: Any, steps: Steps, value: Any) -> None:
    """Set the value at a place; missing maps are made, and a position one past the end appends."""
    *way, last = steps
    for step in way:
        body = body.setdefault(step, {}) if isinstance(body, dict) else body[step]
    if isinstance(body, list) and last == len(body):
        body.append(copy.deepcopy(value))
    else:
        body[last] = copy.deepcopy(value)


def drop(body: Any, steps: Steps) -> None:
    """Remove what is at a place, if there is anything."""
    try:
        del at(body, steps[:-1])[steps[-1]]
    except (KeyError, IndexError):
        return


def change(body: Body, how: Body, base: Steps = ()) -> Body:
    """Apply one entry of a table: ``value`` replaces what is at the base, ``set`` and ``remove`` act below it."""
    if "value" in how:
        put(body, base, how["value"])
    for path in how.get("remove", ()):
        drop(body, (*base, *steps_of(path)))
    for path, value in how.get("set", {}).items():
        put(body, (*base, *steps_of(path)), value)
    return body
