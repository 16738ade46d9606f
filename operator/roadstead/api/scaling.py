"""Scaling: a fixed count, or policies that keep a metric at its target."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from roadstead.api.base import Model, cel, keyed, ruled, rules


class ScalingMetric(StrEnum):
    """What a policy looks at."""

    CPU = "cpuAverageUtilization"
    REQUESTS_PER_HOUR = "httpRequestsPerHour"
    REQUESTS_IN_FLIGHT = "httpRequestsInFlight"
    CONCURRENCY = "httpRequestsConcurrency"


TARGET_TOO_SMALL = "must be 0.001 or more: autoscalers count in thousandths"


class Policy(Model):
    """One metric, its target, and the range of the replica count."""

    model_config = ruled(
        cel(
            "self.minCount <= self.maxCount",
            expression="'minCount %d exceeds maxCount %d; lower minCount or raise maxCount'.format([self.minCount, self.maxCount])",
            path=".minCount",
        ),
    )

    scaling_metric: ScalingMetric = Field(
        description="What is measured: cpuAverageUtilization in percent of the request, httpRequestsPerHour, httpRequestsInFlight, or "
        "httpRequestsConcurrency (the only one that scales to zero)."
    )
    # A rule, since the API server cuts a fractional minimum to an integer when it compares integers (kube-openapi MinimumNativeType).
    target: Annotated[float, Field(gt=0, le=1_000_000_000, json_schema_extra=rules(cel("self >= 0.001", TARGET_TOO_SMALL)))] = Field(
        description="Value per replica that scaling aims at, 0.001 or more; for cpuAverageUtilization a percentage of the CPU requested."
    )
    min_count: Annotated[int, Field(ge=0, le=1000)] = Field(
        description="Fewest replicas; 0 (no pods while there are no requests) only with httpRequestsConcurrency."
    )
    max_count: Annotated[int, Field(ge=1, le=1000)] = Field(description="Most replicas; the same in all policies.")
    priority: int | None = Field(None, description="Order among the policies, for people; all policies are always in force.")


HAS_ZERO = "self.exists(p, p.scalingMetric == 'httpRequestsConcurrency' && p.minCount == 0)"
Policies = Annotated[
    tuple[Policy, ...],
    Field(
        max_length=4,
        json_schema_extra={
            **keyed("scalingMetric"),
            **rules(
                cel(
                    "self.all(p, p.maxCount == self[0].maxCount)",
                    "all policies must have the same maxCount; make them equal",
                ),
                cel(
                    f"{HAS_ZERO} || self.all(p, p.minCount == self[0].minCount)",
                    "all policies must have the same minCount; make them equal",
                ),
                cel(
                    f"{HAS_ZERO} || self.all(p, p.minCount >= 1)",
                    "minCount 0 needs a policy of httpRequestsConcurrency with minCount 0; set minCount to at least 1 or add one",
                ),
                cel(
                    f"!{HAS_ZERO} || self.all(p, p.minCount <= 1)",
                    "beside httpRequestsConcurrency with minCount 0 the other policies may have minCount 0 or 1 only",
                ),
            ),
        },
    ),
]


class Autoscaling(Model):
    """Autoscaling of a Workload."""

    model_config = ruled(
        cel(
            "!has(self.enabled) || !self.enabled || (has(self.policies) && self.policies.size() > 0)",
            "enabled autoscaling needs at least one policy; add one or set enabled to false",
            path=".policies",
            reason="FieldValueRequired",
        )
    )

    enabled: bool | None = Field(None, description="True puts the policies in force, and replicaCount must then be absent (absent: false).")
    policies: Policies | None = Field(
        None,
        description="What to scale by: at most one policy for each metric, of which the one that asks for most replicas wins. "
        "All must have the same minCount and maxCount; beside httpRequestsConcurrency with minCount 0 the others may have minCount 0 or 1.",
    )
