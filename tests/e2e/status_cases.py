"""The causes of issue 5 as cases: what brings each about on a real node, what must be shown, what cures it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from hack.cluster.keda import keda
from hack.cluster.metrics_server import metrics_server
from hack.cluster.node import NODE_NAME
from tests.build import cpu_autoscaling
from tests.support.causes import (
    CURRENT,
    ENDPOINT,
    IN_PROGRESS,
    SUSPENDED,
    WORKLOAD,
    Body,
    Case,
    Shows,
    Step,
    World,
    container,
    declared,
    event,
    has_condition,
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


def on_http() -> Body:
    policy = {"scalingMetric": "httpRequestsInFlight", "target": 10, "minCount": 1, "maxCount": 2}
    return {"autoscaling": {"enabled": True, "policies": [policy]}}


def install_keda(world: World, _namespace: str) -> None:
    world.in_main(lambda: world.stack.enter_context(keda(world.cluster)))
    world.timeline.follow("scaledobjects", "/apis/keda.sh/v1alpha1/scaledobjects")


def start_metrics(world: World, _namespace: str) -> None:
    world.in_main(lambda: world.stack.enter_context(metrics_server(world.cluster)))


def scaled(world: World, namespace: str) -> None:
    world.apply(namespace, workload(server(world), runtime=on_http()))
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


def lasting(reason: str, *words: str) -> Shows:
    return Shows("errored", reason, words)


def passing(state: str, reason: str, *words: str) -> Shows:
    return Shows(state, reason, words, IN_PROGRESS)


def autoscaler(reason: str, *words: str) -> Shows:
    return Shows("running", reason, words, CURRENT, "AutoscalerReady")


UNSCHEDULABLE = has_condition("pods", "PodScheduled", verdict="False", reason="Unschedulable")
REFUSED = has_condition("deployments.apps", "ReplicaFailure", verdict="True")
LATE = has_condition("deployments.apps", "Progressing", verdict="False", reason="ProgressDeadlineExceeded")
STUBBORN = {"entrypoint": running(PICKY), "readinessProbe": probing("/warm")}
CRASHES = {"entrypoint": running(CRASH)}
DEADLINE_SECONDS = 900.0

SAMPLE: tuple[Case, ...] = (
    Case(
        "1",
        "image not found",
        apply(pulling(lambda w: f"{w.cluster.registry}/roadstead/whoami:absent")),
        lasting("ImageNotFound", "whoami:absent", "imageUri"),
        container("ErrImagePull", "not found"),
        CURE,
    ),
    Case(
        "4",
        "crash loop",
        changed(**CRASHES),
        lasting("Crashed", "code 1", "checksum mismatch"),
        container("Error"),
        CURE,
    ),
    Case(
        "6",
        "readiness never passes",
        changed(**STUBBORN),
        passing("initializing", "NotReady", "503", "path"),
        event("Unhealthy", "Readiness"),
        changed(entrypoint=running(PICKY)),
    ),
    Case(
        "9",
        "missing Secret",
        apply(with_secret),
        lasting("CreateContainerConfigError", "token"),
        container("CreateContainerConfigError"),
        apply(lambda _: [secret(hub="x")]),
    ),
    Case(
        "12",
        "more GPUs than any node has",
        changed(resourceRequest=asks(gpu=16)),
        passing("submitted", "GpuUnavailable", "16 nvidia.com/gpu", "largest has 8"),
        UNSCHEDULABLE,
        changed(resourceRequest=asks(gpu=1)),
    ),
    Case(
        "15",
        "ResourceQuota refusal",
        apply(lambda world: [built_in("ResourceQuota", "none", spec={"hard": {"pods": "0"}}), *good(world)]),
        passing("submitted", "QuotaExceeded", "exceeded quota: none"),
        REFUSED,
        delete("resourcequota/none"),
    ),
    Case(
        "17",
        "refused by an admission policy",
        apply(good),
        lasting("PodRefused", "every pod names its cost-centre"),
        REFUSED,
        delete("validatingadmissionpolicybinding/cost-centre"),
        labels={POLICY: "cost-centre"},
    ),
    Case(
        "18",
        "a new version crashes while the old one serves",
        changed(**CRASHES),
        Shows("running", "Crashed", ("1 of 1 replicas ready", "checksum mismatch"), kind="Progressing"),
        container("Error"),
        CURE,
        first=apply_and_wait(good),
    ),
    Case(
        "19",
        "Artifact missing",
        apply(lambda _: [referring()]),
        lasting("ArtifactMissing", '"model"', "create it"),
        declared(),
        apply(lambda world: [model(world)]),
    ),
    Case(
        "27",
        "a Deployment's Workload missing",
        apply(lambda _: [front()]),
        lasting("WorkloadMissing", '"chat"', "create it"),
        declared(ENDPOINT),
        apply(lambda world: [model(world, status="registered"), referring()]),
        kind=ENDPOINT,
        name="front",
    ),
)

REST: tuple[Case, ...] = (
    Case(
        "2",
        "image pull denied",
        apply(pulling(lambda w: f"{w.login.address}/roadstead/whoami:latest")),
        lasting("ImagePullDenied", "imagePullSecrets"),
        container("ErrImagePull"),
        apply(
            lambda w: [
                w.login.pull_secret("login"),
                *pulling(lambda w: f"{w.login.address}/roadstead/whoami:latest", template={"imagePullSecrets": [{"name": "login"}]})(w),
            ]
        ),
    ),
    Case(
        "3",
        "registry unreachable",
        apply(pulling(lambda w: f"{w.dark.address}/roadstead/whoami:latest")),
        lasting("ImagePullFailed", "connection refused"),
        container("ErrImagePull", "connection refused"),
        lambda world, _: world.dark.open(),
    ),
    Case(
        "5",
        "killed for want of memory",
        changed(entrypoint=running(HUNGRY)),
        lasting("OOMKilled", "64Mi", "resourceRequest.memory"),
        container("OOMKilled"),
        changed(entrypoint=running(HUNGRY), resourceRequest=asks(memory="256Mi")),
    ),
    Case(
        "6b",
        "readiness never passes, at the progress deadline",
        changed(**STUBBORN),
        lasting("NotReady", "503", "path"),
        LATE,
        changed(entrypoint=running(PICKY)),
        seconds=DEADLINE_SECONDS,
    ),
    Case(
        "7",
        "startup probe never passes",
        changed(entrypoint=running(PICKY), startupProbe=probing("/started", initialDelaySeconds=8)),
        lasting("StartupProbeFailed", "503", "path"),
        event("Unhealthy", "Startup"),
        changed(entrypoint=running(PICKY), startupProbe=probing("/ok", failureThreshold=30)),
    ),
    Case(
        "8",
        "liveness probe kills",
        changed(entrypoint=running(PICKY), livenessProbe=probing("/alive", initialDelaySeconds=8)),
        lasting("LivenessProbeFailed", "503", "path"),
        event("Killing", "liveness"),
        changed(entrypoint=running(PICKY), livenessProbe=probing("/ok", initialDelaySeconds=8, failureThreshold=30)),
    ),
    Case(
        "9b",
        "missing key of a Secret",
        apply(lambda world: [secret(other="x"), *with_secret(world)]),
        lasting("CreateContainerConfigError", "hub", "token"),
        container("CreateContainerConfigError"),
        apply(lambda _: [secret(hub="x", other="x")]),
    ),
    Case(
        "10",
        "image would run as root",
        apply(good),
        lasting("RunAsRoot", "runAsUser"),
        container("CreateContainerConfigError", "run as root"),
        changed(securityContext={"runAsUser": 10001}),
        labels={POLICY: "no-uid"},
        remark="a policy of the tests' own takes away runAsUser, which the operator always sets",
    ),
    Case(
        "10b",
        "program wants to be root",
        changed(entrypoint=running(ROOTLY)),
        lasting("Crashed", "Permission denied"),
        container("Error"),
        CURE,
    ),
    Case(
        "10c",
        "command not found",
        changed(entrypoint=["/usr/bin/absent"]),
        lasting("StartError", "/usr/bin/absent", "no such file", "entrypoint"),
        container("StartError"),
        CURE,
    ),
    Case(
        "10d",
        "command not executable",
        changed(entrypoint=["/etc/passwd"]),
        lasting("StartError", "/etc/passwd", "permission denied", "entrypoint"),
        container("StartError"),
        CURE,
    ),
    Case(
        "11",
        "no node has the CPU",
        changed(resourceRequest=asks(cpu=500)),
        passing("submitted", "Unschedulable", "Insufficient cpu", "resourceRequest"),
        UNSCHEDULABLE,
        CURE,
    ),
    Case(
        "11b",
        "no node has the memory",
        changed(resourceRequest=asks(memory="4Ti")),
        passing("submitted", "Unschedulable", "Insufficient memory", "resourceRequest"),
        UNSCHEDULABLE,
        CURE,
    ),
    Case(
        "13",
        "no node has the GPU type",
        changed(resourceRequest=asks(gpu=1, gpuType="l40s")),
        passing("submitted", "GpuUnavailable", "NVIDIA-L40S", "NVIDIA-A100-SXM4-80GB"),
        UNSCHEDULABLE,
        CURE,
    ),
    Case(
        "14",
        "node selector",
        lambda world, namespace: world.apply(
            namespace, workload(server(world), template={"nodeSelector": {"roadstead-tests-disk": namespace}})
        ),
        passing("submitted", "Unschedulable", "affinity/selector", "spec.template.nodeSelector"),
        UNSCHEDULABLE,
        label_node,
    ),
    Case(
        "14b",
        "taint",
        apply(lambda world: [workload(server(world), template={"nodeSelector": {"roadstead-tests-pool": "special"}})]),
        passing("submitted", "Unschedulable", "untolerated taint", "tolerations"),
        UNSCHEDULABLE,
        CURE,
        remark="the tainted node is an object without a kubelet",
    ),
    Case(
        "14c",
        "volume claim missing",
        apply(with_volume({"persistentVolumeClaim": {"claimName": "weights"}})),
        passing("submitted", "Unschedulable", '"weights" not found'),
        UNSCHEDULABLE,
        make_claim,
    ),
    Case(
        "14d",
        "volume of a missing Secret",
        apply(with_volume({"secret": {"secretName": "token"}})),
        passing("initializing", "VolumeMountFailed", "token"),
        event("FailedMount", "token"),
        apply(lambda _: [secret(hub="x")]),
    ),
    Case(
        "16",
        "LimitRange refusal",
        apply(
            lambda world: [
                built_in("LimitRange", "small", spec={"limits": [{"type": "Container", "max": {"memory": "32Mi"}}]}),
                *good(world),
            ]
        ),
        lasting("PodRefused", "maximum memory usage per Container is 32Mi"),
        REFUSED,
        delete("limitrange/small"),
    ),
    Case(
        "17b",
        "refused by Pod Security",
        apply(good),
        lasting("PodRefused", "violates PodSecurity", "hostNetwork"),
        REFUSED,
        delete("mutatingadmissionpolicybinding/host-network"),
        labels={POLICY: "host-network"},
        remark="a policy of the tests' own adds hostNetwork, as injectors do: pods as the operator makes them pass",
    ),
    Case(
        "18b",
        "a new version is late while the old one serves",
        changed(**STUBBORN),
        Shows("running", "NotReady", ("1 of 1 replicas ready", "503"), kind="Progressing"),
        LATE,
        CURE,
        first=apply_and_wait(good),
        seconds=DEADLINE_SECONDS,
    ),
    Case(
        "19b",
        "Artifact deleted",
        apply(lambda world: [model(world, deleted=True), referring()]),
        lasting("ArtifactDeleted", '"model"'),
        declared(),
        apply(lambda world: [model(world, deleted=False)]),
    ),
    Case(
        "19c",
        "Artifact without containers",
        apply(lambda _: [{"apiVersion": API, "kind": "Artifact", "metadata": {"name": "model"}, "spec": {}}, referring()]),
        lasting("ArtifactInvalid", "containerGroups"),
        declared(),
        apply(lambda world: [model(world)]),
    ),
    Case(
        "19d",
        "draft in use",
        apply(lambda _: [referring()]),
        lasting("DraftInUse", '"model"', '"first"'),
        declared(),
        apply(lambda world: [model(world, status="registered")]),
        first=apply_and_wait(lambda world: [model(world), referring("first")]),
    ),
    Case(
        "20",
        "KEDA missing",
        apply(lambda world: [workload(server(world), runtime=on_http())]),
        autoscaler("KedaMissing", "KEDA"),
        declared(),
        install_keda,
        well=scaling,
    ),
    Case(
        "21",
        "its ScaledObject fails",
        lambda world, _: world.scaler.down(True),
        autoscaler("TriggerError", "Triggers defined in ScaledObject are not working"),
        has_condition("scaledobjects", "Ready", verdict="False"),
        lambda world, _: world.scaler.down(False),
        first=scaled,
        well=scaling,
        after="20",
    ),
    Case(
        "22",
        "HPA can't read its metrics",
        apply(lambda world: [workload(server(world), runtime=cpu_autoscaling(low=1, high=2))]),
        autoscaler("FailedGetResourceMetric", "unable to get metrics"),
        has_condition("horizontalpodautoscalers", "ScalingActive", verdict="False"),
        start_metrics,
        well=scaling,
        remark="the cluster has no metrics API; where it answers without any metrics yet, as after each start, this is said after a minute",
    ),
    Case(
        "23",
        "the Deployment's name taken",
        apply(lambda world: [somebodys_deployment(world), *good(world)]),
        lasting("NameTaken", "Deployment chat", "somebody else"),
        declared(),
        delete("deployments.apps/chat"),
    ),
    Case(
        "23b",
        "the Service's name taken",
        apply(lambda world: [built_in("Service", "chat", spec={"ports": [{"port": 80}]}), *good(world)]),
        Shows("running", "NameTaken", ("Service chat", "somebody else"), kind="Progressing"),
        declared(),
        delete("service/chat"),
    ),
    Case(
        "24",
        "two writers fight over a field",
        fight,
        Shows("running", "FieldConflict", (OTHER,), CURRENT, "UpToDate"),
        lambda entry: entry.kind == "deployments.apps" and OTHER in str(entry.body["metadata"].get("managedFields")),
        lambda world, namespace: world.fights[namespace].set(),
        first=apply_and_wait(good),
        well=up_to_date,
    ),
    Case(
        "26",
        "evicted",
        apply(with_volume({"emptyDir": {"sizeLimit": "1Mi"}}, entrypoint=running(DEAF))),
        passing("initializing", "Evicted", "1Mi"),
        event("Evicted"),
        apply(with_volume({"emptyDir": {"sizeLimit": "1Gi"}}, entrypoint=running(DEAF))),
    ),
    Case(
        "26c",
        "evicted, and the program ends well",
        apply(with_volume({"emptyDir": {"sizeLimit": "1Mi"}}, entrypoint=running(FILL))),
        passing("initializing", "Evicted", "1Mi"),
        event("Evicted"),
        apply(with_volume({"emptyDir": {"sizeLimit": "1Gi"}}, entrypoint=running(FILL))),
        remark="the kubelet then leaves the pod as Succeeded, without a reason: only its Event tells",
    ),
    Case(
        "26b",
        "preempted",
        apply(urgent),
        passing("submitted", "Preempted", "preempt"),
        has_condition("pods", "DisruptionTarget", reason="PreemptionByScheduler"),
        delete(f"{ENDPOINT}/front", "workloads.roadstead.dev/urgent"),
        first=apply_and_wait(lambda world: [workload(server(world, resourceRequest=asks(gpu=6)))]),
    ),
    Case(
        "27b",
        "a Deployment's Workload stopped",
        apply(lambda world: [model(world, status="registered"), referring(suspend=True), front()]),
        Shows("stopped", "WorkloadStopped", ('"chat"', "spec.suspend"), SUSPENDED, "Progressing"),
        declared(ENDPOINT),
        apply(lambda _: [referring(suspend=False)]),
        kind=ENDPOINT,
        name="front",
    ),
    Case(
        "27c",
        "a Deployment's Workload of a draft",
        apply(lambda world: [model(world), referring(), front()]),
        lasting("WorkloadNotRegistered", '"chat"', "register"),
        declared(ENDPOINT),
        apply(lambda world: [model(world, status="registered")]),
        kind=ENDPOINT,
        name="front",
    ),
)

LAST = Case(
    "25",
    "node lost",
    lambda world, _: world.cluster.stop_component("kubelet"),
    passing("initializing", "NodeLost", NODE_NAME),
    has_condition("nodes", "Ready", verdict="Unknown"),
    lambda world, _: world.cluster.start_component("kubelet"),
    first=apply_and_wait(good),
    remark="the node's kubelet is stopped, after all others",
)
"""Takes the one node away from everybody, so it comes when the others are over."""
