"""States and conditions as they stand in a status."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from roadstead.api.base import Lenient, Time, keyed


class State(StrEnum):
    """The states of a Workload, in the words of the REST API. ``unknown`` is said by REST alone."""

    SUBMITTED = "submitted"
    INITIALIZING = "initializing"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"
    ERRORED = "errored"
    UNKNOWN = "unknown"


class Condition(Lenient):
    """A condition, as in metav1.Condition."""

    type: Annotated[str, Field(max_length=316)] = Field(description="What is judged, for example Ready.")
    status: Literal["True", "False", "Unknown"] = Field(description="The verdict.")
    observed_generation: Annotated[int, Field(ge=0, json_schema_extra={"format": "int64"})] | None = Field(
        None, description="Generation of the object that the verdict is about."
    )
    last_transition_time: Time = Field(description="When the verdict last changed.")
    reason: Annotated[str, Field(min_length=1, max_length=1024)] = Field(description="The cause in one word, for machines.")
    message: Annotated[str, Field(max_length=32768)] = Field(description="The cause and the remedy in a sentence, for people.")


Conditions = Annotated[tuple[Condition, ...], Field(max_length=16, json_schema_extra=keyed("type"))]
ObservedGeneration = Annotated[int, Field(json_schema_extra={"format": "int64"})]


class Status(Lenient):
    """What every status has."""

    observed_generation: ObservedGeneration | None = Field(None, description="Generation of the spec that this status is about.")
    conditions: Conditions = Field((), description="Verdicts by aspect; Ready sums them up.")
