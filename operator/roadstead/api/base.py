"""What all custom resources share: the model's conventions, metadata, and small helpers for schema and CEL rules.

Attributes are snake_case, the API is camelCase. Models are frozen and refuse unknown fields, as the API server does.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidatorFunctionWrapHandler, WrapValidator
from pydantic.alias_generators import to_camel

Json = dict[str, Any]


class Model(BaseModel):
    """Base of everything a user declares."""

    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=to_camel, populate_by_name=True)


class Lenient(BaseModel):
    """Base of what the server writes: fields of a newer version are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True, alias_generator=to_camel, populate_by_name=True)


class OwnerReference(Lenient):
    """An owner of an object."""

    api_version: str = ""
    kind: str = ""
    name: str = ""
    uid: str = ""
    controller: bool = False


class Metadata(Lenient):
    """The part of Kubernetes' ObjectMeta that is read."""

    name: str
    namespace: str | None = None
    uid: str | None = None
    generation: int | None = None
    resource_version: str | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)
    creation_timestamp: datetime | None = None
    deletion_timestamp: datetime | None = None
    owner_references: tuple[OwnerReference, ...] = ()


class Resource(Lenient):
    """A custom resource as stored; ``spec`` and ``status`` are added by each kind."""

    api_version: str = "roadstead.dev/v1alpha1"
    kind: str = ""
    metadata: Metadata


def cel(rule: str, message: str = "", *, expression: str = "", path: str = "", reason: str = "") -> Json:
    """One CEL rule. ``expression`` is a messageExpression; ``path`` names the field the message is about, below the rule's place."""
    parts = {"rule": rule, "message": message, "messageExpression": expression, "fieldPath": path, "reason": reason}
    return {name: value for name, value in parts.items() if value}


def rules(*each: Json) -> Json:
    """Schema extra that carries CEL rules."""
    return {"x-kubernetes-validations": list(each)}


def ruled(*each: Json, **extra: Any) -> ConfigDict:
    """Model configuration with CEL rules on the object itself."""
    return ConfigDict(json_schema_extra={**rules(*each), **extra})


def keyed(*keys: str) -> Json:
    """Schema extra of a list that is a map by those keys; the server refuses duplicates and merges item by item."""
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(keys)}


PATTERN_MESSAGES: dict[str, str] = {}
"""What to say of a string that doesn't match, by pattern: pydantic itself would show the expression alone."""


def text(pattern: str, message: str, most: int, least: int = 1) -> Any:
    """A string of ``least`` to ``most`` characters that matches a pattern (RE2).

    The pattern is checked by pydantic, and by the API server as a CEL rule: that says ``message``, where a bare pattern would show the
    expression alone.
    """
    PATTERN_MESSAGES[pattern] = message
    return Field(
        min_length=least or None, max_length=most, pattern=pattern, json_schema_extra=rules(cel(f"self.matches(r'{pattern}')", message))
    )


def _parsed_or_lost(value: Any, parse: ValidatorFunctionWrapHandler) -> Any:
    try:
        return parse(value)
    except ValidationError:
        return None


Losable = WrapValidator(_parsed_or_lost)
"""Of a status: one that a newer version wrote in another form is as good as lost, and never keeps the object from being read."""

Label = Annotated[
    str,
    text("^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "must be lower-case letters, digits and '-', beginning and ending with a letter or digit", 63),
]
LABEL_VALUE_MESSAGE = "must be letters, digits, '-', '_' and '.', beginning and ending with a letter or digit"
LabelValue = Annotated[str, text("^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$", LABEL_VALUE_MESSAGE, 63, least=0)]
GpuTypeName = Annotated[str, text("^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$", LABEL_VALUE_MESSAGE, 63)]
ObjectName = Annotated[
    str,
    text(
        r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
        "must be the name of an object: lower-case letters, digits, '-' and '.', beginning and ending with a letter or digit",
        253,
    ),
]
MountPath = Annotated[str, text("^/[^:]*$", "must be an absolute path without ':', for example /data", 1024)]
DisplayName = Annotated[str, Field(max_length=512)]
Text = Annotated[str, Field(max_length=4096)]
Time = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
"""A time of a status, as RFC 3339 text: it is passed on, not reckoned with."""
UserId = Annotated[int, Field(ge=1, le=2147483647, json_schema_extra={"format": "int64"})]
GroupId = Annotated[int, Field(ge=0, le=2147483647, json_schema_extra={"format": "int64"})]
Bytes = Annotated[int, Field(ge=-(2**63), le=2**63 - 1, json_schema_extra={"minimum": 1})]
"""What can be written down; that it is more than 0 is a rule, which has its own sentence."""
Quantity = Annotated[
    Bytes | Annotated[str, Field(max_length=32)],
    Field(
        json_schema_extra=rules(
            cel(
                "type(self) == int ? self > 0 : (isQuantity(self) && quantity(self).isGreaterThan(quantity('0')))",
                "must be a number of bytes or a quantity such as 512Mi, greater than 0",
            )
        )
    ),
]
LABEL_KEY = rules(
    cel(
        "!format.qualifiedName().validate(self).hasValue()",
        "must be a key such as disktype or topology.kubernetes.io/zone: a name, or a domain, '/' and a name",
    )
)
LabelKey = Annotated[str, Field(min_length=1, max_length=317, json_schema_extra=LABEL_KEY)]
ShortLabelKey = Annotated[str, Field(min_length=1, max_length=100, json_schema_extra=LABEL_KEY)]
"""Where so many keys may stand that the rule's cost, which the API server reckons by their length, would exceed its budget."""
LABEL_KEYS = rules(
    cel(
        "self.all(k, !format.qualifiedName().validate(k).hasValue())",
        "keys must be label keys: a name such as disktype, or a domain, '/' and a name such as nvidia.com/gpu.product",
    )
)
Labels = Annotated[dict[str, LabelValue], Field(max_length=32, json_schema_extra=LABEL_KEYS)]


class NamedRef(Model):
    """A reference to an object of the same namespace by its name."""

    name: ObjectName = Field(description="Name of the object, in the same namespace.")
