"""The NetworkPolicy: only the gateway's namespace reaches a Workload's pods, where Platform wants it.

Probes are not affected: the kubelet's traffic comes from the pod's own node, which every network plug-in lets through.
"""

from __future__ import annotations

from roadstead.api.platform import PlatformSpec
from roadstead.api.workload import Workload
from roadstead.desired.child import Child, ChildKind, child, metadata, selector
from roadstead.names import PORT_NAME

NAMESPACE_NAME_LABEL = "kubernetes.io/metadata.name"
"""Set by the API server on every namespace, and by nobody else."""


def build_network_policy(workload: Workload, platform: PlatformSpec) -> Child | None:
    """Ingress from the gateway's namespace to the primary container's port, by the port's name: its number may differ between versions."""
    settings = platform.network_policy
    if not settings.enabled:
        return None
    return child(
        ChildKind.NETWORK_POLICY,
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": metadata(workload),
            "spec": {
                "podSelector": {"matchLabels": selector(workload)},
                "policyTypes": ["Ingress"],
                "ingress": [
                    {
                        "from": [{"namespaceSelector": {"matchLabels": {NAMESPACE_NAME_LABEL: settings.gateway_namespace}}}],
                        "ports": [{"protocol": "TCP", "port": PORT_NAME}],
                    }
                ],
            },
        },
    )
