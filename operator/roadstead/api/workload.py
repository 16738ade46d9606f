"""Workload: how an Artifact runs."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from roadstead.api.artifact import InlineArtifact
from roadstead.api.base import DisplayName, Labels, Lenient, Losable, Model, NamedRef, ObjectName, Resource, Time, cel, keyed, ruled, rules
from roadstead.api.conditions import State, Status
from roadstead.api.placement import Tolerations, TopologySpreadConstraints
from roadstead.api.scaling import Autoscaling
from roadstead.api.volumes import Volume


class ResourceBundleRef(Model):
    """A resource bundle of the Platform's catalogue."""

    type: Literal["resource_bundle"] = Field(description="Always resource_bundle.")
    resource_bundle_id: Annotated[str, Field(min_length=1, max_length=253)] = Field(description="Id in the Platform's catalogue.")


class Runtime(Model):
    """How many replicas, and with what resources."""

    model_config = ruled(
        cel(
            "!has(self.replicaCount) || !has(self.autoscaling) || !has(self.autoscaling.enabled) || !self.autoscaling.enabled",
            "replicaCount cannot be set while autoscaling is enabled; remove it (after kubectl scale: kubectl patch with "
            '{"spec":{"runtime":{"replicaCount":null}}}) or set autoscaling.enabled to false',
            path=".replicaCount",
            reason="FieldValueForbidden",
        )
    )

    replica_count: Annotated[int, Field(ge=1, le=1000)] | None = Field(
        None, description="Number of replicas without autoscaling (absent: 1). To run none, set spec.suspend."
    )
    autoscaling: Autoscaling | None = Field(
        None, description="Scaling by metrics, between the minCount and maxCount of the policies, instead of a fixed replicaCount."
    )
    resources: Annotated[tuple[ResourceBundleRef, ...], Field(max_length=1)] | None = Field(
        None, description="A resource bundle that replaces the primary container's resourceRequest."
    )


class PodTemplate(Model):
    """The closed list of pod settings that a Workload may make. The Platform can forbid each."""

    service_account_name: ObjectName | None = Field(
        None, description="ServiceAccount of the pods (absent: default); its token is not mounted."
    )
    image_pull_secrets: Annotated[tuple[NamedRef, ...], Field(max_length=16, json_schema_extra=keyed("name"))] | None = Field(
        None, description="Secrets (of type kubernetes.io/dockerconfigjson) to pull images with."
    )
    runtime_class_name: ObjectName | None = Field(None, description="RuntimeClass of the pods (absent: the GPU type's, if it has one).")
    node_selector: Labels | None = Field(None, description="Labels that a node must have to run the pods.")
    tolerations: Tolerations | None = Field(None, description="Taints that the pods tolerate.")
    topology_spread_constraints: TopologySpreadConstraints | None = Field(
        None, description="How the pods spread (absent: over nodes, where possible)."
    )
    termination_grace_period_seconds: Annotated[int, Field(ge=0, le=86400, json_schema_extra={"format": "int64"})] | None = Field(
        None, description="Seconds that requests in flight may take when a pod stops (absent: 60)."
    )
    volumes: Annotated[tuple[Volume, ...], Field(max_length=32, json_schema_extra=keyed("name"))] | None = Field(
        None, description="Volumes that containers may mount."
    )


EVERY_MOUNT = "self.artifact.containerGroups.all(g, g.containers.all(c, !has(c.volumeMounts) || c.volumeMounts.all(m,"


class WorkloadSpec(Model):
    """Spec of a Workload."""

    model_config = ruled(
        cel(
            "has(self.artifactRef) != has(self.artifact)",
            expression="has(self.artifact) ? 'artifactRef and artifact exclude each other; remove one'"
            " : 'one of artifactRef and artifact is required'",
        ),
        cel(
            f"!has(self.artifact) || {EVERY_MOUNT} has(self.template) && has(self.template.volumes)"
            " && self.template.volumes.exists(v, v.name == m.name))))",
            "a container mounts a volume that spec.template.volumes lacks; add the volume there or correct the name in volumeMounts",
            path=".artifact.containerGroups",
        ),
    )

    display_name: DisplayName | None = Field(None, description="Name shown to people.")
    artifact_ref: NamedRef | None = Field(None, description="The Artifact to run; either this or artifact is required.")
    artifact: InlineArtifact | None = Field(
        None, description="The Artifact written inline, in place of artifactRef; it becomes an Artifact of the Workload's name."
    )
    runtime: Runtime | None = Field(None, description="How many replicas, how they scale, and with what resources.")
    suspend: bool | None = Field(None, description="True stops the Workload: no pods. False starts it again.")
    deleted: bool | None = Field(None, description="True deletes it softly: no pods, purged after the retention time; false restores it.")
    restarted_at: (
        Annotated[
            datetime,
            Field(json_schema_extra=rules(cel("self.getFullYear() >= 2000", "must be a time such as 2026-11-25T12:00:00Z"))),
        ]
        | None
    ) = Field(None, description="A time, for example 2026-11-25T12:00:00Z; a new one replaces the pods one after another.")
    template: PodTemplate | None = Field(None, description="Settings of the pods: a closed list, of which the Platform can forbid each.")


class ArtifactInUse(Lenient):
    """The Artifact in force."""

    name: Annotated[str, Field(max_length=253)] | None = Field(None, description="Its name.")
    version: int | None = Field(None, description="Its version, once registered.")
    digest: Annotated[str, Field(max_length=64)] | None = Field(None, description="Digest of what runs.")


class ScalerInUse(Lenient):
    """Why there are as many replicas as there are, as of the last change of their count."""

    kind: Annotated[str, Field(max_length=63)] | None = Field(
        None, description="What scales: HorizontalPodAutoscaler or ScaledObject; absent for a fixed count."
    )
    replicas: int | None = Field(None, description="The count that this explains.")
    metric: Annotated[str, Field(max_length=253)] | None = Field(None, description="The policy's metric that decided, if one did.")
    value: Annotated[str, Field(max_length=63)] | None = Field(None, description="Its value then, per replica.")
    target: Annotated[str, Field(max_length=63)] | None = Field(None, description="Its target then.")
    when: Time | None = Field(None, description="When the count changed, or who sets it.")
    why: Annotated[str, Field(max_length=1024)] | None = Field(None, description="In a sentence, or the field that says so.")


class Proven(Lenient):
    """The version of the pods that has been ready once."""

    template: Annotated[str, Field(max_length=64)] = Field(description="Digest of what the user declared for the pods.")
    since: Time = Field(description="When it was first ready.")


class LastWake(Lenient):
    """A wake from zero that is under way, or has failed."""

    at: Time | None = Field(None, description="When it began; once it has failed, when it did.")
    succeeded: bool | None = Field(None, description="False once it has failed; absent while it is under way.")
    message: Annotated[str, Field(max_length=1024)] | None = Field(None, description="The cause, if it failed.")


class ReplicaDetail(Lenient):
    """One pod."""

    name: Annotated[str, Field(max_length=253)] = Field(description="Name of the pod.")
    state: Annotated[str, Field(max_length=32)] | None = Field(None, description="pending, initializing, ready or terminating.")
    node: Annotated[str, Field(max_length=253)] | None = Field(None, description="Node it is on.")
    restarts: int | None = Field(
        None, description="Restarts of its containers: exact up to 5, then the last of 5, 10, 20, 50, 100 … that was reached."
    )


class WorkloadStatus(Status):
    """Status of a Workload."""

    id: Annotated[str, Field(max_length=24)] | None = Field(None, description="Id in the REST API.")
    state: State | None = Field(
        None, description="submitted, initializing, running, stopping, stopped or errored; running means that requests are answered."
    )
    message: Annotated[str, Field(max_length=1024)] | None = Field(
        None, description="What is going on, and what to do about it, in a sentence."
    )
    summary: Annotated[str, Field(max_length=128)] | None = Field(None, description="The message, cut to fit a line of kubectl get.")
    replicas: int | None = Field(None, description="Pods there are.")
    ready_replicas: int | None = Field(None, description="Pods that answer.")
    updated_replicas: int | None = Field(None, description="Pods of the present version.")
    selector: Annotated[str, Field(max_length=1024)] | None = Field(None, description="Label selector of the pods, for /scale.")
    endpoint: Annotated[str, Field(max_length=2048)] | None = Field(None, description="Public URL, through the gateway.")
    internal_url: Annotated[str, Field(max_length=2048)] | None = Field(None, description="URL inside the cluster.")
    running_since: Time | None = Field(None, description="Since when it is running.")
    artifact: ArtifactInUse | None = Field(None, description="The Artifact in force.")
    scaler: ScalerInUse | None = Field(None, description="What decided the number of replicas.")
    applied: Annotated[dict[str, Annotated[str, Field(max_length=64)]], Field(max_length=16)] | None = Field(
        None, description="Fingerprints of the children right after they were written, by kind; the operator's own record."
    )
    proven: Proven | None = Field(None, description="The version that has been ready once.")
    in_place_revision: Annotated[str, Field(max_length=64)] | None = Field(
        None, description="The version that is rolled out by replacing pods in place, for want of room."
    )
    pull_failing_since: Time | None = Field(
        None, description="Since when an image can't be pulled; only then, so that a restart of the operator doesn't begin the wait anew."
    )
    last_wake: LastWake | None = Field(
        None, description="The wake from zero that is under way, or the last one if it failed; absent after one that succeeded."
    )
    replicas_detail: Annotated[tuple[ReplicaDetail, ...], Field(max_length=16)] | None = Field(None, description="The first pods, by name.")
    log_tail: Annotated[tuple[Annotated[str, Field(max_length=4096)], ...], Field(max_length=32)] | None = Field(
        None, description="Last lines of the container that failed; while errored, and after it was stopped then."
    )


class Workload(Resource):
    """How an Artifact runs: replicas, scaling and placement. workloads.roadstead.dev, not Kueue's kind of that name."""

    spec: WorkloadSpec
    status: Annotated[WorkloadStatus | None, Losable] = None
