"""What the cases of status are made of: objects with one thing wrong, and the steps that bring a trouble about or cure it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from hack.cluster.keda import keda
from hack.cluster.metrics_server import metrics_server
from hack.cluster.node import NODE_NAME
from tests.build import http_autoscaling
from tests.support.causes import (
    WORKLOAD,
    Body,
    Step,
    World,
    well,
)
from tests.support.timeline import Entry
from tests.world import condition

PYTHON = "/usr/bin/python3"
API = "roadstead.dev/v1alpha1"
PICKY = """
import signal, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
class Picky(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/ok" else 503)
        self.end_headers()
    def log_message(self, *_):
        pass
ThreadingHTTPServer(("0.0.0.0", 8080), Picky).serve_forever()
"""
CRASH = "import sys; print('loading weights'); sys.exit('weights.bin: checksum mismatch')"
FILL = "import runpy, signal; open('/data/cache', 'wb').write(bytes(20 << 20)); runpy.run_path('/app/whoami.py', run_name='__main__')"
DEAF = FILL.replace("; open", "; signal.signal = lambda *_: None; open")
"""The same, deaf to the signal that asks it to end."""
HUNGRY = "import runpy; kept = bytearray(150 << 20); runpy.run_path('/app/whoami.py', run_name='__main__')"
ROOTLY = "open('/etc/motd', 'w')"
POLICY = "roadstead-tests-policy"
"""Label of the namespaces that a policy of the tests' own is for."""
OTHER = "other-operator"
ON_HTTP = http_autoscaling("httpRequestsInFlight", low=1, high=2)
Given = Callable[[World], list[Body]]


def server(world: World, **more: Any) -> Body:
    """A container that answers and is ready at once."""
    probe = {"path": "/ok", "initialDelaySeconds": 0, "periodSeconds": 1, "timeoutSeconds": 5}
    return {"imageUri": world.image, "resourceRequest": asks(), "readinessProbe": probe, **more}


def asks(**more: Any) -> Body:
    return {"cpu": 0.05, "memory": "64Mi", **more}


def running(script: str) -> list[str]:
    return [PYTHON, "-c", script]


def probing(path: str, **more: Any) -> Body:
    """A probe every second, that gives up after three; a slow machine gets time to answer."""
    return {"path": path, "initialDelaySeconds": 0, "periodSeconds": 1, "timeoutSeconds": 5, "failureThreshold": 3, **more}


def workload(one: Body, name: str = "chat", **spec: Any) -> Body:
    """A Workload with that container inline; its pods end fast."""
    template = {"terminationGracePeriodSeconds": 1, **spec.pop("template", {})}
    inline = {"containerGroups": [{"containers": [one]}]}
    return {"apiVersion": API, "kind": "Workload", "metadata": {"name": name}, "spec": {"artifact": inline, "template": template, **spec}}


def referring(name: str = "chat", **spec: Any) -> Body:
    """A Workload of the Artifact model."""
    return {
        "apiVersion": API,
        "kind": "Workload",
        "metadata": {"name": name},
        "spec": {"artifactRef": {"name": "model"}, "template": {"terminationGracePeriodSeconds": 1}, **spec},
    }


def model(world: World, *, resources: Body | None = None, **spec: Any) -> Body:
    groups = [{"containers": [server(world, **({"resourceRequest": resources} if resources else {}))]}]
    return {"apiVersion": API, "kind": "Artifact", "metadata": {"name": "model"}, "spec": {"containerGroups": groups, **spec}}


def front(target: str = "chat", **spec: Any) -> Body:
    return {"apiVersion": API, "kind": "Deployment", "metadata": {"name": "front"}, "spec": {"workloadRef": {"name": target}, **spec}}


def built_in(kind: str, name: str, api: str = "v1", **more: Any) -> Body:
    return {"apiVersion": api, "kind": kind, "metadata": {"name": name}, **more}


def apply(given: Given) -> Step:
    """Apply these objects."""
    return lambda world, namespace: world.apply(namespace, *given(world))


def apply_and_wait(given: Given) -> Step:
    """Apply these objects and wait until every Workload among them is well."""

    def step(world: World, namespace: str) -> None:
        bodies = given(world)
        world.apply(namespace, *bodies)
        for body in bodies:
            if body["kind"] == "Workload":
                name = body["metadata"]["name"]
                match = partial(_well, name)
                world.timeline.wait(namespace, match, f"{name} to be well at first", 240)

    return step


def _well(name: str, entry: Entry) -> bool:
    return entry.kind == WORKLOAD and entry.name == name and well(entry.body)


def delete(*names: str) -> Step:
    """Delete objects, by kind/name."""

    def step(world: World, namespace: str) -> None:
        for name in names:
            world.cluster.kubectl("delete", name, "-n", namespace)

    return step


def good(world: World) -> list[Body]:
    return [workload(server(world))]


def changed(**more: Any) -> Step:
    """The Workload with its container changed so."""
    return apply(lambda world: [workload(server(world, **more))])


CURE = apply(good)


def policy(kind: str, name: str, spec: Body) -> list[Body]:
    """An admission policy on the pods of the namespaces that bear its name as a label, and the binding that puts it in force."""
    api = "admissionregistration.k8s.io/v1"
    rules = [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}]
    chosen = {"namespaceSelector": {"matchLabels": {POLICY: name}}}
    bound: Body = {"policyName": name, "matchResources": chosen}
    if kind == "ValidatingAdmissionPolicy":
        bound["validationActions"] = ["Deny"]
    constraints = {"resourceRules": rules}
    return [
        built_in(kind, name, api, spec={"matchConstraints": constraints, **spec}),
        built_in(f"{kind}Binding", name, api, spec=bound),
    ]


def mutation(name: str, *patches: str) -> list[Body]:
    mutations = [{"patchType": "JSONPatch", "jsonPatch": {"expression": f"[{', '.join(patches)}]"}}]
    return policy("MutatingAdmissionPolicy", name, {"reinvocationPolicy": "Never", "failurePolicy": "Fail", "mutations": mutations})


def cluster_objects() -> list[Body]:
    """What is in the cluster from the start on."""
    validations = [{"expression": "'cost-centre' in object.metadata.labels", "message": "every pod names its cost-centre"}]
    tainted = built_in("Node", "tainted", spec={"taints": [{"key": "dedicated", "value": "others", "effect": "NoSchedule"}]})
    tainted["metadata"]["labels"] = {"roadstead-tests-pool": "special"}
    return [
        *policy("ValidatingAdmissionPolicy", "cost-centre", {"failurePolicy": "Fail", "validations": validations}),
        *mutation("no-uid", *(f'JSONPatch{{op: "remove", path: "/spec/securityContext/{name}"}}' for name in ("runAsUser", "runAsGroup"))),
        *mutation("host-network", 'JSONPatch{op: "add", path: "/spec/hostNetwork", value: true}'),
        tainted,
    ]


def label_node(world: World, namespace: str) -> None:
    world.cluster.kubectl("label", "node", NODE_NAME, f"roadstead-tests-disk={namespace}", "--overwrite")


def make_claim(world: World, namespace: str) -> None:
    """A volume on the node's disk, and the claim for it."""
    volume = {
        "capacity": {"storage": "1Gi"},
        "accessModes": ["ReadWriteOnce"],
        "hostPath": {"path": str(world.cluster.state / f"volume-{namespace}"), "type": "DirectoryOrCreate"},
    }
    claim = {
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": "",
        "volumeName": namespace,
        "resources": {"requests": {"storage": "1Gi"}},
    }
    world.apply(
        namespace,
        built_in("PersistentVolume", namespace, spec=volume),
        built_in("PersistentVolumeClaim", "weights", spec=claim),
    )


def fight(world: World, namespace: str) -> None:
    """Somebody sets a field of ours again and again, until told to stop."""
    stop = world.fights[namespace] = threading.Event()
    patch = ("--type=merge", f"--field-manager={OTHER}", "-p", '{"spec": {"revisionHistoryLimit": 7}}')

    def run() -> None:
        while not stop.wait(0.5):
            world.cluster.kubectl("patch", "deployments.apps", "chat", "-n", namespace, *patch, check=False)

    threading.Thread(target=run, daemon=True).start()


def up_to_date(body: Body) -> bool:
    return well(body) and condition(body["status"], "UpToDate").get("status") == "True"


def scaling(body: Body) -> bool:
    return well(body) and condition(body["status"], "AutoscalerReady").get("status") == "True"


def install_keda(world: World, _namespace: str) -> None:
    world.in_main(lambda: world.stack.enter_context(keda(world.cluster)))
    world.timeline.follow("scaledobjects", "/apis/keda.sh/v1alpha1/scaledobjects")


def start_metrics(world: World, _namespace: str) -> None:
    world.in_main(lambda: world.stack.enter_context(metrics_server(world.cluster)))


def scaled(world: World, namespace: str) -> None:
    world.apply(namespace, workload(server(world), runtime=ON_HTTP))
    world.timeline.wait(namespace, lambda e: e.name == "chat" and scaling(e.body), "the ScaledObject to be well at first", 240)


def with_secret(world: World) -> list[Body]:
    reference = {"secretKeyRef": {"name": "token", "key": "hub"}}
    return [workload(server(world, environmentVars=[{"name": "TOKEN", "valueFrom": reference}]))]


def with_volume(volume: Body, **more: Any) -> Given:
    mounts = [{"name": "data", "mountPath": "/data"}]
    volumes = {"volumes": [{"name": "data", **volume}]}
    return lambda world: [workload(server(world, volumeMounts=mounts, **more), template=volumes)]


def secret(**data: str) -> Body:
    return built_in("Secret", "token", stringData=data)


def pulling(uri: Callable[[World], str], **spec: Any) -> Given:
    return lambda world: [workload(server(world, imageUri=uri(world)), **spec)]


def somebodys_deployment(world: World) -> Body:
    labels = {"app": "somebodys"}
    container = {"name": "main", "image": world.image}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    return built_in("Deployment", "chat", "apps/v1", spec={"replicas": 0, "selector": {"matchLabels": labels}, "template": template})


def urgent(world: World) -> list[Body]:
    return [
        front("urgent", importance="critical"),
        model(world, resources=asks(gpu=4), status="registered"),
        referring("urgent"),
    ]
