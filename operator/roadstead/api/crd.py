"""From types to CustomResourceDefinitions: pydantic's JSON schema made structural, and the parts around it.

pydantic writes draft 2020-12; the API server takes a subset of OpenAPI 3.0 without references, unions or nulls. What has no
structural form is an error here, not a surprise at install.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from roadstead.api.artifact import Artifact
from roadstead.api.base import Json, Resource, cel
from roadstead.api.deployment import Deployment
from roadstead.api.platform import Platform
from roadstead.api.workload import Workload
from roadstead.names import GROUP, VERSION

KEPT = frozenset(
    (
        *("type", "format", "description", "default", "enum", "pattern", "required", "nullable", "multipleOf"),
        *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"),
        *("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"),
    )
)
ABSENT_FROM_SCHEMA = ("apiVersion", "kind", "metadata")
HEADER = "# Generated from operator/roadstead/api by `make generate`. Do not edit.\n"
UNSEEN: Json = {"observedGeneration": -1}
"""The status of an object that the operator hasn't looked at yet. Without any status kstatus (Flux, kapp) would call it current."""
DNS_1035 = (
    "self.metadata.name.size() <= 54 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
    "metadata.name must begin with a lower-case letter, hold only lower-case letters, digits and '-', and be at most 54 characters long",
)
KEDAS_NAMES = (
    "!self.metadata.name.startsWith('keda-hpa-')",
    "metadata.name must not begin with keda-hpa-: so KEDA calls the autoscalers of Workloads that scale on HTTP; choose another",
)


@dataclass(frozen=True, slots=True)
class Definition:
    """What a kind needs beside its schema. ``columns`` are name, type, path and, for `-o wide` only, priority 1."""

    model: type[Resource]
    plural: str
    short: str
    columns: tuple[tuple[str, str, str, int], ...]
    scope: str = "Namespaced"
    rules: tuple[Json, ...] = ()
    scale: Json | None = None


READY = ("Ready", "string", '.status.conditions[?(@.type=="Ready")].status', 0)
AGE = ("Age", "date", ".metadata.creationTimestamp", 0)

DEFINITIONS = (
    Definition(
        Artifact,
        "artifacts",
        "rsa",
        (
            ("Status", "string", ".spec.status", 0),
            ("Version", "integer", ".status.version", 0),
            ("Used", "integer", ".status.usedBy.count", 0),
            AGE,
            ("Collection", "string", ".spec.collection", 1),
            ("Image", "string", ".spec.containerGroups[0].containers[0].imageUri", 1),
        ),
    ),
    Definition(
        Workload,
        "workloads",
        "rsw",
        (
            ("State", "string", ".status.state", 0),
            READY,
            ("Replicas", "integer", ".status.replicas", 0),
            AGE,
            ("Message", "string", ".status.summary", 0),
            ("Artifact", "string", ".status.artifact.name", 1),
            ("Scaler", "string", ".status.scaler.kind", 1),
            ("Endpoint", "string", ".status.endpoint", 1),
        ),
        rules=(cel(*DNS_1035), cel(*KEDAS_NAMES)),
        scale={
            "specReplicasPath": ".spec.runtime.replicaCount",
            "statusReplicasPath": ".status.replicas",
            "labelSelectorPath": ".status.selector",
        },
    ),
    Definition(
        Deployment,
        "deployments",
        "rsd",
        (
            ("State", "string", ".status.state", 0),
            READY,
            ("Importance", "string", ".spec.importance", 0),
            ("Workload", "string", ".spec.workloadRef.name", 0),
            AGE,
            ("Active", "string", ".status.activeWorkload", 1),
            ("Endpoint", "string", ".status.endpoint", 1),
        ),
    ),
    Definition(
        Platform,
        "platforms",
        "rsp",
        (READY, AGE, ("Message", "string", '.status.conditions[?(@.type=="Ready")].message', 0)),
        scope="Cluster",
        rules=(cel("self.metadata.name == 'default'", "metadata.name must be default: there is one Platform in a cluster"),),
    ),
)


class NoStructuralFormError(Exception):
    """A type that a structural schema can't express; the message names it."""


def structural(node: Json, definitions: Json) -> Json:
    """A structural schema from one node of pydantic's JSON schema."""
    if "$ref" in node:
        name = node["$ref"].rsplit("/", 1)[1]
        if name not in definitions:
            raise NoStructuralFormError(f"{name} contains itself, which has no structural form")
        node = {**copy.deepcopy(definitions[name]), **{key: value for key, value in node.items() if key != "$ref"}}
        definitions = {key: value for key, value in definitions.items() if key != name}
    node = _without_union(dict(node), definitions)
    for unsupported in ("allOf", "oneOf", "patternProperties", "prefixItems"):
        if unsupported in node:
            raise NoStructuralFormError(f"{unsupported} has no structural form: {node}")
    if "const" in node:
        node.setdefault("enum", [node.pop("const")])
    for limit in ("Minimum", "Maximum"):
        value = node.get(f"exclusive{limit}")
        if value is not None and not isinstance(value, bool):
            node[limit.lower()], node[f"exclusive{limit}"] = value, True
    if node.get("type") == "integer":
        node.setdefault("format", "int32")
    found = {name: value for name, value in node.items() if name in KEPT or name.startswith("x-kubernetes-")}
    if "x-kubernetes-validations" in found:
        found.pop("pattern", None)  # `text` gives the same pattern as a rule, whose message a person understands
    if found.get("default", 0) is None or found.get("default") == []:
        del found["default"]
    if "properties" in node:
        found["properties"] = {name: structural(value, definitions) for name, value in node["properties"].items()}
    if isinstance(node.get("additionalProperties"), dict):
        found["additionalProperties"] = structural(node["additionalProperties"], definitions)
    if "items" in node:
        found["items"] = structural(node["items"], definitions)
    if found.get("type") == "array":
        found.setdefault("x-kubernetes-list-type", "atomic")
    if isinstance(found.get("description"), str):
        found["description"] = " ".join(found["description"].split())
    return found


def _without_union(node: Json, definitions: Json) -> Json:
    """``X | None`` becomes X (absent instead of null); int | str becomes int-or-string; any other union has no structural form."""
    alternatives = [entry for entry in node.get("anyOf", []) if entry.get("type") != "null"]
    if "anyOf" not in node:
        return node
    rest = {name: value for name, value in node.items() if name != "anyOf"}
    if len(alternatives) == 1:
        inner = structural(alternatives[0], definitions)
        return {**inner, **rest}
    if {entry.get("type") for entry in alternatives} == {"integer", "string"}:
        limits = {name: value for entry in alternatives for name, value in entry.items() if name in ("maxLength", "pattern", "minLength")}
        return {**rest, **limits, "x-kubernetes-int-or-string": True}
    raise NoStructuralFormError(f"a union has no structural form: {alternatives}")


def schema(model: type[BaseModel]) -> Json:
    """The structural schema of a model."""
    raw = model.model_json_schema(by_alias=True, mode="validation")
    return structural(raw, raw.get("$defs", {}))


def definition(kind: Definition) -> Json:
    """The CustomResourceDefinition of one kind."""
    name = kind.model.__name__
    root = schema(kind.model)
    properties = {key: value for key, value in root["properties"].items() if key not in ABSENT_FROM_SCHEMA}
    properties["spec"]["description"] = f"What is wanted of the {name}."
    properties["status"]["description"] = "What is, as the operator sees it. Written by the operator alone."
    properties["status"]["default"] = UNSEEN
    root = {
        "type": "object",
        "description": root["description"],
        "required": [] if "default" in properties["spec"] else ["spec"],
        "properties": {
            "apiVersion": {"type": "string", "description": f"Always {GROUP}/{VERSION}."},
            "kind": {"type": "string", "description": f"Always {name}."},
            "metadata": {"type": "object"},
            **properties,
        },
    }
    if not root["required"]:
        del root["required"]
    if kind.rules:
        root["x-kubernetes-validations"] = list(kind.rules)
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": kind.scope,
            "names": {
                "kind": name,
                "listKind": f"{name}List",
                "plural": kind.plural,
                "singular": name.lower(),
                "shortNames": [kind.short],
                "categories": ["roadstead"],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}} | ({"scale": kind.scale} if kind.scale else {}),
                    "additionalPrinterColumns": [
                        {"name": column, "type": type_, "jsonPath": path} | ({"priority": priority} if priority else {})
                        for column, type_, path, priority in kind.columns
                    ],
                    "schema": {"openAPIV3Schema": root},
                }
            ],
        },
    }


class _Dumper(yaml.SafeDumper):
    """No aliases: kubectl users read these files."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def documents() -> dict[str, str]:
    """File name and YAML text of every CRD."""
    return {
        f"{GROUP}_{kind.plural}.yaml": HEADER + yaml.dump(definition(kind), Dumper=_Dumper, sort_keys=False, width=120)
        for kind in DEFINITIONS
    }


def main(targets: Sequence[str]) -> None:
    """Write the CRDs into each of the folders, and remove those that an earlier version wrote there and this one doesn't know."""
    if not targets:
        raise SystemExit("usage: python -m roadstead.api.crd FOLDER...")
    made = documents()
    for folder in map(Path, targets):
        folder.mkdir(parents=True, exist_ok=True)
        for stale in folder.glob(f"{GROUP}_*.yaml"):
            if stale.name not in made:
                stale.unlink()
        for name, text in made.items():
            (folder / name).write_text(text)


if __name__ == "__main__":
    main(sys.argv[1:])
