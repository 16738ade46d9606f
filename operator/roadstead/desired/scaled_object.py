"""KEDA's ScaledObject of a Workload that scales on HTTP requests: the gateway says how many there are, KEDA does the rest.

KEDA wakes from zero by writing ``/scale`` and leaves 1 to N to an HPA that it makes. What is left out here is left out on purpose:
a ``fallback`` of 0 replicas would scale to zero when the gateway can't be asked (kedacore/keda scale_scaledobjects.go), while without
one the count stays; ``restoreToOriginalReplicaCount: false`` is the default, and KEDA's own updates drop it, which would look like
somebody taking a field of ours; ``cooldownPeriod`` and ``pollingInterval`` mean nothing above a minimum of 0, and KEDA's webhook warns
of them there.
"""

from __future__ import annotations

from roadstead.api.container import Container, container_names, primary_index
from roadstead.api.identity import object_id
from roadstead.api.platform import PlatformSpec
from roadstead.api.scaling import Policy, ScalingMetric
from roadstead.api.workload import Workload
from roadstead.desired.autoscaler import behavior, minimum, policies, scales_on_http, utilization
from roadstead.desired.child import Body, Child, ChildKind, child, metadata
from roadstead.desired.quantities import plain
from roadstead.names import PAUSED_ANNOTATION

NAME_LABEL = "scaledobject.keda.sh/name"


def hpa_name(workload_name: str) -> str:
    """Name of the HPA that KEDA makes; said to KEDA, so that a change of its default never leaves two."""
    return f"keda-hpa-{workload_name}"


def build_scaled_object(
    workload: Workload, containers: tuple[Container, ...], platform: PlatformSpec, *, keda_present: bool, proven: bool
) -> Child | None:
    """A keda.sh/v1alpha1 ScaledObject; None unless a policy is about HTTP and KEDA is there.

    A stopped Workload keeps it, paused at 0: deleting it would have to wait for KEDA.
    """
    if not scales_on_http(workload) or not keda_present:
        return None
    wanted = policies(workload)
    fewest = minimum(wanted, proven=proven)
    scaling = platform.scaling
    spec: Body = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": workload.metadata.name},
        "minReplicaCount": fewest,
        "maxReplicaCount": wanted[0].max_count,
        "initialCooldownPeriod": scaling.cooldown_seconds,
        "advanced": {
            "horizontalPodAutoscalerConfig": {"name": hpa_name(workload.metadata.name), "behavior": behavior(platform)},
            "scalingModifiers": {},  # KEDA writes it, empty, with every update of its own
        },
        # In an order of our own: KEDA names metrics by their place, and reordered policies change nothing.
        "triggers": [_trigger(policy, workload, containers, platform) for policy in sorted(wanted, key=_order)],
    }
    if fewest == 0:
        spec |= {"cooldownPeriod": scaling.cooldown_seconds, "pollingInterval": scaling.polling_interval_seconds}
    common = metadata(workload)
    # KEDA would add the label itself, by one more update of each object.
    common["labels"] = {**common["labels"], NAME_LABEL: workload.metadata.name}
    if workload.spec.suspend:
        common["annotations"] = {PAUSED_ANNOTATION: "0"}
    body = {"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": common, "spec": spec}
    return child(ChildKind.SCALED_OBJECT, body)


def _order(policy: Policy) -> tuple[bool, str]:
    return policy.scaling_metric is ScalingMetric.CPU, str(policy.scaling_metric)


def _trigger(policy: Policy, workload: Workload, containers: tuple[Container, ...], platform: PlatformSpec) -> Body:
    if policy.scaling_metric is ScalingMetric.CPU:
        which = {"containerName": container_names(containers)[primary_index(containers)]} if len(containers) > 1 else {}
        return {"type": "cpu", "name": "cpu", "metricType": "Utilization", "metadata": {"value": str(utilization(policy)), **which}}
    owner, authentication = workload.metadata, platform.gateway.scaler_authentication
    secured = {} if authentication is None else {"authenticationRef": {"name": authentication, "kind": "ClusterTriggerAuthentication"}}
    return {
        "type": "external-push",
        "name": str(policy.scaling_metric),
        **secured,
        "metadata": {
            "scalerAddress": platform.gateway.scaler_address,
            **({"enableTLS": "true"} if secured else {}),
            "workloadId": object_id("workloads", owner.namespace or "", owner.name),
            "namespace": owner.namespace or "",
            "name": owner.name,
            "metric": str(policy.scaling_metric),
            "target": plain(policy.target),
        },
    }
