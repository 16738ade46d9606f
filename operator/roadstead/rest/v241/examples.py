"""One story for all examples of the document: whoami, as a workload, its artifact and a deployment in front of it.

Nothing in it is null: FastAPI leaves that out of a document.
"""

from __future__ import annotations

from typing import Any, Final

WORKLOAD_ID: Final = "5f0c8a1b2d3e4f5061728394"
ARTIFACT_ID: Final = "0a1b2c3d4e5f60718293a4b5"
DEPLOYMENT_ID: Final = "9c8b7a6f5e4d3c2b1a098765"
HOST: Final = "https://roadstead.example.com/api/v2"
CREATED: Final = "2026-09-30T15:26:54.349000+00:00"
CREATOR: Final = {"id": "c0ffee00c0ffee00c0ffee00", "username": "ada@example.com", "email": "ada@example.com"}
STAMPS: Final = {"createdAt": CREATED, "updatedAt": CREATED, "creator": CREATOR}
CONTAINER: Final = {"imageUri": "containous/whoami:latest", "port": 8080, "resourceRequest": {"cpu": 1, "memory": 134217728}}

WORKLOAD: Final[dict[str, Any]] = {
    "id": WORKLOAD_ID,
    "name": "whoami",
    **STAMPS,
    "status": "running",
    "artifactId": ARTIFACT_ID,
    "endpoint": f"{HOST}/endpoints/workloads/{WORKLOAD_ID}/",
    "internalUrl": "http://whoami-k3v9xq.team.svc.cluster.local",
    "runtime": {"replicaCount": 1},
    "runningSince": "2026-09-30T15:27:01+00:00",
    "statusDetails": {"conditions": [{"type": "Ready", "name": "Running", "value": "True: 1 of 1 replicas ready"}], "logTail": []},
}
STARTED: Final[dict[str, Any]] = {
    "status": "workload whoami is being started",
    "workloadId": WORKLOAD_ID,
    "trackVia": f"{HOST}/console/workloads/{WORKLOAD_ID}/",
}
ARTIFACT: Final[dict[str, Any]] = {
    "id": ARTIFACT_ID,
    "name": "whoami",
    "description": "Says who answers.",
    "type": "generic",
    "status": "registered",
    "version": 1,
    "artifactCollectionId": "b5a493827160f5e4d3c2b1a0",
    "spec": {"containerGroups": [{"containers": [CONTAINER]}]},
    **STAMPS,
}
DEPLOYMENT: Final[dict[str, Any]] = {
    "id": DEPLOYMENT_ID,
    "name": "whoami",
    "description": "The one that customers call.",
    "importance": "moderate",
    "workloadId": WORKLOAD_ID,
    "artifactId": ARTIFACT_ID,
    "status": "running",
    "endpoint": f"{HOST}/endpoints/deployments/{DEPLOYMENT_ID}/",
    **STAMPS,
}
BUNDLE: Final[dict[str, Any]] = {
    "id": "gpu.large",
    "name": "Large, with a GPU",
    "description": "8 cores, 64 GiB, one H100.",
    "cpuCount": 8,
    "memoryBytes": 68719476736,
    "gpuCount": 1,
    "gpuMaker": "nvidia",
    "gpuTypeLabel": "h100",
}
PLACE: Final[dict[str, Any]] = {"loc": ["body", "artifactId"], "msg": f"artifact {ARTIFACT_ID} not found", "type": "state"}
