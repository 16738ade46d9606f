"""Containers: image, port, environment, resources and probes, and what an absent field means at work.

A client finds back exactly what it wrote, so these defaults are applied when pods are built, not by the schema.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Final, Literal

from pydantic import ConfigDict, Field

from roadstead.api.base import GpuTypeName, GroupId, Label, Model, MountPath, ObjectName, Quantity, UserId, cel, keyed, ruled, rules, text

DEFAULT_PORT: Final = 8080
DEFAULT_PROBE_SECONDS: Final = 30
"""Initial delay, period and timeout of a probe that doesn't say."""
DEFAULT_FAILURE_THRESHOLD: Final = 3
DEFAULT_NAME: Final = "main"


class Protocol(StrEnum):
    """What the primary container speaks on its port."""

    HTTP = "http"
    H2C = "h2c"
    HTTPS = "https"


class Scheme(StrEnum):
    """What a probe speaks."""

    HTTP = "HTTP"
    HTTPS = "HTTPS"


class SecretKeyRef(Model):
    """One key of a Secret."""

    model_config = ConfigDict(json_schema_extra={"x-kubernetes-map-type": "atomic"})

    name: ObjectName = Field(description="Name of the Secret, in the same namespace.")
    key: Annotated[
        str,
        text(
            r"^([-_a-zA-Z0-9]|\.[-_a-zA-Z0-9])[-._a-zA-Z0-9]*$",
            "must be the key of a Secret: letters, digits, '-', '_' and '.', not beginning with '..'",
            253,
        ),
    ] = Field(description="Key within the Secret.")


class EnvironmentValueFrom(Model):
    """Where a variable's value comes from."""

    secret_key_ref: SecretKeyRef = Field(description="A key of a Secret. The Secret is referenced, never copied.")


class EnvironmentVar(Model):
    """One environment variable."""

    model_config = ruled(
        cel(
            "has(self.value) != has(self.valueFrom)",
            expression="'variable ' + self.name + ' needs exactly one of value and valueFrom'",
        )
    )

    name: Annotated[
        str,
        text(
            r"^([-_a-zA-Z]|\.[-_a-zA-Z0-9])[-._a-zA-Z0-9]*$",
            "must be the name of a variable: letters, digits, '_', '-' and '.', not beginning with a digit or '..'",
            253,
        ),
    ] = Field(description="Name of the variable.")
    value: Annotated[str, Field(max_length=32768)] | None = Field(None, description="Its value, in plain text.")
    value_from: EnvironmentValueFrom | None = Field(None, description="Its value from a Secret.")


class VolumeMount(Model):
    """Where a volume of the Workload appears in the container."""

    name: Label = Field(description="Name of a volume in spec.template.volumes of the Workload.")
    mount_path: MountPath = Field(description="Absolute path in the container.")
    sub_path: (
        Annotated[
            str,
            Field(
                min_length=1,
                max_length=1024,
                json_schema_extra=rules(
                    cel(
                        r"!self.startsWith('/') && !self.matches(r'(^|/)\.\.(/|$)')",
                        "must be a relative path within the volume, without '..'",
                    )
                ),
            ),
        ]
        | None
    ) = Field(None, description="Path within the volume (absent: its root).")
    read_only: bool | None = Field(None, description="True forbids writing (absent: false).")


class ResourceRequest(Model):
    """What a container asks for; it is guaranteed that much and gets no more."""

    model_config = ruled(
        cel(
            "!has(self.gpuType) || (has(self.gpu) && self.gpu >= 1)",
            "gpuType needs gpu of at least 1; set gpu or remove gpuType",
            path=".gpuType",
            reason="FieldValueForbidden",
        )
    )

    cpu: Annotated[float, Field(gt=0, le=1024)] = Field(description="CPU in cores, for example 0.5.")
    memory: Quantity = Field(description="Memory: a number of bytes, or a quantity such as 512Mi.")
    gpu: Annotated[int, Field(ge=0, le=64)] | None = Field(None, description="Number of GPUs (absent: 0).")
    gpu_type: GpuTypeName | None = Field(None, description="GPU type of the Platform's catalogue (spec.gpuTypes), for example h100.")


class Probe(Model):
    """An HTTP probe. Any answer from 200 to 399 passes."""

    path: Annotated[str, text("^/", "must begin with '/', for example /health", 1024)] = Field(
        description="Path asked for; begins with a slash."
    )
    port: Annotated[int, Field(ge=1, le=65535)] | None = Field(None, description="Port asked (absent: 8080).")
    scheme: Scheme | None = Field(None, description="HTTP or HTTPS (absent: HTTP).")
    host: (
        Annotated[
            str,
            Field(
                max_length=253,
                json_schema_extra=rules(
                    cel(
                        "isIP(self) || !format.dns1123Subdomain().validate(self).hasValue()",
                        expression="'\"' + self + '\" is neither an IP address nor a lower-case DNS name'",
                    )
                ),
            ),
        ]
        | None
    ) = Field(None, description="Host name sent in the Host header (absent: the pod's address). Probes always connect to the pod.")
    http_headers: (
        Annotated[
            dict[str, Annotated[str, Field(max_length=1024)]],
            Field(
                max_length=16,
                json_schema_extra=rules(
                    cel(
                        "self.all(k, size(k) <= 256 && k.matches('^[-A-Za-z0-9]+$'))",
                        "header names may hold letters, digits and '-' only",
                    )
                ),
            ),
        ]
        | None
    ) = Field(None, description="Headers sent with each probe, by name.")
    initial_delay_seconds: Annotated[int, Field(ge=0, le=3600)] | None = Field(
        None, description="Seconds after the container's start before the first probe (absent: 30)."
    )
    period_seconds: Annotated[int, Field(ge=1, le=3600)] | None = Field(None, description="Seconds between probes (absent: 30).")
    timeout_seconds: Annotated[int, Field(ge=1, le=3600)] | None = Field(None, description="Seconds an answer may take (absent: 30).")
    failure_threshold: Annotated[int, Field(ge=1, le=1000)] | None = Field(
        None, description="Failures in a row that count as failed (absent: 3)."
    )


class Capabilities(Model):
    """Capabilities of the container's processes."""

    drop: Annotated[
        tuple[Annotated[str, text("^[A-Z][A-Z_]*$", "must be ALL or a capability such as NET_RAW", 63)], ...],
        Field(max_length=64),
    ] = Field(description="Capabilities taken away. All of them always are; may be written out.")


class SeccompProfile(Model):
    """System calls that the container may make."""

    type: Literal["RuntimeDefault"] = Field(description="Always RuntimeDefault.")


class SecurityContext(Model):
    """Tightening of the container's security. Pod Security restricted holds always; nothing here can loosen it."""

    run_as_user: UserId | None = Field(None, description="User id the container runs as (absent: the Platform's). Never 0.")
    run_as_group: GroupId | None = Field(None, description="Group id the container runs as (absent: the Platform's).")
    read_only_root_filesystem: bool | None = Field(None, description="True makes the image's files read-only (absent: false).")
    run_as_non_root: Literal[True] | None = Field(None, description="Always true; may be written out.")
    allow_privilege_escalation: Literal[False] | None = Field(None, description="Always false; may be written out.")
    privileged: Literal[False] | None = Field(None, description="Always false; may be written out.")
    capabilities: Capabilities | None = Field(None, description="Capabilities taken away; all always are.")
    seccomp_profile: SeccompProfile | None = Field(None, description="Always RuntimeDefault; may be written out.")


class Container(Model):
    """An image with its port, environment, resources and probes."""

    name: Label | None = Field(None, description="Name, unique within the group (absent: main, or main-2 for the second one and so on).")
    description: Annotated[str, Field(max_length=4096)] | None = Field(None, description="What the container is for.")
    image_uri: Annotated[
        str, text("^[!-~]+$", "must be an image reference without spaces, for example registry.example.com/app:1.0", 512)
    ] = Field(description="Image reference, for example registry.example.com/app:1.0; a digest (…@sha256:…) makes it exact.")
    primary: bool | None = Field(None, description="True for the one container that gets the requests; a lone container is it anyway.")
    port: Annotated[int, Field(ge=1024, le=65535)] | None = Field(
        None, description="Port the primary container listens on (absent: 8080). No other container may have one."
    )
    protocol: Protocol | None = Field(None, description="What the primary container speaks: http, h2c or https (absent: http).")
    entrypoint: Annotated[tuple[Annotated[str, Field(max_length=4096)], ...], Field(max_length=64)] | None = Field(
        None, description="Command with its arguments, in place of the image's own entrypoint and command (absent: the image's)."
    )
    environment_vars: Annotated[tuple[EnvironmentVar, ...], Field(max_length=128, json_schema_extra=keyed("name"))] | None = Field(
        None, description="Environment variables, each with a plain value or one from a Secret."
    )
    volume_mounts: Annotated[tuple[VolumeMount, ...], Field(max_length=32, json_schema_extra=keyed("mountPath"))] | None = Field(
        None, description="Volumes of the Workload's spec.template.volumes, and where the container sees them."
    )
    resource_request: ResourceRequest = Field(description="CPU, memory and GPUs of the container: guaranteed, and not exceeded.")
    readiness_probe: Probe | None = Field(
        None, description="Asks whether the container may get requests now; as long as it fails, none are sent."
    )
    liveness_probe: Probe | None = Field(None, description="Asks whether the container still works; it is restarted when this fails.")
    startup_probe: Probe | None = Field(None, description="Asks whether the container has started; the other probes wait for it.")
    security_context: SecurityContext | None = Field(
        None, description="Tightening of the container's security; Pod Security restricted holds always."
    )


PRIMARY = "(self.size() == 1 || (has(c.primary) && c.primary))"
Containers = Annotated[
    tuple[Container, ...],
    Field(
        min_length=1,
        max_length=16,
        json_schema_extra=rules(
            cel(
                "self.size() == 1 || self.filter(c, has(c.primary) && c.primary).size() == 1",
                expression="'exactly one of the %d containers must have primary: true, but %d have'.format("
                "[self.size(), self.filter(c, has(c.primary) && c.primary).size()])",
            ),
            cel(
                "self.size() != 1 || !has(self[0].primary) || self[0].primary",
                "the only container is always the primary one; leave primary out or set it to true",
            ),
            cel(
                f"self.all(c, {PRIMARY} || (!has(c.port) && !has(c.protocol)))",
                "only the primary container may have port and protocol; remove them from the others",
            ),
            cel(
                "self.all(c, !has(c.name) || self.exists_one(d, has(d.name) && d.name == c.name))",
                "container names must be unique; rename one of those that are alike",
            ),
        ),
    ),
]


class ContainerGroup(Model):
    """The containers of one pod."""

    name: Label | None = Field(None, description="Name of the group (absent: default).")
    containers: Containers = Field(description="One primary container, and the sidecars beside it.")


ContainerGroups = Annotated[tuple[ContainerGroup, ...], Field(min_length=1, max_length=1)]
DraftContainerGroups = Annotated[tuple[ContainerGroup, ...], Field(max_length=1)]


def primary_index(containers: Sequence[Container]) -> int:
    """The place of the primary container; a lone container is it."""
    return next((index for index, container in enumerate(containers) if container.primary), 0)


def primary(containers: Sequence[Container]) -> Container:
    """The container that gets the requests."""
    return containers[primary_index(containers)]


def port(container: Container) -> int:
    """The port a primary container listens on."""
    return DEFAULT_PORT if container.port is None else container.port


def container_names(containers: Sequence[Container]) -> tuple[str, ...]:
    """The containers' names; those without get main, main-2 and so on by their place, avoiding names that are taken."""
    taken = {container.name for container in containers if container.name is not None}
    names = []
    for index, container in enumerate(containers):
        name = container.name
        number = index + 1
        while name is None or (container.name is None and name in taken):
            name = DEFAULT_NAME if number == 1 else f"{DEFAULT_NAME}-{number}"
            number += 1
        taken.add(name)
        names.append(name)
    return tuple(names)
