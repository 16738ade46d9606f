"""What Services of the everyday cluster answer: asked from this machine where their addresses are routed, else from a pod."""

from __future__ import annotations

import json
import time
import urllib.request

from hack.cluster.console import ClusterError
from hack.cluster.everyday import Engine, Everyday

ANSWER_SECONDS = 30
CALLER = "demo"
_SCRIPT = (
    "import sys, urllib.request as u; "
    "print(u.urlopen(u.Request(sys.argv[1], headers=dict(a.split(': ') for a in sys.argv[2:]))).read().decode())"
)
_ADDRESS = "jsonpath={.spec.clusterIP}:{.spec.ports[0].port}"
_FIRST_POD = "jsonpath={.items[0].endpoints[0].targetRef.name}"


def address(cluster: Everyday, service: str, namespace: str) -> str:
    """``<ip>:<port>`` of a Service."""
    return cluster.kubectl("get", "service", service, "--namespace", namespace, "--output", _ADDRESS)


def answer(cluster: Everyday, url: str, *, workload: str, token: str | None = None) -> str:
    """The body of a GET; ``workload`` is one of the default namespace whose pods have Python. Raises ClusterError without an answer."""
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    if cluster.engine in (Engine.KIND, Engine.CURRENT):
        pod = cluster.kubectl("get", "endpointslices", "-l", f"kubernetes.io/service-name={workload}", "-o", _FIRST_POD).strip()
        lines = [f"{name}: {value}" for name, value in headers.items()]
        return cluster.kubectl("exec", pod, "--", "python3", "-c", _SCRIPT, url, *lines).strip()
    deadline = time.monotonic() + ANSWER_SECONDS
    while True:
        try:
            with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=5) as response:  # noqa: S310 - ours
                return str(response.read().decode().strip())
        except OSError as error:
            if time.monotonic() > deadline:
                raise ClusterError(f"{url} does not answer: {error}") from error
            time.sleep(0.2)


def caller(cluster: Everyday) -> str:
    """A token of a service account that may use Roadstead in the default namespace, as anybody's would be."""
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": CALLER, "namespace": "default"}}
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": CALLER, "namespace": "default"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "roadstead-edit"},
        "subjects": [{"kind": "ServiceAccount", "name": CALLER, "namespace": "default"}],
    }
    objects = {"apiVersion": "v1", "kind": "List", "items": [account, binding]}
    cluster.kubectl("apply", "--server-side", "--filename", "-", input=json.dumps(objects))
    return cluster.kubectl("create", "token", CALLER, "--namespace", "default").strip()
