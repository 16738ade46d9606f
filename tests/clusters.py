"""What tests put into a cluster: our CRDs, fake nodes, the chart's RBAC; and the operator as a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import yaml

from hack.cluster.api import Cluster
from hack.cluster.console import ClusterError
from hack.cluster.control import free_ports
from hack.cluster.helm import helm
from hack.cluster.processes import answers

ROOT = Path(__file__).parent.parent
CHART = ROOT / "charts" / "roadstead"
NAMESPACE = "roadstead-system"
LONGEST_LINE_BYTES = 1_048_576
"""Of an audit log."""
Body = dict[str, Any]
T = TypeVar("T")


def install_crds(cluster: Cluster) -> None:
    """Apply the committed CRDs and wait until they are served."""
    files = sorted((ROOT / "crds").glob("*.yaml"))
    cluster.kubectl("apply", "--server-side", *(part for file in files for part in ("-f", str(file))))
    cluster.kubectl("wait", "--for=condition=Established", "--timeout=30s", *(part for file in files for part in ("-f", str(file))))


def rendered_chart(*flags: str) -> list[Body]:
    """The chart's objects, without hooks."""
    command = [str(helm()), "template", "roadstead", str(CHART), "--namespace", NAMESPACE, "--no-hooks", *flags]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [body for body in yaml.safe_load_all(done.stdout) if body]


def install_rbac(cluster: Cluster, *flags: str, kinds: bool = True) -> str:
    """Apply the chart without its pods. Returns the user name of the operator's service account.

    ``flags`` are Helm's. ``kinds``: also what is of our own kinds or refers to them; their definitions must be there.
    """
    cluster.kubectl("create", "namespace", NAMESPACE, check=False)
    left_out = {"Deployment", "PodDisruptionBudget", "Service"}
    if not kinds:
        left_out |= {"Platform", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"}
    kept = [body for body in rendered_chart(*flags) if body["kind"] not in left_out]
    cluster.kubectl("apply", "--server-side", "-f", "-", input=yaml.safe_dump_all(kept))
    account = next(body for body in kept if body["kind"] == "ServiceAccount")
    return f"system:serviceaccount:{NAMESPACE}:{account['metadata']['name']}"


def operator_access(cluster: Cluster) -> Path:
    """The way into the cluster with exactly the rights that the chart gives the operator."""
    return cluster.client_kubeconfig(f"system:serviceaccount:{NAMESPACE}:roadstead-operator")


def declare_platform(cluster: Cluster, **spec: Any) -> None:
    """Put these settings in the chart's Platform's place."""
    body = {"apiVersion": "roadstead.dev/v1alpha1", "kind": "Platform", "metadata": {"name": "default"}, "spec": spec}
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", input=json.dumps(body))


def wait_admission(cluster: Cluster) -> None:
    """Wait until the chart's admission policies are in force and can be asked.

    For a second or so after they are made nothing is checked; then an API server that has just started may refuse all they match, since it
    looks up their parameter's kind anew only every half minute ("failed to find resource referenced by paramKind"). So what passes proves
    nothing yet: a binding that refuses one labelled object, made after the chart's, has to refuse it for its own reason.
    """
    labels = {"roadstead.dev/probe": "admission"}
    binding = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": "probe"},
        "spec": {
            "policyName": "images.roadstead.dev",
            "paramRef": {"name": "none", "parameterNotFoundAction": "Deny"},
            "matchResources": {"objectSelector": {"matchLabels": labels}},
            "validationActions": ["Deny"],
        },
    }
    artifact = {
        "apiVersion": "roadstead.dev/v1alpha1",
        "kind": "Artifact",
        "metadata": {"name": "probe", "namespace": "default", "labels": labels},
        "spec": {"containerGroups": [{"containers": [{"imageUri": "probe", "resourceRequest": {"cpu": 1, "memory": 1}}]}]},
    }

    def in_force() -> bool:
        try:
            cluster.kubectl("create", "--dry-run=server", "-f", "-", input=json.dumps(artifact))
        except ClusterError as refused:
            return "no params found for policy binding" in str(refused)
        return False

    apply(cluster, binding)
    try:
        wait_for(in_force, "the admission policies", 90, pause=0.5)
    finally:
        cluster.kubectl("delete", "validatingadmissionpolicybinding", "probe", "--wait=false")


def add_fake_nodes(cluster: Cluster, count: int = 1) -> None:
    """Nodes whose kubelet is kwok, with room and an NVIDIA GPU product label."""
    for number in range(count):
        offer = {"cpu": "64", "memory": "256Gi", "pods": "1000", "nvidia.com/gpu": "8"}
        node = {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {
                "name": f"fake-{number}",
                "annotations": {"kwok.x-k8s.io/node": "fake"},
                "labels": {"kubernetes.io/hostname": f"fake-{number}", "nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"},
            },
            "status": {"allocatable": offer, "capacity": offer},
        }
        cluster.kubectl("create", "-f", "-", input=json.dumps(node))


@contextmanager
def running_operator(
    cluster: Cluster, kubeconfig: Path, *, ready: bool = True, metrics_port: int = 0, **environment: str
) -> Iterator[subprocess.Popen[bytes]]:
    """The operator as a user runs it, but on this machine: same command, the chart's rights. Stopped by SIGTERM at the end."""
    port = free_ports(1)[0]
    log = (cluster.state / f"operator-{port}.log").open("wb")
    command = [sys.executable, "-m", "roadstead", "operator", "--kubeconfig", str(kubeconfig), "--namespace", NAMESPACE]
    command += ["--health-port", str(port), "--metrics-port", str(metrics_port)]
    process = subprocess.Popen(
        command, stdout=log, stderr=subprocess.STDOUT, env={**os.environ, "PYTHONPATH": str(ROOT / "operator"), **environment}
    )
    try:
        if ready:
            wait_for(lambda: process.poll() is not None or answers(f"http://127.0.0.1:{port}/readyz"), "the operator to be ready", 60)
            if process.poll() is not None:
                raise AssertionError(f"the operator ended with {process.returncode}:\n{Path(log.name).read_text()[-4000:]}")
        yield process
    finally:
        log.close()
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise AssertionError("the operator did not stop within 15 s of SIGTERM") from None


def wait_for(condition: Callable[[], T], what: str, seconds: float = 30.0, pause: float = 0.1) -> T:
    """Poll until the condition is truthy and return it; fails with the last value."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds} s for {what}; last: {value!r}")
        time.sleep(pause)


def get(cluster: Cluster, kind: str, name: str, namespace: str) -> Body | None:
    """One object, or None."""
    text = cluster.kubectl("get", kind, name, "-n", namespace, "-o", "json", "--ignore-not-found", "--show-managed-fields")
    return json.loads(text) if text.strip() else None


def apply(cluster: Cluster, *bodies: Body) -> None:
    """`kubectl apply --server-side`, as user kubectl."""
    cluster.kubectl("apply", "--server-side", "-f", "-", input=yaml.safe_dump_all(bodies))


def writes(
    cluster: Cluster, since: int, namespace: str | None = None, agent: str = "roadstead-operator"
) -> list[tuple[str, str, str, int]]:
    """The operator's writes in the API server's audit log after ``since``, a position: verb, resource, name, code; Leases left out, and
    other namespaces where one is given."""
    found = []
    for event in audit_events(cluster, since):
        ref = event.get("objectRef") or {}
        if not event.get("userAgent", "").startswith(agent) or event["verb"] in ("get", "list", "watch") or ref.get("resource") == "leases":
            continue
        if namespace is not None and ref.get("namespace") != namespace:
            continue
        resource = ref.get("resource", "") + ("/" + ref["subresource"] if ref.get("subresource") else "")
        found.append((event["verb"], resource, ref.get("name", ""), event["responseStatus"]["code"]))
    return found


def audit_position(cluster: Cluster) -> int:
    """Where the audit log's last whole line ends, in bytes: the API server may just be writing another."""
    assert cluster.audit_log is not None
    with cluster.audit_log.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        begin = file.seek(max(0, end - LONGEST_LINE_BYTES))
        return end - len(file.read(end - begin).rpartition(b"\n")[2])


def audit_events(cluster: Cluster, since: int = 0) -> Iterator[Body]:
    """The whole lines of the audit log after that position."""
    assert cluster.audit_log is not None
    with cluster.audit_log.open("rb") as file:
        assert file.seek(0, os.SEEK_END) >= since, "the audit log has been begun anew"
        file.seek(since)
        for line in file:
            if not line.endswith(b"\n"):
                return  # its end is still to come, and would be taken for a line of its own
            yield json.loads(line)
