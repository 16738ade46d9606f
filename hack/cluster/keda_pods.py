"""KEDA inside the everyday cluster and in tests of the whole chart: as pods, with KEDA's own manifests, from the binaries built here.

``keda`` runs it as processes beside a cluster, which is quicker to stop and start; but those outlive no command and know no cluster DNS,
so they can't find the gateway by the name that its certificate is for. The admission webhooks are left out: they only refuse.
"""

from __future__ import annotations

import base64
import json
from typing import Any

import yaml

from hack.cluster import beside, binaries, images
from hack.cluster.full import FullCluster
from hack.cluster.keda import ADAPTER_FASTER, FASTER, NAMESPACE, limit_flows, sources

Body = dict[str, Any]
PROGRAMS = {"keda-operator": "keda-operator", "keda-metrics-apiserver": "keda-adapter"}
"""Deployments of the manifests, and the program of each."""
SECRET = "kedaorg-certs"  # noqa: S105 - a name
READY_SECONDS = 120
OPERATOR_FLAGS = {
    "zap-log-level": "info",
    "zap-encoder": "console",
    "zap-time-encoding": "rfc3339",
    # With certificates of its own making KEDA ends once, and waits a minute for the kubelet to bring them.
    "enable-cert-rotation": "false",
    "enable-webhook-patching": "false",
    "enable-apiservice-patching": "false",
    "cert-dir": "/certs",
}


def install(cluster: FullCluster) -> None:
    """Install KEDA, or the same again; builds its binaries first, and returns when its pods are ready."""
    binaries.ensure((binaries.KEDA,))
    programs = [binaries.path_to(binaries.KEDA, program) for program in PROGRAMS.values()]
    reference = cluster.push_image(images.keda_image(programs), "keda")
    names = [f"{name}.{NAMESPACE}.svc{domain}" for name in PROGRAMS for domain in ("", ".cluster.local")]
    certificates = beside.certificates(cluster, "keda-pods", names)
    texts = yaml.safe_load_all(cluster.kubectl("kustomize", str(sources() / "config" / "default")))
    manifests = [
        body for body in texts if not (body["kind"].startswith("Validating") or body["metadata"]["name"].startswith("keda-admission"))
    ]
    for body in manifests:
        if body["kind"] == "Deployment":
            _adapt(body, reference)
        elif body["kind"] == "APIService":
            body["spec"].pop("insecureSkipTLSVerify", None)
            body["spec"]["caBundle"] = certificates.bundle()
    files = {"ca.crt": certificates.authority, "tls.crt": certificates.certificate, "tls.key": certificates.key}
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": SECRET, "namespace": NAMESPACE},
        "data": {name: base64.b64encode(file.read_bytes()).decode() for name, file in files.items()},
    }
    manifests.sort(key=lambda body: body["kind"] != "Namespace")
    apply = ("apply", "--server-side", "--force-conflicts", "-f", "-")
    cluster.kubectl(*apply, input=json.dumps({"apiVersion": "v1", "kind": "List", "items": [*manifests, secret]}))
    limit_flows(cluster)
    for name in PROGRAMS:
        cluster.kubectl("rollout", "status", f"deployment/{name}", "-n", NAMESPACE, f"--timeout={READY_SECONDS}s")


def _adapt(deployment: Body, reference: str) -> None:
    """Our image and flags; probes that don't wait for a slow start."""
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    program = PROGRAMS[deployment["metadata"]["name"]]
    flags = [part for part in container["args"] if part.startswith("--")] if program == "keda-adapter" else []
    mine = ADAPTER_FASTER if flags else {**OPERATOR_FLAGS, **FASTER}
    container |= {
        "image": reference,
        "imagePullPolicy": "IfNotPresent",
        "command": [f"/{program}"],
        "args": [*flags, *(f"--{name}={value}" for name, value in mine.items())],
    }
    container["readinessProbe"] |= {"initialDelaySeconds": 1, "periodSeconds": 1}
