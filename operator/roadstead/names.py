"""Names that several layers must spell alike: labels, annotations, field managers, port names."""

from __future__ import annotations

from typing import Final

GROUP: Final = "roadstead.dev"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"

MANAGED_BY_LABEL: Final = "app.kubernetes.io/managed-by"
NAME_LABEL: Final = "app.kubernetes.io/name"
WORKLOAD_LABEL: Final = f"{GROUP}/workload"
MANAGED_BY: Final = "roadstead"
CHILDREN_SELECTOR: Final = f"{MANAGED_BY_LABEL}={MANAGED_BY}"

DESIRED_ANNOTATION: Final = f"{GROUP}/desired"
"""Digest of everything desired of a child."""
TEMPLATE_ANNOTATION: Final = f"{GROUP}/template"
"""Digest of the whole pod template as desired when the child was last applied."""
USER_ANNOTATION: Final = f"{GROUP}/user-template"
"""Digest of what the user declared for the pod template, before Platform, importance and operator add theirs."""
VERSION_ANNOTATION: Final = f"{GROUP}/version"
"""Version of a registered Artifact in its collection; written once, by the leader. A restore from a backup keeps it, unlike a status."""
DELETED_ANNOTATION: Final = f"{GROUP}/deleted-at"
"""When the operator first saw ``spec.deleted``; the retention time counts from it."""
ID_LABEL: Final = f"{GROUP}/id"
"""The id in the REST API, on what came through it: what one replica created, another finds by it."""
COLLECTION_LABEL: Final = f"{GROUP}/collection"
"""The collection's id in the REST API, on Artifacts that came through it."""
CREATOR_ANNOTATION: Final = f"{GROUP}/creator"
CREATED_ANNOTATION: Final = f"{GROUP}/created-at"
UPDATED_ANNOTATION: Final = f"{GROUP}/updated-at"
"""Who made what came through the REST API, and when it was last changed there: finer than the seconds of metadata."""
REQUEST_ANNOTATION: Final = f"{GROUP}/request"
"""Hash of user, Idempotency-Key and body of the request that made the object."""
RESTARTED_ANNOTATION: Final = f"{GROUP}/restarted-at"

PAUSED_ANNOTATION: Final = "autoscaling.keda.sh/paused-replicas"
"""KEDA's: on a ScaledObject, holds its target at that count (KEDA docs, "Pausing autoscaling")."""

OPERATOR_LEASE: Final = "roadstead-operator"
"""The Lease by which one operator leads."""
FIELD_MANAGER: Final = "roadstead"
BOOKKEEPING_MANAGER: Final = "roadstead-bookkeeping"
"""Writes the annotations that belong to the operator on objects that belong to users."""
API_MANAGER: Final = "roadstead-api"
"""Writes what people ask for through the REST API."""
REPLICAS_MANAGER: Final = "roadstead-replicas"
"""The second manager that owns ``spec.replicas`` alone, and only while no autoscaler does (facts: leaving it out resets to 1)."""

PORT_NAME: Final = "http"
