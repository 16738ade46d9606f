"""Platform: the administrator's settings, one cluster-scoped object named ``default``."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from roadstead.api.base import (
    LABEL_KEYS,
    GpuTypeName,
    GroupId,
    Json,
    Labels,
    LabelValue,
    Losable,
    Model,
    MountPath,
    ObjectName,
    Quantity,
    Resource,
    ShortLabelKey,
    UserId,
    cel,
    keyed,
    ruled,
    rules,
    text,
)
from roadstead.api.conditions import Status
from roadstead.api.placement import Toleration, Tolerations, TopologySpreadConstraints

Pattern = Annotated[
    str,
    Field(
        min_length=1,
        max_length=512,
        json_schema_extra=rules(cel("'image'.matches(self) ? true : true", "must be a regular expression of RE2 syntax")),
    ),
]


class PodRollout(StrEnum):
    """When a changed Platform reaches running pods."""

    ON_CHANGE = "OnChange"
    IMMEDIATE = "Immediate"


class TemplateField(StrEnum):
    """The fields of a Workload's spec.template."""

    SERVICE_ACCOUNT_NAME = "serviceAccountName"
    IMAGE_PULL_SECRETS = "imagePullSecrets"
    RUNTIME_CLASS_NAME = "runtimeClassName"
    NODE_SELECTOR = "nodeSelector"
    TOLERATIONS = "tolerations"
    TOPOLOGY_SPREAD_CONSTRAINTS = "topologySpreadConstraints"
    TERMINATION_GRACE_PERIOD_SECONDS = "terminationGracePeriodSeconds"
    VOLUMES = "volumes"


class ModelCache(Model):
    """A volume that GPU pods share for downloaded models."""

    persistent_volume_claim: ObjectName = Field(description="Name of the claim, in the Workload's namespace.")
    mount_path: MountPath = Field("/models", description="Absolute path where containers see it.")


class PodSettings(Model):
    """Settings of all pods."""

    run_as_user: UserId = Field(10001, description="User id of containers that don't say; images made for root start with it too.")
    run_as_group: GroupId = Field(0, description="Group id of containers that don't say; 0 is the arbitrary-uid convention.")
    fs_group: GroupId | None = Field(None, description="Group that owns volumes (absent: as the volume is).")
    shared_memory: Quantity | None = Field(None, description="Size limit of /dev/shm in GPU pods (absent: the container's memory).")
    model_cache: ModelCache | None = Field(None, description="Volume that GPU pods share for models (absent: none).")
    rollout: PodRollout = Field(
        PodRollout.ON_CHANGE,
        description="When a changed Platform reaches running pods: OnChange waits for the user's next change, Immediate rolls them.",
    )
    rollouts_at_once: Annotated[int, Field(ge=1, le=1000)] = Field(
        10,
        description="How many Workloads may roll at once because of Platform, importance or a new operator; what their users change never "
        "waits.",
    )
    forbidden_template_fields: (
        Annotated[tuple[TemplateField, ...], Field(max_length=8, json_schema_extra={"x-kubernetes-list-type": "set"})] | None
    ) = Field(None, description="Fields of spec.template that Workloads may not set.")


class NodeLabelAlternative(Model):
    """One way to recognise a node that has the GPU."""

    match_labels: Annotated[dict[str, LabelValue], Field(min_length=1, max_length=8, json_schema_extra=LABEL_KEYS)] = Field(
        description="Labels that the node must all have."
    )
    absent_labels: Annotated[tuple[ShortLabelKey, ...], Field(max_length=3)] | None = Field(
        None, description="Keys of labels of which the node may have none, for example those of shared GPUs."
    )


class GpuType(Model):
    """A GPU type that Workloads may ask for."""

    gpu_type: GpuTypeName = Field(description="Name that Workloads use, for example h100.")
    description: Annotated[str, Field(max_length=512)] | None = Field(None, description="What it is.")
    node_labels: Annotated[tuple[NodeLabelAlternative, ...], Field(min_length=1, max_length=16)] = Field(
        description="Alternatives; a node that matches any one of them has the GPU."
    )
    resource_name: Annotated[
        str,
        Field(
            min_length=1,
            max_length=253,
            json_schema_extra=rules(
                cel(
                    "self.contains('/') && !format.qualifiedName().validate(self).hasValue()",
                    "must be a domain, '/' and a name, for example nvidia.com/gpu",
                )
            ),
        ),
    ] = Field("nvidia.com/gpu", description="Resource that pods ask for.")
    tolerations: Annotated[tuple[Toleration, ...], Field(max_length=8)] | None = Field(
        None, description="Taints of such nodes, beside the one named like the resource (and nvidia.com/gpu, where it is one of NVIDIA's)."
    )
    runtime_class_name: ObjectName | None = Field(None, description="RuntimeClass that such pods need.")


class ResourceBundle(Model):
    """A named set of resources."""

    model_config = ruled(
        cel(
            "!has(self.gpuType) || (has(self.gpu) && self.gpu >= 1)",
            "gpuType needs gpu of at least 1; set gpu or remove gpuType",
            path=".gpuType",
            reason="FieldValueForbidden",
        )
    )

    id: Annotated[str, Field(min_length=1, max_length=253)] = Field(description="Id that Workloads use.")
    name: Annotated[str, Field(max_length=253)] | None = Field(None, description="Name shown to people.")
    description: Annotated[str, Field(max_length=1024)] | None = Field(None, description="What it is for.")
    cpu: Annotated[float, Field(gt=0, le=1024)] = Field(description="CPU in cores.")
    memory: Quantity = Field(description="Memory: a number of bytes, or a quantity such as 16Gi.")
    gpu: Annotated[int, Field(ge=0, le=64)] | None = Field(None, description="Number of GPUs (absent: 0).")
    gpu_type: GpuTypeName | None = Field(None, description="GPU type of this catalogue.")


class ImagePolicy(Model):
    """Which images may run; enforced by a ValidatingAdmissionPolicy."""

    allow: Annotated[tuple[Pattern, ...], Field(max_length=32)] | None = Field(
        None, description="Regular expressions (RE2), one of which an image must match (absent: all may)."
    )
    deny: Annotated[tuple[Pattern, ...], Field(max_length=32)] | None = Field(
        None, description="Regular expressions (RE2), none of which an image may match."
    )


class ScalingSettings(Model):
    """Settings of all autoscalers."""

    cooldown_seconds: Annotated[int, Field(ge=0, le=86400)] = Field(300, description="Seconds without activity before scaling to zero.")
    scale_down_stabilization_seconds: Annotated[int, Field(ge=0, le=3600)] = Field(
        300, description="Seconds whose highest recommendation holds when scaling down."
    )
    polling_interval_seconds: Annotated[int, Field(ge=1, le=3600)] = Field(
        120,
        description="Seconds between looks at the metrics of a Workload that may be at zero. Demand is told at once, whatever they are.",
    )


class Retention(Model):
    """How long what was deleted softly can be restored."""

    deleted_days: Annotated[int, Field(ge=0, le=3650)] = Field(30, description="Days until it is purged.")


class NetworkPolicySettings(Model):
    """NetworkPolicies in front of Workloads."""

    enabled: bool = Field(False, description="True lets only the gateway's namespace reach the pods.")
    gateway_namespace: ObjectName = Field("roadstead-system", description="Namespace that may reach the pods.")


class Placement(Model):
    """Where pods go, unless a Workload says otherwise."""

    node_selector: Labels | None = Field(None, description="Labels that a node must have.")
    tolerations: Tolerations | None = Field(None, description="Taints that the pods tolerate.")
    topology_spread_constraints: TopologySpreadConstraints | None = Field(
        None, description="How pods spread (absent: over nodes, where possible)."
    )


class Gateway(Model):
    """The gateway in front of the endpoints."""

    url: Annotated[str, text("^https?://[!-.0-~]+$", "must be a URL without a path, for example https://ai.example.com", 2048)] | None = (
        Field(None, description="Public URL, without a path, for example https://ai.example.com.")
    )
    scaler_address: Annotated[
        str, text("^[a-z0-9]([-a-z0-9.]*[a-z0-9])?:[0-9]{1,5}$", "must be a host, ':' and a port, for example scaler.example.svc:9090", 253)
    ] = Field("roadstead-gateway.roadstead-system.svc:9090", description="Host and port of the external scaler that KEDA asks.")
    scaler_authentication: ObjectName | None = Field(
        None, description="ClusterTriggerAuthentication by which KEDA and the scaler know each other; absent: they speak without TLS."
    )
    cold_start_limit_seconds: Annotated[int, Field(ge=1, le=86400)] = Field(
        600, description="Seconds that a request may wait for a pod; then it gets 504."
    )
    wake_limit_seconds: Annotated[int, Field(ge=1, le=86400)] = Field(1800, description="Seconds after which a wake has failed.")
    retry_seconds: Annotated[int, Field(ge=1, le=3600)] = Field(
        30, description="After a wake that failed, one request per so many seconds may try again, of those in each gateway pod."
    )
    fast_path: bool = Field(False, description="True lets the gateway itself scale from 0 to 1, a moment before KEDA does.")
    queue_per_workload: Annotated[int, Field(ge=1, le=100000)] = Field(
        100, description="Requests that may wait for one Workload in each gateway pod, those to its Deployments among them."
    )
    queue_total: Annotated[int, Field(ge=1, le=1000000)] = Field(2000, description="Requests that may wait in each gateway pod in all.")
    idle_timeout_seconds: Annotated[int, Field(ge=1, le=604_800)] = Field(
        3600, description="Seconds without a byte in either direction after which a request is cut; it may last for ever otherwise."
    )
    verdict_seconds: Annotated[int, Field(ge=0, le=4)] = Field(
        4, description="Seconds that Envoy itself remembers who may call what, so that warm requests ask nobody; 0 switches that off."
    )
    stale_verdicts_seconds: Annotated[int, Field(ge=0, le=86400)] = Field(
        300, description="Seconds that a positive verdict stays in force while the API server can't be asked; 0 switches that off."
    )


class LogLevel(StrEnum):
    """Levels of Python's logging."""

    DEBUG = "DEBUG"
    INFO = "INFO"
    WARNING = "WARNING"
    ERROR = "ERROR"


class Logging(Model):
    """What the operator's processes log."""

    level: LogLevel | None = Field(None, description="From which level on, at once and without a restart (absent: as they were started).")


SECTION: Json = {"default": {}}
"""An absent section is made by the API server and filled with its defaults, so that the settings in force can be read off the object."""


class PlatformSpec(Model):
    """Spec of the Platform."""

    pods: PodSettings = Field(default_factory=PodSettings, json_schema_extra=SECTION, description="Settings of all pods.")
    gpu_types: Annotated[tuple[GpuType, ...], Field(max_length=128, json_schema_extra=keyed("gpuType"))] | None = Field(
        None, description="Catalogue of GPU types."
    )
    resource_bundles: Annotated[tuple[ResourceBundle, ...], Field(max_length=128, json_schema_extra=keyed("id"))] | None = Field(
        None, description="Catalogue of resource bundles."
    )
    images: ImagePolicy | None = Field(None, description="Which images may run.")
    scaling: ScalingSettings = Field(default_factory=ScalingSettings, json_schema_extra=SECTION, description="Settings of all autoscalers.")
    retention: Retention = Field(
        default_factory=Retention, json_schema_extra=SECTION, description="How long what was deleted can be restored."
    )
    network_policy: NetworkPolicySettings = Field(
        default_factory=NetworkPolicySettings, json_schema_extra=SECTION, description="NetworkPolicies in front of Workloads."
    )
    placement: Placement = Field(
        default_factory=Placement, json_schema_extra=SECTION, description="Where pods go, unless a Workload says otherwise."
    )
    gateway: Gateway = Field(default_factory=Gateway, json_schema_extra=SECTION, description="The gateway in front of the endpoints.")
    logging: Logging = Field(default_factory=Logging, json_schema_extra=SECTION, description="What the operator's processes log.")


class PlatformStatus(Status):
    """Status of the Platform."""


class Platform(Resource):
    """The administrator's settings; the one object is named default."""

    spec: PlatformSpec = Field(default_factory=PlatformSpec, json_schema_extra=SECTION)
    status: Annotated[PlatformStatus | None, Losable] = None
