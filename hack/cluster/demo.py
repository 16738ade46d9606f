"""``make demo``: a cluster, KEDA, the chart, the example and its answer, the same over REST, and a Workload that wakes for a request.

With the time each part took.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from hack.cluster import asking, everyday, from_zero, images, keda_pods, kind, simulated
from hack.cluster.console import ClusterError, clock, say
from hack.cluster.control import LOOPBACK, free_ports
from hack.cluster.everyday import Engine, Everyday
from hack.cluster.full import FullCluster
from hack.cluster.helm import helm
from roadstead.api.identity import object_id

REPOSITORY_ROOT = Path(__file__).parents[2]
CHART = REPOSITORY_ROOT / "charts" / "roadstead"
EXAMPLE = REPOSITORY_ROOT / "examples" / "whoami"
NAMESPACE, RELEASE = "roadstead-system", "roadstead"
OPERATOR, API, GATEWAY = "roadstead-operator", "roadstead-api", "roadstead-gateway"
WORKLOAD = "whoami"
_VERDICT = (
    'jsonpath={.status.state}{"\\n"}{.status.conditions[?(@.type=="Ready")].status}{"\\n"}{.status.conditions[?(@.type=="Ready")].message}'
)
RUNNING_SECONDS = 120


@dataclass(frozen=True, slots=True)
class References:
    """The images as the cluster can pull them."""

    operator: str
    whoami: str
    envoy: str | None = None
    """None: the one that the chart names."""


def demo() -> None:
    """Run the demo; raises ClusterError with what a person has to know when a part of it fails."""
    began = time.monotonic()
    cluster = everyday.up("full")
    say(f"[{clock(time.monotonic() - began)}] The cluster is up; making the images")
    references = deliver(cluster)
    wakes = provide_keda(cluster)
    say(f"[{clock(time.monotonic() - began)}] Installing the chart into namespace {NAMESPACE}")
    api = install(cluster, references, keda=wakes)
    say(f"[{clock(time.monotonic() - began)}] Applying examples/whoami")
    apply_example(cluster, references.whoami)
    if wakes:
        from_zero.declare(cluster, references.whoami)
    wait_running(cluster)
    if cluster.engine is Engine.SIMULATED:
        say("==> SIMULATED pods run nothing, so there is no answer to show <==")
    else:
        print(f"$ curl http://{WORKLOAD}.default.svc/", flush=True)
        print(asking.answer(cluster, f"http://{asking.address(cluster, WORKLOAD, 'default')}/", workload=WORKLOAD).body, flush=True)
    show_over_rest(cluster, api)
    if wakes:
        from_zero.show(cluster, f"http://{asking.address(cluster, GATEWAY, NAMESPACE)}")
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
            whoami, envoy = local.push_image(images.whoami_image(), "whoami"), local.push_image(images.envoy_image(), "envoy")
            return References(operator, whoami, envoy)
        case Engine.KIND:
            return References(*kind.load_images())
        case Engine.CURRENT:
            operator, whoami = os.environ.get("OPERATOR_IMAGE"), os.environ.get("WHOAMI_IMAGE")
            if not operator or not whoami:
                raise ClusterError("CLUSTER=current needs OPERATOR_IMAGE and WHOAMI_IMAGE: references that cluster can pull")
            return References(operator, whoami)
        case _:
            return References("simulated.invalid/roadstead:demo", "simulated.invalid/whoami:demo")


def provide_keda(cluster: Everyday) -> bool:
    """Whether there is KEDA, without which nothing wakes; where pods are real and all is ours, install it."""
    if cluster.engine is Engine.LOCAL:
        say("  installing KEDA")
        keda_pods.install(FullCluster.of(everyday.SLOT))
        return True
    if cluster.engine is not Engine.SIMULATED:
        if cluster.kubectl("get", "crd", "scaledobjects.keda.sh", "--ignore-not-found", "--output", "name"):
            return True
        say("There is no KEDA in this cluster, so no Workload can sleep; docs/install.md says how to install it")
    return False


def install(cluster: Everyday, references: References, *, keda: bool = False) -> str:
    """Install or upgrade the chart; returns where the API answers. Where pods are simulated ours run as processes of this machine."""
    command = [str(helm()), "--kubeconfig", str(cluster.kubeconfig)]
    if cluster.engine is Engine.CURRENT:
        command += ["--kube-context", os.environ["CONTEXT"]]
    command += ["upgrade", "--install", RELEASE, str(CHART), "--namespace", NAMESPACE, "--create-namespace"]
    command += _image_flags("image", references.operator)
    if references.envoy is not None:
        command += _image_flags("gateway.envoy.image", references.envoy)
    if keda:
        command += ["--set", "keda.enabled=true", *from_zero.HURRY]
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
    if cluster.engine is not Engine.SIMULATED:
        return f"http://{asking.address(cluster, API, NAMESPACE)}"
    program = shutil.which("roadstead") or str(Path(sys.executable).with_name("roadstead"))
    port = free_ports(1)[0]
    for component, account, *more in (("operator", OPERATOR), ("api", API, "--host", LOOPBACK, "--port", str(port))):
        kubeconfig = str(simulated.service_account(NAMESPACE, account))
        simulated.run(component, [program, component, "--kubeconfig", kubeconfig, "--health-port", "0", "--metrics-port", "0", *more])
    return f"http://{LOOPBACK}:{port}"


def _image_flags(value: str, image: str) -> list[str]:
    repository, digest = image.partition("@")[::2]
    if digest:
        return ["--set", f"{value}.repository={repository}", "--set", f"{value}.digest={digest}"]
    name, tag = repository.rpartition(":")[::2]
    return ["--set", f"{value}.repository={name}", "--set", f"{value}.tag={tag}"]


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


def show_over_rest(cluster: Everyday, api: str) -> None:
    """Print the call that gets the same Workload through the REST API, and its answer."""
    url = f"{api}/api/v2/console/workloads/{object_id('workloads', 'default', WORKLOAD)}/"
    token = asking.caller(cluster)
    print(f'$ curl -sS -H "Authorization: Bearer $(kubectl create token {asking.CALLER})" {url} | python3 -m json.tool', flush=True)
    print(json.dumps(json.loads(asking.answer(cluster, url, workload=WORKLOAD, token=token).body), indent=4), flush=True)
