"""The end of the demo: a Workload falls asleep, wakes for a request through the gateway, and falls asleep again."""

from __future__ import annotations

import re
import time
from pathlib import Path

from hack.cluster import asking
from hack.cluster.console import ClusterError
from hack.cluster.everyday import Everyday
from roadstead.api.identity import object_id

WORKLOAD = "whoami-on-demand"
NEIGHBOUR = "whoami"
MANIFEST = Path(__file__).parents[2] / "examples" / "whoami" / "on-demand.yaml"
HURRY = ("--set", "platform.scaling.cooldownSeconds=10,platform.scaling.pollingIntervalSeconds=5")
"""Nobody waits five minutes in a demo."""
ASLEEP_SECONDS = 180
WAKE_SECONDS = 120
HEADER = "x-roadstead-cold-start"


def declare(cluster: Everyday, image: str) -> None:
    """Apply the Workload. It first shows that it runs, with one pod, and sleeps after that."""
    manifest = re.sub(r"imageUri: .*", f"imageUri: {image}", MANIFEST.read_text())
    cluster.kubectl("apply", "--filename", "-", input=manifest)


def show(cluster: Everyday, gateway: str) -> None:
    """Print how it sleeps, what a request gets and where the time went, and how it sleeps again. Raises ClusterError."""
    wait_asleep(cluster)
    url = f"{gateway}/api/v2/endpoints/workloads/{object_id('workloads', 'default', WORKLOAD)}/"
    token = asking.caller(cluster)
    print(f'$ curl -sS -D - -H "Authorization: Bearer $(kubectl create token {asking.CALLER})" {url}', flush=True)
    began = time.monotonic()
    answer = asking.answer(cluster, url, workload=NEIGHBOUR, token=token, seconds=WAKE_SECONDS)
    seconds = time.monotonic() - began
    told = answer.headers.get(HEADER)
    if told is None:
        raise ClusterError(f"{url} was answered without the header {HEADER}, so it was awake: {answer.headers}")
    print(f"{HEADER}: {told}\n\n{answer.body}", flush=True)
    phases = dict(part.split("=") for part in told.split(";"))
    print(f"# {seconds:.1f} s in all: " + ", ".join(f"{phase} {float(value):.2f} s" for phase, value in phases.items()), flush=True)
    wait_asleep(cluster, woken=True)


def wait_asleep(cluster: Everyday, *, woken: bool = False) -> None:
    """Show the Workload's line as ``kubectl get --watch`` does, until it has no pods; ``woken``: any more, since it had one just now."""
    print(f"$ kubectl get rsw {WORKLOAD} --watch", flush=True)
    seen = ""
    deadline = time.monotonic() + ASLEEP_SECONDS
    while True:
        verdict = cluster.kubectl("get", "rsw", WORKLOAD, "--output", 'jsonpath={.status.state}{" "}{.status.replicas}')
        if verdict != seen:
            print(cluster.kubectl("get", "rsw", WORKLOAD, *(("--no-headers",) if seen else ())).rstrip(), flush=True)
            seen = verdict
        state, _, replicas = verdict.partition(" ")
        woken = woken and replicas in ("", "0")
        if state == "running" and replicas in ("", "0") and not woken:
            return
        if time.monotonic() > deadline:
            described = cluster.kubectl("describe", f"rsw/{WORKLOAD}", f"scaledobject/{WORKLOAD}", check=False)
            raise ClusterError(f"The Workload still has pods after {ASLEEP_SECONDS} s; `make logs` shows more:\n{described}")
        time.sleep(0.5)
