"""Our own kinds, as resources of the Kubernetes API."""

from __future__ import annotations

from typing import Final

from roadstead.kube.resource import Resource
from roadstead.names import GROUP, VERSION

ARTIFACTS: Final = Resource(GROUP, VERSION, "artifacts", "Artifact")
WORKLOADS: Final = Resource(GROUP, VERSION, "workloads", "Workload")
ENDPOINTS: Final = Resource(GROUP, VERSION, "deployments", "Deployment")
"""Our own kind Deployment; called so in code to be told from apps/v1."""
PLATFORMS: Final = Resource(GROUP, VERSION, "platforms", "Platform", namespaced=False)
PLATFORM_NAME: Final = "default"
