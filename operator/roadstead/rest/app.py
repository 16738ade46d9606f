"""The application: routes, and how errors become answers."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from roadstead.access.errors import Refused
from roadstead.kube.errors import ApiError
from roadstead.logs import REQUEST
from roadstead.rest import openapi
from roadstead.rest.context import Api
from roadstead.rest.edge import ROOT
from roadstead.rest.problems import Problem, defect, of_access, of_api, sentence
from roadstead.rest.store import whole
from roadstead.rest.v241 import artifact_routes, deployment_routes, other_routes, workload_routes
from roadstead.rest.v241.models import BODIES
from roadstead.rest.v241.other_routes import MAJOR, MINOR

ROUTERS = (workload_routes.router, artifact_routes.router, deployment_routes.router, other_routes.router)


def build(api: Api) -> FastAPI:
    """All routes under ``/api/v2``. FastAPI's own pages of documentation need the internet; ours don't."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
    app.state.api = api
    for router in ROUTERS:
        app.include_router(router, prefix=ROOT)
    app.include_router(openapi.routes(document()), prefix=ROOT)
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(ApiError, _api_error)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _defect)
    return app


def document() -> dict[str, Any]:
    """The OpenAPI document. It hangs on nothing but the routes: `make generate` writes it down too."""
    app = FastAPI(openapi_url=None)
    for router in ROUTERS:
        app.include_router(router, prefix=ROOT)
    return openapi.document(app, BODIES, f"{MAJOR}.{MINOR}")


async def _problem(_: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)  # noqa: S101 - registered for it
    return error.response()


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)  # noqa: S101 - registered for it
    return of_access(error).response()


async def _api_error(_: Request, error: Exception) -> Response:
    """The API server couldn't be asked; what it refused has been translated where it was asked."""
    assert isinstance(error, ApiError)  # noqa: S101 - registered for it
    if not error.transient:
        raise RuntimeError("An answer of the API server was not expected") from error
    return of_api(error, whole).response()


async def _validation(_: Request, error: Exception) -> Response:
    """Paths, queries and headers; bodies are looked at by ``bodies``."""
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for it
    found: list[dict[str, Any]] = [{"loc": entry["loc"], "msg": sentence(entry), "type": entry["type"]} for entry in error.errors()]
    if any(entry["loc"][0] == "path" for entry in found):
        return Problem(400, "an id is 24 hexadecimal digits").response()
    return Problem(422, found).response()


async def _defect(_: Request, __: Exception) -> Response:
    """It is raised on after this answer, and logged at the edge."""
    return defect(REQUEST.get()).response()


async def _http(request: Request, error: Exception) -> Response:
    """Routes that aren't there, and methods that a route doesn't know."""
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for it
    path = request.url.path
    if error.status_code == 405:
        # Each method is a route of its own to FastAPI, which names only the first one's.
        methods = sorted({method for router in ROUTERS for method in router.methods(path.removeprefix(ROOT))})
        return Problem(405, f"{request.method} isn't possible here; {', '.join(methods)} is", {"Allow": ", ".join(methods)}).response()
    return Problem(error.status_code, f"there is no {path} here", error.headers).response()
