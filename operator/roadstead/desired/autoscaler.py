"""Who owns the replica count, and the HorizontalPodAutoscaler of a Workload that scales on CPU alone.

``scaled_object`` is its sibling for every Workload with a policy about HTTP.
"""

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


def scales_on_http(workload: Workload) -> bool:
    """Whether it takes KEDA to scale this Workload."""
    return any(policy.scaling_metric is not ScalingMetric.CPU for policy in policies(workload))


def minimum(wanted: tuple[Policy, ...], *, proven: bool) -> int:
    """The fewest replicas. Beside a policy that scales to zero the others may say 0 or 1, and zero it is.

    Until the user's pod template is ``proven``, at least one: every version shows once that it runs.
    """
    fewest = min(policy.min_count for policy in wanted)
    return fewest if proven else max(1, fewest)


def replicas(workload: Workload, *, keda_present: bool, proven: bool) -> Replicas:
    """Who sets the replica count, and to what. Without KEDA nobody could wake a Workload, so then one replica is the least."""
    if workload.spec.suspend:
        return Replicas(0)
    wanted = policies(workload)
    if wanted:
        if scales_on_http(workload) and not keda_present:
            return Replicas(minimum(wanted, proven=False))
        return Replicas(None, floor=minimum(wanted, proven=proven))
    runtime = workload.spec.runtime
    return Replicas(1 if runtime is None or runtime.replica_count is None else runtime.replica_count)


def build_horizontal_pod_autoscaler(workload: Workload, containers: tuple[Container, ...], platform: PlatformSpec) -> Child | None:
    """An autoscaling/v2 HPA; None unless every policy is about CPU, and None while stopped.

    With sidecars the metric is that of the primary container alone: their use would blur it.
    """
    wanted = policies(workload)
    if workload.spec.suspend or not wanted or scales_on_http(workload):
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
                "behavior": behavior(platform),
            },
        },
    )


def behavior(platform: PlatformSpec) -> Body:
    """How fast an HPA, ours or KEDA's, may go; written out, so that a cluster's defaults can't change it."""
    return {
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
    }


def utilization(policy: Policy) -> int:
    """A CPU target in whole percent, as HPAs want it."""
    return max(1, round(policy.target))


def _cpu_metric(policy: Policy, containers: tuple[Container, ...]) -> Body:
    target = {"type": "Utilization", "averageUtilization": utilization(policy)}
    if len(containers) == 1:
        return {"type": "Resource", "resource": {"name": "cpu", "target": target}}
    name = container_names(containers)[primary_index(containers)]
    return {"type": "ContainerResource", "containerResource": {"name": "cpu", "container": name, "target": target}}
