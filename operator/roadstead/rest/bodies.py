"""Bodies of requests: read within limits, taken strictly, and described in the OpenAPI document."""

from __future__ import annotations

from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError
from pydantic_core import from_json, to_json

from roadstead.rest.problems import Problem, of_validation

M = TypeVar("M", bound=BaseModel)


async def body_of(request: Request, model: type[M]) -> M:
    """The body, if it is one. Raises 400 where it isn't JSON and 422 where it isn't what ``model`` says.

    Strict, as the API server is: no "8080" for a number; and by the wire's names alone. But 8080.0 is the integer 8080, as JSON Schema
    has it: some languages know one kind of number only.
    """
    return parsed(await request.body(), model)


def parsed(payload: bytes, model: type[M]) -> M:
    """As ``body_of``."""
    if not payload:
        raise Problem(422, [{"loc": ["body"], "msg": "Field required", "type": "missing"}])
    try:
        try:
            return _strictly(payload, model)
        except ValidationError as error:
            if not any(entry["type"] == "int_type" and isinstance(entry["input"], float) for entry in error.errors()):
                raise
            return _strictly(to_json(_whole(from_json(payload)), inf_nan_mode="constants"), model)
    except ValidationError as error:
        raise of_validation(error) from error


def _strictly(payload: bytes, model: type[M]) -> M:
    return model.model_validate_json(payload, strict=True, by_alias=True, by_name=False)


def _whole(value: Any) -> Any:
    """The same value, its whole numbers as integers."""
    match value:
        case float() if value.is_integer():
            return int(value)
        case dict():
            return {name: _whole(part) for name, part in value.items()}
        case list():
            return [_whole(part) for part in value]
    return value


def described(model: type[BaseModel], *, required: bool = True, example: Any = None) -> dict[str, Any]:
    """What ``openapi_extra`` says of it; the schema itself is added with all others."""
    schema: dict[str, Any] = {"$ref": f"#/components/schemas/{model.__name__}"}
    content: dict[str, Any] = {"schema": schema if required else {"anyOf": [schema, {"type": "null"}]}}
    if example is not None:
        content["example"] = example
    return {"requestBody": {"required": required, "content": {"application/json": content}}}
