"""What Services of the everyday cluster answer: asked from this machine where their addresses are routed, else from a pod."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass

from hack.cluster.console import ClusterError
from hack.cluster.everyday import Engine, Everyday

ANSWER_SECONDS = 30
CALLER = "demo"
_SCRIPT = (
    "import json, sys, urllib.request as u; "
    "a = u.urlopen(u.Request(sys.argv[1], headers=dict(a.split(': ') for a in sys.argv[2:]))); "
    "print(json.dumps([dict(a.headers), a.read().decode()]))"
)
_ADDRESS = "jsonpath={.spec.clusterIP}:{.spec.ports[0].port}"
_FIRST_POD = "jsonpath={.items[0].endpoints[0].targetRef.name}"


def address(cluster: Everyday, service: str, namespace: str) -> str:
    """``<ip>:<port>`` of a Service."""
    return cluster.kubectl("get", "service", service, "--namespace", namespace, "--output", _ADDRESS)


@dataclass(frozen=True, slots=True)
class Answer:
    """Body of an answer, and its headers with their names in lower case."""

    body: str
    headers: Mapping[str, str]


def answer(cluster: Everyday, url: str, *, workload: str, token: str | None = None, seconds: float = ANSWER_SECONDS) -> Answer:
    """The answer to a GET; ``workload`` is one of the default namespace whose pods have Python.

    Raises ClusterError without an answer after so many seconds.
    """
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    if cluster.engine in (Engine.KIND, Engine.CURRENT):
        pod = cluster.kubectl("get", "endpointslices", "-l", f"kubernetes.io/service-name={workload}", "-o", _FIRST_POD).strip()
        lines = [f"{name}: {value}" for name, value in headers.items()]
        return _answer(*json.loads(cluster.kubectl("exec", pod, "--", "python3", "-c", _SCRIPT, url, *lines)))
    deadline = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=seconds) as response:  # noqa: S310 - ours
                return _answer(dict(response.headers), response.read().decode())
        except OSError as error:
            if time.monotonic() > deadline:
                raise ClusterError(f"{url} does not answer: {error}") from error
            time.sleep(0.2)


def _answer(headers: Mapping[str, str], body: str) -> Answer:
    return Answer(body.strip(), {name.lower(): value for name, value in headers.items()})


def caller(cluster: Everyday) -> str:
    """A token of a service account that may use Roadstead in the default namespace, as anybody's would be."""
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": CALLER, "namespace": "default"}}
    bindings = [
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {"name": f"{CALLER}-{role}", "namespace": "default"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": f"roadstead-{role}"},
            "subjects": [{"kind": "ServiceAccount", "name": CALLER, "namespace": "default"}],
        }
        for role in ("edit", "invoke")
    ]
    objects = {"apiVersion": "v1", "kind": "List", "items": [account, *bindings]}
    cluster.kubectl("apply", "--server-side", "--filename", "-", input=json.dumps(objects))
    return cluster.kubectl("create", "token", CALLER, "--namespace", "default").strip()
