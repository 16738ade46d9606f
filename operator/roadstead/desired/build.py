"""From the custom resources to everything that must exist for one Workload."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from roadstead.api.artifact import Artifact
from roadstead.api.container import primary
from roadstead.api.deployment import Deployment, Importance
from roadstead.api.platform import PlatformSpec
from roadstead.api.workload import Workload
from roadstead.desired.artifact import build_inline_artifact
from roadstead.desired.autoscaler import Replicas, build_horizontal_pod_autoscaler, replicas
from roadstead.desired.child import Child, ChildKind
from roadstead.desired.disruption import build_disruption_budget, importance
from roadstead.desired.gpu import GpuPlacement
from roadstead.desired.network_policy import build_network_policy
from roadstead.desired.pods import PodInputs, build_deployment, containers_of, gpu_placements
from roadstead.desired.scaled_object import build_scaled_object
from roadstead.desired.service import build_service, internal_url


@dataclass(frozen=True, slots=True)
class Inputs:
    """Everything the children of a Workload follow from. ``deployments`` are those that point at it; a softly deleted one needs no
    ``artifact``.

    ``in_place`` is a latched fact: this version is rolled out by replacing pods in place, since full nodes left no room to surge.
    ``keda_present`` says whether the cluster knows ScaledObjects; ``proven`` is the user template that was first ready at least one
    cooldown ago, so that its pods may be taken down to zero.
    """

    workload: Workload
    artifact: Artifact | None
    platform: PlatformSpec
    deployments: tuple[Deployment, ...] = ()
    in_place: bool = False
    keda_present: bool = True
    proven: str | None = None


@dataclass(frozen=True, slots=True)
class Desired:
    """The children that must exist (None: must not), who sets the replica count, and what else follows: the address inside the cluster,
    the GPUs of one pod, and the importance (None: no Deployment is in front)."""

    children: Mapping[ChildKind, Child | None] = field(default_factory=dict)
    replicas: Replicas = field(default_factory=lambda: Replicas(0))
    internal_url: str | None = None
    gpus: tuple[GpuPlacement, ...] = ()
    importance: Importance | None = None


def stopped(workload: Workload, platform: PlatformSpec, *, scaled_object: bool, proven: bool) -> Desired:
    """What stops a Workload, whatever else is wrong with it: no replicas, and its ScaledObject paused, if ``scaled_object`` is there.

    What it scales by may lack what only the artifact tells; paused, it doesn't matter, and the start puts it right.
    """
    paused = build_scaled_object(workload, (), platform, keda_present=True, proven=proven) if scaled_object else None
    return Desired({ChildKind.SCALED_OBJECT: paused} if paused is not None else {}, Replicas(0))


def build(inputs: Inputs) -> Desired:
    """What must exist. Raises Refusal for a wish that names something there isn't; nothing is changed then."""
    workload, platform = inputs.workload, inputs.platform
    if workload.spec.deleted:
        return Desired(dict.fromkeys(kind for kind in ChildKind if kind is not ChildKind.ARTIFACT))
    if inputs.artifact is None:
        raise ValueError("Only a deleted Workload has children (none) without an artifact")
    containers = containers_of(inputs.artifact.spec)
    level = importance(inputs.deployments)
    found: dict[ChildKind, Child | None] = {}
    if workload.spec.artifact is not None:
        found[ChildKind.ARTIFACT] = build_inline_artifact(workload)
    pods = PodInputs(workload, containers, platform, level, inputs.in_place)
    deployment = build_deployment(pods)
    facts = {"keda_present": inputs.keda_present, "proven": inputs.proven == deployment.user_template}
    return Desired(
        found
        | {
            ChildKind.DEPLOYMENT: deployment,
            ChildKind.SERVICE: build_service(workload, containers),
            ChildKind.HORIZONTAL_POD_AUTOSCALER: build_horizontal_pod_autoscaler(workload, containers, platform),
            ChildKind.SCALED_OBJECT: build_scaled_object(workload, containers, platform, **facts),
            ChildKind.POD_DISRUPTION_BUDGET: build_disruption_budget(workload, level),
            ChildKind.NETWORK_POLICY: build_network_policy(workload, platform),
        },
        replicas(workload, **facts),
        internal_url(workload, primary(containers)),
        tuple(placement for placement in gpu_placements(pods) if placement is not None),
        level,
    )
