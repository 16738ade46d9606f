"""What the routes of all kinds share."""

from __future__ import annotations

from typing import Annotated, Any, Final, TypeAlias

from fastapi import Depends, Path, Request

from roadstead.access.errors import CLUSTER_AWAY, NO_TOKEN
from roadstead.rest.context import Api
from roadstead.rest.problems import defect
from roadstead.rest.routing import JSON
from roadstead.rest.v241.examples import PLACE, WORKLOAD_ID
from roadstead.rest.v241.models import ID_PATTERN, Invalid, Trouble, Wire


def path_id(id: Annotated[str, Path(pattern=ID_PATTERN, description="24 hexadecimal digits.")]) -> str:
    """An id in the path, in lower case."""
    return id.lower()


ThisId: TypeAlias = Annotated[str, Depends(path_id)]
RETRY: Final = {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}}}


def responses(*codes: int) -> dict[int | str, dict[str, Any]]:
    """What may go wrong on a route, for the document; what may go wrong on all of them is added."""
    everywhere = (401, 429, 500, 503)
    return {code: RESPONSES[code] for code in sorted({*codes, *everywhere})}


def _trouble(description: str, example: Any, model: type[Wire] = Trouble, headers: dict[str, Any] | None = None) -> dict[str, Any]:
    found: dict[str, Any] = {"model": model, "description": description, "content": {JSON: {"example": {"detail": example}}}}
    return found if headers is None else {**found, "headers": headers}


RESPONSES: Final[dict[int, dict[str, Any]]] = {
    400: _trouble("The body isn't JSON, or an id isn't 24 hexadecimal digits.", "an id is 24 hexadecimal digits"),
    401: _trouble(
        "No token, or none that the cluster accepts.",
        NO_TOKEN,
        headers={"WWW-Authenticate": {"description": "Always Bearer.", "schema": {"type": "string"}}},
    ),
    403: _trouble("The caller may see the object but not do this.", "ada@example.com may not delete workloads in namespace team"),
    404: _trouble("There is no such object, or the caller may not see it.", f"workload {WORKLOAD_ID} not found"),
    413: _trouble("The body is too large.", "the body is larger than 1048576 bytes"),
    422: _trouble("The request, or its wish, can't be: where and why.", [PLACE], Invalid),
    429: _trouble("Too many requests of this caller.", "ada@example.com asks too often; wait 2 s", headers=RETRY),
    500: _trouble("A defect; the answer names the request's id.", defect("4bf92f3577b34da6a3ce929d0e0e4736").detail),
    503: _trouble("The cluster's API server can't be reached.", CLUSTER_AWAY, headers=RETRY),
}
WRITES: Final = (400, 403, 413, 422)


def origin(api: Api, request: Request) -> str:
    """Where endpoints are reached: the gateway's public address, else where this API is."""
    return (api.cache.platform.gateway.url or api.base(request)).rstrip("/")
