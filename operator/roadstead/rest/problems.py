"""What goes wrong, in the contract's form: ``{"detail": "<sentence>"}``, or a list of places in the request and what is wrong there.

Everything that a client gets to see beside a success is built here, also what the API server answered in our stead.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import orjson
from pydantic import ValidationError
from starlette.responses import Response

from roadstead.access.errors import BAD_TOKEN, CLUSTER_AWAY, MayOnlyRead, Refused, Throttled
from roadstead.api.base import PATTERN_MESSAGES
from roadstead.kube.errors import ApiError, Conflict, Forbidden, Invalid, NotFound, ServerError, TooManyRequests, Unauthorized, Unreachable

Location: TypeAlias = tuple[str | int, ...]
Path: TypeAlias = tuple[str | int, ...]
"""Into a custom resource: ``("spec", "containerGroups", 0, "name")``."""

RETRY_SECONDS: Final = 5
STEP: Final = re.compile(r"([^.\[\]]+)|\[([^\]]*)\]")
PRELUDE: Final = re.compile(r'^(?:Invalid value|Required value|Forbidden): (?:"(?:[^"\\]|\\.)*": |-?[0-9.]+: )?')
"""What the API server puts before a rule's own sentence."""
UNCHECKED: Final = "some validation rules were not checked"
"""Its remark that there may be more; it is about no field."""


class Problem(Exception):
    """An answer that isn't a success. ``detail`` is a sentence, or the entries of a validation."""

    def __init__(self, status: int, detail: str | Sequence[Mapping[str, Any]], headers: Mapping[str, str] | None = None) -> None:
        super().__init__(f"{status}: {detail}")
        self.status = status
        self.detail = detail
        self.headers = dict(headers or {})

    def response(self) -> Response:
        """As it is sent."""
        return Response(orjson.dumps({"detail": self.detail}), self.status, self.headers, "application/json")


def unauthorized(sentence: str) -> Problem:
    """401."""
    return Problem(401, sentence, {"WWW-Authenticate": "Bearer"})


def unavailable(sentence: str = CLUSTER_AWAY, retry_after: float | None = None) -> Problem:
    """503: the same call may succeed in a while."""
    return Problem(503, sentence, {"Retry-After": str(max(1, round(retry_after or RETRY_SECONDS)))})


def too_many(sentence: str, retry_after: float) -> Problem:
    """429."""
    return Problem(429, sentence, {"Retry-After": str(max(1, round(retry_after)))})


def of_access(refused: Refused) -> Problem:
    """Why somebody isn't let in: 401, 403 or 429."""
    match refused:
        case Throttled():
            return too_many(refused.sentence, refused.wait_seconds)
        case MayOnlyRead():
            return Problem(403, refused.sentence)
    return unauthorized(refused.sentence)


STATE: Final = "state"
RULE: Final = "value_error"


def invalid(location: Location, sentence: str, kind: str = STATE) -> Problem:
    """422 about one place of the request.

    ``kind`` tells a client whose fault it is: pydantic's own words for what the OpenAPI document forbids, RULE for what fields may not say
    together, STATE for a wish that was fine but for what is there now.
    """
    return Problem(422, [{"loc": list(location), "msg": sentence, "type": kind}])


def defect(request_id: str) -> Problem:
    """500."""
    return Problem(500, f"this is a defect of the API; report it with the request's id, {request_id}")


def not_found(what: str, id: str) -> Problem:
    """404, also for what the caller may not see."""
    return Problem(404, f"{what} {id} not found")


def of_validation(error: ValidationError) -> Problem:
    """400 for what isn't JSON, else 422 in the form of FastAPI's own."""
    found = error.errors(include_url=False, include_input=False)
    if any(entry["type"] == "json_invalid" for entry in found):
        return Problem(400, f"the body isn't JSON: {found[0]['msg'].removeprefix('Invalid JSON: ')}")
    entries: dict[Location, dict[str, Any]] = {}
    for entry in found:
        location = ("body", *(step for step in entry["loc"] if step not in UNION_TAGS))
        if location in entries:  # another member of a union
            entries[location]["msg"] += f" or {sentence(entry)}"
        elif not _consequence(entry, found):
            entries[location] = {"loc": list(location), "msg": sentence(entry), "type": entry["type"]}
    return Problem(422, list(entries.values()))


def _consequence(entry: Mapping[str, Any], found: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a list is only too short because of what is wrong with its items: pydantic counts the valid ones."""
    place = entry["loc"]
    return entry["type"] == "too_short" and any(other["loc"][: len(place)] == place and other is not entry for other in found)


UNION_TAGS: Final = frozenset({"constrained-int", "constrained-str"})
"""pydantic names the members of a union in its locations; no field is called so."""


def sentence(entry: Mapping[str, Any]) -> str:
    """What pydantic found, in the words of the CRD where it has its own."""
    if entry["type"] == "string_pattern_mismatch":
        return PATTERN_MESSAGES.get(entry["ctx"]["pattern"], str(entry["msg"]))
    return str(entry["msg"]).removeprefix("Value error, ")


def of_api(error: ApiError, place: Callable[[Path], Location]) -> Problem:
    """What the API server refused. ``place`` finds a field of the custom resource in the request's body."""
    match error:
        case Unauthorized():
            return unauthorized(BAD_TOKEN)
        case Forbidden():
            return Problem(403, error.message)
        case Invalid() if error.causes:
            entries = []
            for cause in error.causes:
                field, _, text = cause.partition(": ")
                if UNCHECKED not in text:
                    entries.append({"loc": list(place(steps(field))), "msg": PRELUDE.sub("", text), "type": "value_error"})
            return Problem(422, entries)
        case NotFound():
            return Problem(404, error.message)
        case Conflict():
            return unavailable("somebody else is changing the object at the same time; try again", 1)
        case TooManyRequests() | ServerError() | Unreachable():
            return unavailable(retry_after=error.retry_after)
    return Problem(422, error.message)


def steps(field: str) -> Path:
    """``spec.containerGroups[0].name`` -> ("spec", "containerGroups", 0, "name")."""
    found: list[str | int] = []
    for name, key in STEP.findall(field):
        found.append(name or (int(key) if key.isdigit() else key.strip('"')))
    return tuple(found)
