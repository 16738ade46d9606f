"""``rollout: Immediate`` rolls every Workload, but never more at once than Platform says; also when another operator takes over."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from hack.cluster.control import ControlCluster
from tests.build import raw_artifact, raw_workload
from tests.clusters import apply, get, running_operator, wait_for
from tests.support.sampler import PAUSE_SECONDS, Reader
from tests.world import condition, here, quiet, wait_state

pytestmark = pytest.mark.timeout(300)
COUNT, AT_ONCE, USER = 30, 4, 4343
OVER = ("NewReplicaSetAvailable", "ProgressDeadlineExceeded")
Body = dict[str, Any]


@dataclass
class Seen:
    """What a look every 50 ms has seen: how many Deployments were rolling, and what Workloads that wait said."""

    rolling: list[int] = field(default_factory=list)
    messages: set[str] = field(default_factory=set)
    done: int = 0
    trouble: BaseException | None = None


@contextmanager
def watching(cluster: ControlCluster, namespace: str) -> Iterator[Seen]:
    """Look at a namespace's Deployments and Workloads for the length of the block."""
    seen, stop = Seen(), threading.Event()
    reader = Reader(cluster)

    def items(path: str) -> list[Body]:
        found = reader.get(path)
        return found["items"] if found else []

    def look() -> None:
        deployments = items(f"/apis/apps/v1/namespaces/{namespace}/deployments")
        seen.rolling.append(sum(map(rolling, deployments)))
        new = [body for body in deployments if body["spec"]["template"]["spec"]["securityContext"]["runAsUser"] == USER]
        seen.done = sum(not rolling(body) for body in new)
        for body in items(f"/apis/roadstead.dev/v1alpha1/namespaces/{namespace}/workloads"):
            said = condition(body.get("status") or {}, "UpToDate")
            if said.get("status") == "False":
                seen.messages.add(said["message"])

    def loop() -> None:
        try:
            while not stop.wait(PAUSE_SECONDS):
                look()
        except BaseException as error:
            seen.trouble = error

    thread = threading.Thread(target=loop, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        stop.set()
        thread.join(30)
        reader.close()
        if seen.trouble is not None:
            raise seen.trouble


def rolling(deployment: Body) -> bool:
    """Whether a rollout has begun and not ended."""
    status = deployment.get("status") or {}
    current = status.get("observedGeneration", 0) >= deployment["metadata"]["generation"]
    return not current or condition(status, "Progressing").get("reason") not in OVER


def test_no_more_than_so_many_roll_at_once(cluster: ControlCluster, operator_kubeconfig: Path, namespace: str, settings: None) -> None:
    names = [f"chat-{number}" for number in range(COUNT)]
    apply(cluster, here(namespace, raw_artifact(status="registered")))
    with watching(cluster, namespace) as seen:
        with running_operator(cluster, operator_kubeconfig):
            apply(cluster, *(here(namespace, raw_workload(name, suspend=name.endswith("9"))) for name in names))
            running = lambda: cluster.kubectl("get", "rsw", "-n", namespace, "-o", "jsonpath={.items[*].status.state}").split()  # noqa: E731
            wait_for(lambda: sorted(running()) == ["running"] * 27 + ["stopped"] * 3, "all to have settled", 90)
            quiet(cluster)
            seen.rolling.clear()
            began = time.monotonic()
            spec = {"pods": {"runAsUser": USER, "rollout": "Immediate", "rolloutsAtOnce": AT_ONCE}}
            cluster.kubectl("patch", "rsp", "default", "--type=merge", "-p", json.dumps({"spec": spec}))
            wait_for(lambda: seen.trouble or seen.done >= 8, "the first to have rolled", 60)
        with running_operator(cluster, operator_kubeconfig):
            wait_for(lambda: seen.trouble or seen.done == COUNT, "all to have rolled", 120)
            print(f"{COUNT} rolled in {time.monotonic() - began:.1f} s, at most {max(seen.rolling)} at once in {len(seen.rolling)} looks")
            said = ("get", "rsw", "-n", namespace, "-o", 'jsonpath={.items[*].status.conditions[?(@.type=="UpToDate")].status}')
            wait_for(lambda: set(cluster.kubectl(*said).split()) == {"True"}, "nothing to wait any more")
    assert 2 <= max(seen.rolling) <= AT_ONCE
    assert any("waits for its turn: it rolls 4 Workloads at once" in message for message in seen.messages), seen.messages


def test_a_rollout_that_cannot_begin_keeps_no_turn(
    cluster: ControlCluster, operator_kubeconfig: Path, namespace: str, settings: None
) -> None:
    """One tenant's quota of ReplicaSets is used up; another's Workload rolls all the same."""
    full = f"{namespace}-full"

    def user(uid: int) -> None:
        spec = {"pods": {"runAsUser": uid, "rollout": "Immediate", "rolloutsAtOnce": 1}}
        cluster.kubectl("patch", "rsp", "default", "--type=merge", "-p", json.dumps({"spec": spec}))

    def rolled(uid: int) -> bool:
        body = get(cluster, "deployment.apps", "chat", namespace)
        return body is not None and body["spec"]["template"]["spec"]["securityContext"]["runAsUser"] == uid and not rolling(body)

    def refused() -> bool:
        body = get(cluster, "deployment.apps", "chat", full) or {}
        return condition(body.get("status") or {}, "Progressing").get("reason") == "ReplicaSetCreateError"

    cluster.kubectl("create", "namespace", full)
    try:
        with running_operator(cluster, operator_kubeconfig):
            for each in (full, namespace):
                apply(cluster, here(each, raw_artifact(status="registered")), here(each, raw_workload()))
                wait_state(cluster, each, "running")
            cluster.kubectl("create", "quota", "few", "-n", full, "--hard=count/replicasets.apps=1")
            used = ("get", "quota", "few", "-n", full, "-o", "jsonpath={.status.used}")
            wait_for(lambda: '"1"' in cluster.kubectl(*used), "the quota to be reckoned", 60)
            user(USER)
            wait_for(refused, "the refusal", 60)
            user(USER + 1)
            wait_for(lambda: rolled(USER + 1), "the other to have its turn", 60)
            assert refused()
    finally:
        cluster.kubectl("delete", "namespace", full, "--wait=false")
