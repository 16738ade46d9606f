"""Routes that answer with and without a slash at their end, directly: public clients refuse redirects."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

import orjson
from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute

from roadstead.rest.records import Record

H = TypeVar("H", bound=Callable[..., Any])
OBJECT: Final = "roadstead.object"
JSON: Final = "application/json"


class Router(APIRouter):
    """``api_route`` and its kin add each path twice; the document has the form that the contract writes."""

    def add_api_route(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        super().add_api_route(path, endpoint, **options)
        twin = path[:-1] if path.endswith("/") else f"{path}/"
        super().add_api_route(twin, endpoint, **{**options, "include_in_schema": False})

    def methods(self, path: str) -> set[str]:
        """The methods of the routes that the path leads to."""
        found = [route.methods for route in self.routes if isinstance(route, APIRoute) and route.path_regex.match(path)]
        return {method for methods in found for method in methods or ()}


def answer(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON answer. Handlers build it themselves: what comes from the cache needs no second validation."""
    return Response(orjson.dumps(content), status, headers, JSON)


def done(request: Request, kind: str, record: Record) -> None:
    """Tell the audit line which object a write is about."""
    request.scope[OBJECT] = f"{kind} {record.namespace}/{record.name}"


def aged(content: Any, age_seconds: int) -> Response:
    """An answer from the mirrors; ``Age`` is there while they can't be kept up to date."""
    return answer(content, headers={"Age": str(age_seconds)} if age_seconds else None)
