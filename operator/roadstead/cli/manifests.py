"""Manifests before they are sent: read from files, folders or standard input, and checked by the same types that the CRDs are made of.

So that a misspelt field is told with its file, document and line of thought, and nothing of a set is applied when one of it is wrong.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml

from roadstead.cli.failure import Failure
from roadstead.cli.kinds import KINDS
from roadstead.kube.resource import Body, Resource
from roadstead.names import API_VERSION
from roadstead.resources import PLATFORMS

if TYPE_CHECKING:
    from pydantic import BaseModel

STANDARD_INPUT: Final = "-"
ENDINGS: Final = (".yaml", ".yml", ".json")
ORDER: Final = {"Platform": 0, "Artifact": 1, "Workload": 2, "Deployment": 3}
"""What is referred to comes first, so that nothing is told as missing for a moment."""
RESOURCES: Final = {PLATFORMS.kind: PLATFORMS, **{kind.resource.kind: kind.resource for kind in KINDS}}


@dataclass(frozen=True, slots=True)
class Manifest:
    """One document; ``origin`` says where it stands, for messages."""

    origin: str
    resource: Resource
    body: Body

    @property
    def name(self) -> str:
        """The object's name."""
        return str(self.body["metadata"]["name"])

    @property
    def namespace(self) -> str | None:
        """The namespace that the document names."""
        found = self.body["metadata"].get("namespace")
        return None if found is None else str(found)


class _Loader(yaml.SafeLoader):
    """YAML as the API has it: a time is text, not a date of Python's."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read(sources: Sequence[str], *, recursive: bool) -> tuple[Manifest, ...]:
    """All documents, in the order in which they are to be applied. Raises Failure that names everything that is wrong."""
    found: list[Manifest] = []
    wrong: list[str] = []
    for origin, text in texts(sources, recursive=recursive):
        good, bad = parse(origin, text)
        found += good
        wrong += bad
    if wrong:
        raise Failure("Nothing was applied; correct this first:\n" + "\n".join(f"  {line}" for line in wrong))
    if not found:
        raise Failure(f"There is no manifest in {', '.join(sources)}.")
    return tuple(sorted(found, key=lambda manifest: ORDER[manifest.resource.kind]))


def texts(sources: Iterable[str], *, recursive: bool) -> Iterator[tuple[str, str]]:
    """Name and content of every file. Raises Failure for what can't be read."""
    for source in sources:
        path = Path(source)
        if source == STANDARD_INPUT:
            yield "standard input", sys.stdin.read()
        elif path.is_dir():
            inside = sorted(
                file for file in (path.rglob("*") if recursive else path.iterdir()) if file.suffix in ENDINGS and file.is_file()
            )
            if not inside:
                raise Failure(f"{path} holds no .yaml, .yml or .json file{'' if recursive else '; -R looks into its folders too'}.")
            # kustomize's own file says how to build, and is no object.
            yield from ((str(file), _content(file)) for file in inside if file.stem != "kustomization")
        else:
            yield source, _content(path)


def _content(file: Path) -> str:
    try:
        return file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise Failure(f"{file} can't be read: {getattr(error, 'strerror', None) or error}.") from error


def parse(origin: str, text: str) -> tuple[list[Manifest], list[str]]:
    """The documents of one file, and a line for everything that is wrong with them."""
    try:
        documents = list(yaml.load_all(text, Loader=_Loader))
    except yaml.YAMLError as error:
        return [], [f"{origin}: not YAML: {' '.join(str(error).split())}"]
    good: list[Manifest] = []
    wrong: list[str] = []
    several = len(documents) > 1
    for number, document in enumerate(documents, 1):
        if document is None:
            continue
        place = f"{origin}, document {number}" if several else origin
        items = document["items"] if isinstance(document, dict) and isinstance(document.get("items"), list) else [document]
        for item in items:
            manifest, complaints = check(place, item)
            wrong += complaints
            if manifest is not None:
                good.append(manifest)
    return good, wrong


def check(place: str, body: Any) -> tuple[Manifest | None, list[str]]:
    """One object as a manifest, or what is wrong with it."""
    if not isinstance(body, dict) or "kind" not in body or "apiVersion" not in body:
        return None, [f"{place}: not a Kubernetes object: it needs apiVersion and kind"]
    kind = str(body["kind"])
    if body["apiVersion"] != API_VERSION or kind not in RESOURCES:
        known = ", ".join(sorted(RESOURCES))
        return None, [f"{place}: {body['apiVersion']} {kind} is not of {API_VERSION} ({known}); apply it with kubectl"]
    metadata = body.get("metadata")
    if not isinstance(metadata, dict) or not isinstance(metadata.get("name"), str) or not metadata["name"]:
        return None, [f"{place}: {kind}: metadata.name: is required"]
    place = f"{place}: {kind} {metadata['name']}"
    if complaints := [f"{place}: {complaint}" for complaint in complaints_of(model_of(kind), body)]:
        return None, complaints
    # What the server writes is of no use in a wish, and an export holds it.
    wish = {name: value for name, value in body.items() if name != "status"}
    wish["metadata"] = {name: value for name, value in metadata.items() if name not in ("managedFields", "resourceVersion", "uid")}
    return Manifest(place, RESOURCES[kind], wish), []


def model_of(kind: str) -> type[BaseModel]:
    """The type of a kind."""
    from roadstead.api import artifact, deployment, platform, workload  # noqa: PLC0415 - pydantic costs 0.15 s

    models: dict[str, type[BaseModel]] = {
        "Artifact": artifact.Artifact,
        "Workload": workload.Workload,
        "Deployment": deployment.Deployment,
        "Platform": platform.Platform,
    }
    return models[kind]


def complaints_of(model: type[BaseModel], body: Body) -> list[str]:
    """``field: what is wrong``, one line for each field."""
    from pydantic import ValidationError  # noqa: PLC0415

    try:
        model.model_validate(body)
    except ValidationError as error:
        found: dict[str, list[str]] = {}
        for entry in error.errors(include_url=False):
            # A list is called too short for its members that are wrong themselves, which is told already.
            if entry["type"] != "too_short" or not any(field.startswith(field_path(entry["loc"])) for field in found):
                found.setdefault(field_path(entry["loc"]), []).append(_words(str(entry["type"]), str(entry["msg"])))
        return [f"{field}: {', or '.join(words)}" for field, words in found.items()]
    return []


def field_path(location: Sequence[int | str]) -> str:
    """spec.containerGroups[0].containers[1].imageUri, without the names that pydantic gives to the members of a union."""
    text = ""
    for part in location:
        if isinstance(part, int):
            text += f"[{part}]"
        elif part not in ("int", "str", "float", "bool") and not part.startswith(("function-", "constrained-")):
            text += f".{part}" if text else part
    return text or "the object"


def _words(kind: str, message: str) -> str:
    match kind:
        case "extra_forbidden":
            return "there is no such field; look for a misspelling (kubectl explain lists the fields)"
        case "missing":
            return "is required"
        case _:
            return message.removeprefix("Value error, ").removeprefix("Input ").replace("Tuple", "the list").replace("dictionary", "map")
