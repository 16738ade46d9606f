"""Bodies of requests: read within limits, taken strictly, and described in the OpenAPI document."""

from __future__ import annotations

from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError

from roadstead.rest.problems import Problem, of_validation

M = TypeVar("M", bound=BaseModel)


async def body_of(request: Request, model: type[M]) -> M:
    """The body, if it is one. Raises 400 where it isn't JSON and 422 where it isn't what ``model`` says.

    Strict, as the API server is: no "8080" for a number; and by the wire's names alone.
    """
    return parsed(await request.body(), model)


def parsed(payload: bytes, model: type[M]) -> M:
    """As ``body_of``."""
    if not payload:
        raise Problem(422, [{"loc": ["body"], "msg": "Field required", "type": "missing"}])
    try:
        return model.model_validate_json(payload, strict=True, by_alias=True, by_name=False)
    except ValidationError as error:
        raise of_validation(error) from error


def described(model: type[BaseModel], *, required: bool = True, example: Any = None) -> dict[str, Any]:
    """What ``openapi_extra`` says of it; the schema itself is added with all others."""
    content: dict[str, Any] = {"schema": {"$ref": f"#/components/schemas/{model.__name__}"}}
    if example is not None:
        content["example"] = example
    return {"requestBody": {"required": required, "content": {"application/json": content}}}
