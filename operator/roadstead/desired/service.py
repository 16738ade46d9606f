"""The Service: the Workload's name inside the cluster, in front of the primary container's port."""

from __future__ import annotations

from roadstead.api.container import Container, Protocol, port, primary
from roadstead.api.workload import Workload
from roadstead.desired.child import Child, ChildKind, child, metadata, selector
from roadstead.names import PORT_NAME

APP_PROTOCOLS = {Protocol.HTTP: "http", Protocol.H2C: "kubernetes.io/h2c", Protocol.HTTPS: "https"}


def service_port(container: Container) -> int:
    """The port that clients in the cluster use: 443 for https, else 80."""
    return 443 if container.protocol is Protocol.HTTPS else 80


def internal_url(workload: Workload, container: Container) -> str:
    """The address of the Workload inside the cluster."""
    scheme = "https" if container.protocol is Protocol.HTTPS else "http"
    return f"{scheme}://{workload.metadata.name}.{workload.metadata.namespace}.svc.cluster.local"


def build_service(workload: Workload, containers: tuple[Container, ...]) -> Child:
    """A ClusterIP Service; its target is the named port, so that a changed port number moves with the pods of each version."""
    front = primary(containers)
    return child(
        ChildKind.SERVICE,
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata(workload),
            "spec": {
                "type": "ClusterIP",
                "selector": selector(workload),
                "ports": [
                    {
                        "name": PORT_NAME,
                        "protocol": "TCP",
                        "port": service_port(front),
                        "targetPort": PORT_NAME,
                        "appProtocol": APP_PROTOCOLS[front.protocol or Protocol.HTTP],
                    }
                ],
            },
        },
    )


def target_port(container: Container) -> int:
    """The container's own port; 8080 where it says none."""
    return port(container)
