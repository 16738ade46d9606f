"""Who owns which field of an object, read from managedFields: the two signs of drift, and the patch that removes additions.

Server-side apply answers "somebody changed or took a field of ours" by letting our entry shrink; one more apply repairs that. It says
nothing about what somebody *added* beside our fields (a variable, a container, hostNetwork): a forced apply leaves that alone. Such
additions are listed here as paths, and removed by a JSON patch.

FieldsV1 is the trie of structured-merge-diff: ``f:name`` a field, ``k:{...}`` a list item by its keys, ``v:...`` a member of a set,
``i:3`` an index, ``.`` the parent itself; an empty object is a leaf. Paths look like JSON pointers, with list items as they stand there:
``/spec/template/spec/containers/k:{"name":"main"}/image``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cmp_to_key
from typing import Final, TypeAlias

import orjson

from roadstead.kube.resource import Body

Segments: TypeAlias = tuple[str, ...]

SHARED: Final = ("/spec/replicas", "/spec/template/metadata")
"""What others may write without it being drift: scalers, and `kubectl rollout restart` or injectors that annotate pods."""


@dataclass(frozen=True, slots=True)
class Ownership:
    """``ours``: a hash of what our manager applied ("" if nothing); ``foreign``: what others added, topmost paths only, sorted."""

    ours: str
    foreign: tuple[str, ...]


def ownership(body: Body, manager: str, *, shared: Iterable[str] = SHARED) -> Ownership:
    """Both signs of drift for ``manager`` under ``spec``; changes made through /status are nobody's addition.

    A path counts as foreign if another manager owns it and ours owns neither it nor anything below it, and if no prefix in ``shared``
    covers it. Defaults that the server filled in belong to nobody and don't appear.
    """
    ours = _applied(body, manager)
    allowed = tuple(_segments(prefix) for prefix in shared)
    found = {path for _, path in _additions(body, manager, ours) if not any(path[: len(prefix)] == prefix for prefix in allowed)}
    topmost = [path for path in found if not any(path[:end] in found for end in range(1, len(path)))]
    digest = hashlib.blake2b(orjson.dumps(ours, option=orjson.OPT_SORT_KEYS), digest_size=8).hexdigest() if ours else ""
    return Ownership(digest, tuple(sorted(map(_pointer, topmost))))


def removal_patch(body: Body, foreign: Iterable[str], *, manager: str) -> list[Body]:
    """A JSON patch that takes the ``foreign`` paths out of ``body`` and touches nothing else; [] if nothing is left to remove.

    It holds only for ``body``'s resourceVersion, since list items are addressed by index; a 422 for the test means: look again.
    Paths that ``manager`` (co-)owns in ``body`` are skipped. Repair shrunken ownership first and pass the body that the apply returned:
    a field somebody *took* from us looks like an addition until then, and removing it would break the object.
    """
    ours = _applied(body, manager)
    pointers = [
        pointer for path in foreign if not _owned(ours, segments := _segments(path)) and (pointer := _resolve(body, segments)) is not None
    ]
    if not pointers:
        return []
    # From the back of every list, so that a removal doesn't shift the ones after it.
    pointers.sort(key=cmp_to_key(_later_first))
    test = {"op": "test", "path": "/metadata/resourceVersion", "value": body["metadata"]["resourceVersion"]}
    return [test, *({"op": "remove", "path": _escaped(pointer)} for pointer in pointers)]


def _applied(body: Body, manager: str) -> Body:
    for entry in body["metadata"].get("managedFields") or ():
        if entry.get("manager") == manager and entry.get("operation") == "Apply" and not entry.get("subresource"):
            fields: Body = entry.get("fieldsV1") or {}
            return fields
    return {}


def rivals(body: Body, manager: str, *, shared: Iterable[str] = SHARED) -> tuple[tuple[str, str], ...]:
    """Who has what ``manager`` would have to take out or take back: pairs of field manager and path, under ``spec``."""
    allowed = tuple(_segments(prefix) for prefix in shared)
    found = _additions(body, manager, _applied(body, manager))
    return tuple(sorted({(who, _pointer(path)) for who, path in found if not any(path[: len(prefix)] == prefix for prefix in allowed)}))


def owners(body: Body, pointer: str) -> tuple[str, ...]:
    """The managers that own this very path."""
    path = _segments(pointer)
    entries: list[Body] = body["metadata"].get("managedFields") or []
    return tuple(sorted({entry["manager"] for entry in entries if _owned(entry.get("fieldsV1") or {}, path)}))


def _additions(body: Body, manager: str, ours: Body) -> Iterator[tuple[str, Segments]]:
    for entry in body["metadata"].get("managedFields") or ():
        if entry.get("manager") == manager or entry.get("subresource") == "status":
            continue
        spec = (entry.get("fieldsV1") or {}).get("f:spec")
        if spec is not None:
            yield from ((entry["manager"], path) for path in _beside(spec, ours.get("f:spec"), ("f:spec",)))


def _beside(theirs: Body, ours: Body | None, path: Segments) -> Iterator[Segments]:
    """The topmost paths that are theirs and, as a whole, not ours."""
    if ours is None and (not theirs or "." in theirs):
        yield path
        return
    for segment, below in theirs.items():
        if segment != ".":
            yield from _beside(below, None if ours is None else ours.get(segment), (*path, segment))


def _owned(fields: Body, path: Segments) -> bool:
    """Whether ``fields`` names the path, itself or on the way to something below it."""
    at: Body | None = fields
    for segment in path:
        at = at.get(segment) if at else None
    return at is not None


def _resolve(body: Body, path: Segments) -> tuple[str | int, ...] | None:
    """Where the path is in this body: names and list indices; None if it isn't there (any more)."""
    at: object = body
    pointer: list[str | int] = []
    for segment in path:
        kind, _, rest = segment.partition(":")
        step: str | int | None
        match at, kind:
            case dict(), "f":
                step = rest if rest in at else None
            case list(), "k":
                keys = orjson.loads(rest)
                step = _first(isinstance(item, dict) and all(item.get(name) == value for name, value in keys.items()) for item in at)
            case list(), "v":
                value = orjson.loads(rest)
                step = _first(item == value for item in at)
            case list(), "i":
                step = int(rest) if int(rest) < len(at) else None
            case _:
                step = None
        if step is None:
            return None
        pointer.append(step)
        at = at[step]  # type: ignore[index]  # the match above made sure
    return tuple(pointer)


def _first(hits: Iterable[bool]) -> int | None:
    return next((index for index, hit in enumerate(hits) if hit), None)


def _later_first(one: tuple[str | int, ...], other: tuple[str | int, ...]) -> int:
    """Paths part at a name or at an index, never at one of each: what they share is the same object."""
    for left, right in zip(one, other, strict=False):
        if left != right:
            return 1 if left < right else -1  # type: ignore[operator]
    return len(other) - len(one)


def _pointer(path: Segments) -> str:
    """Fields lose their ``f:``, unless their name itself looks like a segment of another kind."""
    shown = (segment[2:] if segment[:2] == "f:" and segment[2:4] not in ("f:", "k:", "v:", "i:") else segment for segment in path)
    return _escaped(shown)


def _segments(pointer: str) -> Segments:
    """The reverse of ``_pointer``."""
    parts = (part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:])
    return tuple(part if part[:2] in ("f:", "k:", "v:", "i:") else f"f:{part}" for part in parts)


def _escaped(parts: Iterable[str | int]) -> str:
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)
