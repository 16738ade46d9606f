"""``make demo``: a cluster, the chart, the example, and an answer of its pod, with the time each part took."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from hack.cluster import everyday, images, kind, simulated
from hack.cluster.console import ClusterError, clock, say
from hack.cluster.everyday import Engine, Everyday
from hack.cluster.full import FullCluster
from hack.cluster.helm import helm

REPOSITORY_ROOT = Path(__file__).parents[2]
CHART = REPOSITORY_ROOT / "charts" / "roadstead"
EXAMPLE = REPOSITORY_ROOT / "examples" / "whoami"
NAMESPACE, RELEASE = "roadstead-system", "roadstead"
OPERATOR_ACCOUNT = "roadstead-operator"
WORKLOAD = "whoami"
_VERDICT = (
    'jsonpath={.status.state}{"\\n"}{.status.conditions[?(@.type=="Ready")].status}{"\\n"}{.status.conditions[?(@.type=="Ready")].message}'
)
_FIRST_POD = "jsonpath={.items[0].endpoints[0].targetRef.name}"
RUNNING_SECONDS = 120
ANSWER_SECONDS = 30


@dataclass(frozen=True, slots=True)
class References:
    """The images as the cluster can pull them."""

    operator: str
    whoami: str


def demo() -> None:
    """Run the demo; raises ClusterError with what a person has to know when a part of it fails."""
    began = time.monotonic()
    cluster = everyday.up("full")
    say(f"[{clock(time.monotonic() - began)}] The cluster is up; making the images")
    references = deliver(cluster)
    say(f"[{clock(time.monotonic() - began)}] Installing the chart into namespace {NAMESPACE}")
    install(cluster, references.operator)
    say(f"[{clock(time.monotonic() - began)}] Applying examples/whoami")
    apply_example(cluster, references.whoami)
    wait_running(cluster)
    if cluster.engine is Engine.SIMULATED:
        say("==> SIMULATED pods run nothing, so there is no answer to show <==")
    else:
        print(f"$ curl http://{WORKLOAD}.default.svc/", flush=True)
        print(answer(cluster), flush=True)
    say(f"Done in {clock(time.monotonic() - began)}. To go on:")
    say('  eval "$(make -s env)"                # kubectl of this cluster in this shell')
    say("  kubectl get rsw,rsa,rsd -A")
    say("  kubectl explain workloads.roadstead.dev.spec.runtime")
    say("  make down                            # stop the cluster, leave nothing behind")


def deliver(cluster: Everyday) -> References:
    """Make the images and bring them where the cluster finds them."""
    match cluster.engine:
        case Engine.LOCAL:
            local = FullCluster.of(everyday.SLOT)
            operator = local.push_image(images.operator_image(), "roadstead")
            return References(operator, local.push_image(images.whoami_image(), "whoami"))
        case Engine.KIND:
            return References(*kind.load_images())
        case Engine.CURRENT:
            operator, whoami = os.environ.get("OPERATOR_IMAGE"), os.environ.get("WHOAMI_IMAGE")
            if not operator or not whoami:
                raise ClusterError("CLUSTER=current needs OPERATOR_IMAGE and WHOAMI_IMAGE: references that cluster can pull")
            return References(operator, whoami)
        case _:
            return References("simulated.invalid/roadstead:demo", "simulated.invalid/whoami:demo")


def install(cluster: Everyday, image: str) -> None:
    """Install or upgrade the chart. Where pods are simulated the operator runs as a process of this machine."""
    command = [str(helm()), "--kubeconfig", str(cluster.kubeconfig)]
    if cluster.engine is Engine.CURRENT:
        command += ["--kube-context", os.environ["CONTEXT"]]
    command += ["upgrade", "--install", RELEASE, str(CHART), "--namespace", NAMESPACE, "--create-namespace"]
    repository, digest = image.partition("@")[::2]
    if digest:
        command += ["--set", f"image.repository={repository}", "--set", f"image.digest={digest}"]
    else:
        name, tag = repository.rpartition(":")[::2]
        command += ["--set", f"image.repository={name}", "--set", f"image.tag={tag}"]
    if cluster.engine is Engine.SIMULATED:
        cluster.kubectl("apply", "--server-side", "--filename", str(REPOSITORY_ROOT / "crds"))
        cluster.kubectl("wait", "--for=condition=Established", "--timeout=30s", "crd", "--all")
        command += ["--no-hooks"]  # a hook's pod would only pretend to do its work
    else:
        command += ["--wait", "--timeout", "180s"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pods = cluster.kubectl("--namespace", NAMESPACE, "get", "pods", check=False)
        raise ClusterError(f"helm upgrade --install failed:\n{done.stderr.strip()}\n{pods}")
    if cluster.engine is Engine.SIMULATED:
        program = shutil.which("roadstead") or str(Path(sys.executable).with_name("roadstead"))
        account = simulated.service_account(NAMESPACE, OPERATOR_ACCOUNT)
        simulated.run_operator([program, "operator", "--kubeconfig", str(account), "--health-port", "0", "--metrics-port", "0"])


def apply_example(cluster: Everyday, image: str) -> None:
    """Apply the example with our image's reference in the place of the published one."""
    artifact = re.sub(r"imageUri: .*", f"imageUri: {image}", (EXAMPLE / "artifact.yaml").read_text())
    for document in (artifact, (EXAMPLE / "workload.yaml").read_text()):
        cluster.kubectl("apply", "--filename", "-", input=document)


def wait_running(cluster: Everyday) -> None:
    """Show the Workload's line as ``kubectl get --watch`` does, until its state is running."""
    print("$ kubectl get rsw --watch", flush=True)
    seen: tuple[str, ...] = ()
    deadline = time.monotonic() + RUNNING_SECONDS
    while True:
        state, *rest = cluster.kubectl("get", "rsw", WORKLOAD, "--output", _VERDICT).split("\n")
        if state and (state, *rest) != seen:
            table = cluster.kubectl("get", "rsw", WORKLOAD, *(("--no-headers",) if seen else ()))
            print(table.rstrip(), flush=True)
            seen = (state, *rest)
        if state == "running":
            return
        if time.monotonic() > deadline:
            described = cluster.kubectl("describe", "rsw", WORKLOAD)
            raise ClusterError(f"The Workload is not running after {RUNNING_SECONDS} s; `make logs` shows more:\n{described}")
        time.sleep(0.2)


def answer(cluster: Everyday) -> str:
    """What a pod of the example answers through its Service: asked from the host where its addresses are routed, else in a pod."""
    service = "jsonpath={.spec.clusterIP}:{.spec.ports[0].port}"
    address = cluster.kubectl("get", "service", WORKLOAD, "--output", service)
    if cluster.engine is not Engine.LOCAL:
        script = f"import urllib.request; print(urllib.request.urlopen('http://{address}/').read().decode())"
        pod = cluster.kubectl("get", "endpointslices", "-l", f"kubernetes.io/service-name={WORKLOAD}", "-o", _FIRST_POD).strip()
        return cluster.kubectl("exec", pod, "--", "python3", "-c", script).strip()
    deadline = time.monotonic() + ANSWER_SECONDS
    while True:
        try:
            with urllib.request.urlopen(f"http://{address}/", timeout=5) as response:
                return response.read().decode().strip()
        except OSError as error:
            if time.monotonic() > deadline:
                raise ClusterError(f"http://{address}/ does not answer: {error}") from error
            time.sleep(0.2)
