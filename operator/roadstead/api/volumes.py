"""The closed list of volumes that a Workload may declare."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from roadstead.api.base import Label, Model, ObjectName, Quantity, cel, ruled


class PersistentVolumeClaimVolume(Model):
    """An existing claim."""

    claim_name: ObjectName = Field(description="Name of the PersistentVolumeClaim.")
    read_only: bool | None = Field(None, description="True mounts it read-only (absent: false).")


class ConfigMapVolume(Model):
    """The keys of a ConfigMap as files."""

    name: ObjectName = Field(description="Name of the ConfigMap.")


class SecretVolume(Model):
    """The keys of a Secret as files."""

    secret_name: ObjectName = Field(description="Name of the Secret.")


class EmptyDirVolume(Model):
    """Scratch space that lives as long as the pod."""

    medium: Literal["Memory"] | None = Field(None, description="Memory for a RAM disk, counted as the pod's memory (absent: disk).")
    size_limit: Quantity | None = Field(None, description="Largest size, for example 1Gi (absent: none).")


class Volume(Model):
    """One volume; exactly one source."""

    model_config = ruled(
        cel(
            "[has(self.persistentVolumeClaim), has(self.configMap), has(self.secret), has(self.emptyDir)].filter(x, x).size() == 1",
            expression="'volume ' + self.name + ' needs exactly one of persistentVolumeClaim, configMap, secret and emptyDir'",
        ),
        cel(
            "!self.name.startsWith('roadstead-')",
            "names that begin with roadstead- are those of the operator's own volumes; choose another",
            path=".name",
        ),
    )

    name: Label = Field(description="Name that volumeMounts refer to.")
    persistent_volume_claim: PersistentVolumeClaimVolume | None = Field(None, description="An existing PersistentVolumeClaim.")
    config_map: ConfigMapVolume | None = Field(None, description="A ConfigMap, as files.")
    secret: SecretVolume | None = Field(None, description="A Secret, as files.")
    empty_dir: EmptyDirVolume | None = Field(None, description="Scratch space.")
