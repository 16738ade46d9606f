"""The HorizontalPodAutoscaler of a Workload that scales on CPU, and who owns the replica count."""

from __future__ import annotations

from dataclasses import dataclass

from roadstead.api.container import Container, container_names, primary_index
from roadstead.api.platform import PlatformSpec
from roadstead.api.scaling import Policy, ScalingMetric
from roadstead.api.workload import Workload
from roadstead.desired.child import Body, Child, ChildKind, child, metadata


@dataclass(frozen=True, slots=True)
class Replicas:
    """The replica count that the operator itself sets.

    ``count`` is None while an autoscaler owns it; then ``floor`` is what a Deployment found at zero is raised to (an HPA leaves a
    target at zero alone), or 0 where the autoscaler does that too.
    """

    count: int | None
    floor: int = 0


def policies(workload: Workload) -> tuple[Policy, ...]:
    """The policies in force: none unless autoscaling is enabled."""
    runtime = workload.spec.runtime
    if runtime is None or runtime.autoscaling is None or not runtime.autoscaling.enabled:
        return ()
    return tuple(runtime.autoscaling.policies or ())


def replicas(workload: Workload) -> Replicas:
    """Who sets the replica count, and to what."""
    if workload.spec.suspend:
        return Replicas(0)
    wanted = policies(workload)
    if wanted and all(policy.scaling_metric is ScalingMetric.CPU for policy in wanted):
        return Replicas(None, floor=wanted[0].min_count)
    if wanted:
        return Replicas(max(1, *(policy.min_count for policy in wanted)))
    runtime = workload.spec.runtime
    return Replicas(1 if runtime is None or runtime.replica_count is None else runtime.replica_count)


def build_horizontal_pod_autoscaler(workload: Workload, containers: tuple[Container, ...], platform: PlatformSpec) -> Child | None:
    """An autoscaling/v2 HPA; None unless every policy is about CPU, and None while stopped.

    With sidecars the metric is that of the primary container alone: their use would blur it. Behaviour is written out, so that a
    cluster's defaults can't change it.
    """
    wanted = policies(workload)
    if workload.spec.suspend or not wanted or any(policy.scaling_metric is not ScalingMetric.CPU for policy in wanted):
        return None
    policy = wanted[0]
    return child(
        ChildKind.HORIZONTAL_POD_AUTOSCALER,
        {
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": metadata(workload),
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": workload.metadata.name},
                "minReplicas": policy.min_count,
                "maxReplicas": policy.max_count,
                "metrics": [_cpu_metric(policy, containers)],
                "behavior": {
                    "scaleUp": {
                        "stabilizationWindowSeconds": 0,
                        "selectPolicy": "Max",
                        "policies": [
                            {"type": "Percent", "value": 100, "periodSeconds": 15},
                            {"type": "Pods", "value": 4, "periodSeconds": 15},
                        ],
                    },
                    "scaleDown": {
                        "stabilizationWindowSeconds": platform.scaling.scale_down_stabilization_seconds,
                        "selectPolicy": "Max",
                        "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}],
                    },
                },
            },
        },
    )


def _cpu_metric(policy: Policy, containers: tuple[Container, ...]) -> Body:
    target = {"type": "Utilization", "averageUtilization": max(1, round(policy.target))}
    if len(containers) == 1:
        return {"type": "Resource", "resource": {"name": "cpu", "target": target}}
    name = container_names(containers)[primary_index(containers)]
    return {"type": "ContainerResource", "containerResource": {"name": "cpu", "container": name, "target": target}}
