"""The bounds and enums of a schema, each as a value that just fits and one that doesn't; made from the schema itself."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from tests.integration.crd_cases.objects import Body, Node, Steps, at, drop, full, nodes, put, steps_of

REQUIRED = ("Required value", "omits all key fields", "must be of type object")
"""How the absence of a field is said: the second where it is the key of a list, the third where nothing else is in its object."""


@dataclass(frozen=True, slots=True)
class Bound:
    """One bound of one place. ``fits`` and ``exceeds`` change a full object; the refusal has one of ``says``."""

    node: Node
    name: str
    fits: Callable[[Body], None]
    exceeds: Callable[[Body], None]
    says: tuple[str, ...]

    def object(self, edit: Callable[[Body], None]) -> Body:
        body = full(self.node.variant)
        for path, value in COMPANIONS.get(str(self.node.steps[-1]), {}).get(self.name, {}).items():
            _companion(body, self.node.steps[:-1], path, value)
        edit(body)
        if self.node.path.endswith("containers[].volumeMounts[].name") and self.node.variant == "inline":
            put(body, steps_of("spec.template.volumes[0].name"), at(body, self.node.steps))
        return body

    def __str__(self) -> str:
        return f"{self.node}:{self.name}"


REMOVE = object()
COMPANIONS: dict[str, dict[str, dict[str, Any]]] = {
    "minCount": {"minimum": {"scalingMetric": "httpRequestsConcurrency"}, "maximum": {"maxCount": 1000}},
    "gpu": {"minimum": {"gpuType": REMOVE}},
    "effect": {"enum": {"tolerationSeconds": REMOVE}},
    "operator": {"enum": {"value": REMOVE}},
}
"""What has to change beside a field for its outermost value to make sense, by field and bound."""


def bounds(variant: str) -> Iterator[Bound]:
    """Every bound of a full object's schema."""
    for node in nodes(variant):
        schema = node.schema
        for name, make in MAKERS.items():
            if name in schema and (name, node.path) not in EXEMPT and not (name == "format" and "maximum" in schema):
                yield make(node, schema[name])
        for field in schema.get("required", ()):
            if node.path and (schema["properties"].get(field, {}).get("default") is None):
                yield Bound(node, f"required {field}", _nothing, _without((*node.steps, field)), REQUIRED)


EXEMPT = {
    ("maxItems", ".spec.runtime.autoscaling.policies"): "as many metrics as the bound; a fifth policy has to repeat one",
    ("maxItems", ".spec.pods.forbiddenTemplateFields"): "as many fields as the bound; a ninth has to repeat one",
}


def _enum(node: Node, values: list[Any]) -> Bound:
    # test_crd_bounds tries every value; here is the last.
    wrong = (not values[0]) if isinstance(values[0], bool) else "nonsense"
    return Bound(node, "enum", _set(node.steps, values[-1]), _set(node.steps, wrong), ("Unsupported value",))


def _minimum(node: Node, limit: float) -> Bound:
    exclusive = node.schema.get("exclusiveMinimum", False)
    fits, exceeds = (limit + 0.001, limit) if exclusive else (limit, limit - 1)
    return Bound(node, "minimum", _set(node.steps, fits), _set(node.steps, exceeds), ("should be greater than",))


def _maximum(node: Node, limit: float) -> Bound:
    return Bound(node, "maximum", _set(node.steps, limit), _set(node.steps, limit + 1), ("should be less than or equal to",))


def _max_length(node: Node, limit: int) -> Bound:
    return Bound(node, "maxLength", _set(node.steps, stretched(node, limit)), _set(node.steps, stretched(node, limit + 1)), ("Too long",))


def _min_length(node: Node, limit: int) -> Bound:
    assert limit == 1
    return Bound(node, "minLength", _nothing, _set(node.steps, ""), ("should be at least 1 chars long",))


def _max_items(node: Node, limit: int) -> Bound:
    return Bound(node, "maxItems", _grow(node, limit), _grow(node, limit + 1), ("Too many",))


def _min_items(node: Node, limit: int) -> Bound:
    return Bound(node, "minItems", _nothing, _set(node.steps, []), (f"should have at least {limit} items",))


def _max_properties(node: Node, limit: int) -> Bound:
    return Bound(
        node,
        "maxProperties",
        _set(node.steps, {f"k{index}": "v" for index in range(limit)}),
        _set(node.steps, {f"k{index}": "v" for index in range(limit + 1)}),
        ("Too many",),
    )


def _min_properties(node: Node, limit: int) -> Bound:
    return Bound(node, "minProperties", _nothing, _set(node.steps, {}), (f"should have at least {limit} properties",))


def _format(node: Node, name: str) -> Bound:
    if name != "date-time":
        return Bound(node, "format", _set(node.steps, 2**31 - 1 if name == "int32" else 2**63 - 1), _set(node.steps, 2**64), ("",))
    return Bound(node, "format", _set(node.steps, "2026-11-25T12:00:00.5+01:00"), _set(node.steps, "yesterday"), ("date-time",))


MAKERS: dict[str, Callable[[Node, Any], Bound]] = {
    "enum": _enum,
    "minimum": _minimum,
    "maximum": _maximum,
    "maxLength": _max_length,
    "minLength": _min_length,
    "maxItems": _max_items,
    "minItems": _min_items,
    "maxProperties": _max_properties,
    "minProperties": _min_properties,
    "format": _format,
}


def stretched(node: Node, length: int) -> str:
    """The full object's own value, made that long without breaking its form."""
    value = str(at(full(node.variant), node.steps))
    if node.schema.get("x-kubernetes-int-or-string"):
        return value.rjust(length, "0")
    field = node.steps[-1]
    if (field in ("key", "topologyKey", "resourceName") or "absentLabels" in node.steps) and "secretKeyRef" not in node.steps:
        return f"{_domain(length - 64)}/{'a' * 63}"
    if field == "host":
        return _domain(length)
    if field == "scalerAddress":
        return "a" * (length - 5) + ":9090"
    filler = "A" if "drop" in node.steps else "a"
    return value + filler * (length - len(value))


def _domain(length: int) -> str:
    """A domain name of that length; one label has at most 63 characters."""
    whole, rest = divmod(length, 64)
    return ".".join(["a" * 63] * whole + ["a" * rest])


def _grow(node: Node, length: int) -> Callable[[Body], None]:
    def edit(body: Body) -> None:
        entries = at(body, node.steps)
        keys = node.schema.get("x-kubernetes-list-map-keys", ["name"] if node.path.endswith("containers") else [])
        for index in range(len(entries), length):
            entry = copy.deepcopy(entries[0])
            for key in keys:
                if "enum" not in node.schema["items"]["properties"][key]:
                    entry[key] = f"{entry[key]}{index}"
            if node.path.endswith(".containers"):
                entry["primary"] = False
                drop(entry, ("port",))
                drop(entry, ("protocol",))
            entries.append(entry)

    return edit


def _set(steps: Steps, value: Any) -> Callable[[Body], None]:
    return lambda body: put(body, steps, value)


def _without(steps: Steps) -> Callable[[Body], None]:
    return lambda body: drop(body, steps)


def _nothing(body: Body) -> None:
    """The full object fits as it is."""


def _companion(body: Body, parent: Steps, path: str, value: Any) -> None:
    if value is REMOVE:
        drop(body, (*parent, path))
    else:
        put(body, (*parent, path), value)
