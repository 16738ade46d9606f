"""Where pods may run: tolerations and spread, in the form that a Pod has them.

The API server would refuse a bad one only when the pods are made; the rules here refuse it with the object that declares it.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from roadstead.api.base import LabelKey, LabelValue, Model, cel, keyed, ruled


class Toleration(Model):
    """A toleration, as in a Pod."""

    model_config = ruled(
        cel(
            "has(self.key) || (has(self.operator) && self.operator == 'Exists')",
            "a toleration without key tolerates every taint and needs operator: Exists; name a key or set the operator",
            path=".operator",
        ),
        cel(
            "!has(self.value) || !has(self.operator) || self.operator != 'Exists'",
            "operator Exists takes no value; remove value or set operator: Equal",
            path=".value",
        ),
        cel(
            "!has(self.tolerationSeconds) || (has(self.effect) && self.effect == 'NoExecute')",
            "tolerationSeconds needs effect: NoExecute; set it or remove tolerationSeconds",
            path=".tolerationSeconds",
        ),
    )

    key: LabelKey | None = Field(None, description="Key of the taint; absent with operator Exists tolerates every taint.")
    operator: Literal["Exists", "Equal"] | None = Field(None, description="Exists or Equal (absent: Equal).")
    value: LabelValue | None = Field(None, description="Value of the taint, for operator Equal.")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(
        None, description="Effect of the taint: NoSchedule, PreferNoSchedule or NoExecute (absent: all)."
    )
    toleration_seconds: Annotated[int, Field(ge=0, json_schema_extra={"format": "int64"})] | None = Field(
        None, description="Seconds that the taint is tolerated, for effect NoExecute (absent: for ever)."
    )


class TopologySpreadConstraint(Model):
    """How pods spread, as in a Pod; it counts this Workload's pods."""

    max_skew: Annotated[int, Field(ge=1)] = Field(description="Largest allowed difference in number of pods between two domains.")
    topology_key: LabelKey = Field(description="Node label whose values are the domains, for example topology.kubernetes.io/zone.")
    when_unsatisfiable: Literal["DoNotSchedule", "ScheduleAnyway"] = Field(
        description="What to do where the spread can't be kept: DoNotSchedule waits, ScheduleAnyway goes elsewhere."
    )


TopologySpreadConstraints = Annotated[
    tuple[TopologySpreadConstraint, ...], Field(max_length=8, json_schema_extra=keyed("topologyKey", "whenUnsatisfiable"))
]
Tolerations = Annotated[tuple[Toleration, ...], Field(max_length=32)]
