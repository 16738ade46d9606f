"""What the routes of all kinds share."""

from __future__ import annotations

from typing import Annotated, Any, Final, TypeAlias

from fastapi import Depends, Path, Request

from roadstead.rest.context import Api
from roadstead.rest.problems import Problem
from roadstead.rest.v241.models import ID_PATTERN, Invalid, Trouble


def path_id(id: Annotated[str, Path(pattern=ID_PATTERN, description="24 hexadecimal digits.")]) -> str:
    """An id in the path, in lower case."""
    return id.lower()


ThisId: TypeAlias = Annotated[str, Depends(path_id)]
RETRY: Final = {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}}}


def responses(*codes: int) -> dict[int | str, dict[str, Any]]:
    """What may go wrong on a route, for the document; what may go wrong on all of them is added."""
    everywhere = (401, 429, 500, 503)
    return {code: RESPONSES[code] for code in sorted({*codes, *everywhere})}


RESPONSES: Final[dict[int, dict[str, Any]]] = {
    400: {"model": Trouble, "description": "The body isn't JSON, or an id isn't 24 hexadecimal digits."},
    401: {
        "model": Trouble,
        "description": "No token, or none that the cluster accepts.",
        "headers": {"WWW-Authenticate": {"description": "Always Bearer.", "schema": {"type": "string"}}},
    },
    403: {"model": Trouble, "description": "The caller may see the object but not do this."},
    404: {"model": Trouble, "description": "There is no such object, or the caller may not see it."},
    413: {"model": Trouble, "description": "The body is too large."},
    422: {"model": Invalid, "description": "The request, or its wish, can't be: where and why."},
    429: {"model": Trouble, "description": "Too many requests of this caller.", "headers": RETRY},
    500: {"model": Trouble, "description": "A defect; the answer names the request's id."},
    503: {"model": Trouble, "description": "The cluster's API server can't be reached.", "headers": RETRY},
}
WRITES: Final = (400, 403, 413, 422)


def origin(api: Api, request: Request) -> str:
    """Where endpoints are reached: the gateway's public address, else where this API is."""
    return (api.cache.platform.gateway.url or api.base(request)).rstrip("/")


def bad_id(what: str, id: str) -> Problem:
    """422 for an id in a body that leads nowhere."""
    return Problem(422, f"{what} {id} not found")
