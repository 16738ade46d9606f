"""Causes that take more than a look at the pods: Events asked for, nodes lost; kwok stands in for the kubelet, and we for its words."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from hack.cluster.control import ControlCluster
from roadstead.observed.conditions import timestamp
from tests.build import raw_artifact, raw_workload
from tests.clusters import apply, audit_events, audit_position, wait_for, writes
from tests.world import condition, here, quiet, status, unready, wait_state

pytestmark = [pytest.mark.timeout(240), pytest.mark.usefixtures("operator")]
NOON = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
WORDS = "Readiness probe failed: HTTP probe failed with statuscode: 503"


def event(pod: dict[str, Any], reason: str = "Unhealthy", message: str = WORDS, at: datetime = NOON) -> dict[str, Any]:
    """As the kubelet writes it."""
    meta = pod["metadata"]
    about = {"kind": "Pod", "apiVersion": "v1", "name": meta["name"], "namespace": meta["namespace"], "uid": meta["uid"]}
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{meta['name']}.{uuid.uuid4().hex[:8]}", "namespace": meta["namespace"]},
        "involvedObject": about | {"fieldPath": "spec.containers{main}"},
        "reason": reason,
        "message": message,
        "type": "Normal" if reason == "Killing" else "Warning",
        "lastTimestamp": timestamp(at),
        "source": {"component": "kubelet"},
    }


def asked(cluster: ControlCluster, since: int, namespace: str) -> int:
    """How often the operator read Events of that namespace."""
    entries = audit_events(cluster, since)
    refs = [e.get("objectRef") or {} for e in entries if e["verb"] == "list" and e.get("userAgent", "").startswith("roadstead-operator")]
    return sum(ref.get("resource") == "events" and ref.get("namespace") == namespace for ref in refs)


def test_a_probes_answer_is_overheard(cluster: ControlCluster, namespace: str) -> None:
    """Nothing is asked for where somebody listened when it was said, and nothing is said before it matters."""
    before = audit_position(cluster)
    apply(cluster, here(namespace, raw_artifact()), here(namespace, raw_workload()))
    wait_state(cluster, namespace, "running")
    pod = json.loads(cluster.kubectl("get", "pods", "-n", namespace, "-o", "json"))["items"][0]
    quiet(cluster)
    begun = audit_position(cluster)
    tell(cluster, event(pod))
    quiet(cluster)
    assert writes(cluster, begun, namespace) == []
    assert unready(cluster, namespace) is not None
    seen = wait_for(lambda: (found := status(cluster, namespace)) and "statuscode: 503" in found["message"] and found, "the probe's answer")
    assert (seen["state"], condition(seen, "Ready")["reason"]) == ("initializing", "NotReady")
    turn(cluster, "pod", pod["metadata"]["name"], "True", "-n", namespace)
    wait_state(cluster, namespace, "running")
    tell(cluster, event(pod, message=WORDS.replace("503", "404")))
    assert unready(cluster, namespace) is not None
    wait_for(lambda: "statuscode: 404" in status(cluster, namespace)["message"], "what it got this time")
    quiet(cluster)
    assert asked(cluster, before, namespace) == 0


def test_a_kill_is_told_while_the_container_drains(cluster: ControlCluster, namespace: str) -> None:
    """The pod says nothing of it and is ready; of other ends of containers nothing is made."""
    apply(cluster, here(namespace, raw_artifact()), here(namespace, raw_workload()))
    wait_state(cluster, namespace, "running")
    quiet(cluster)
    pod = json.loads(cluster.kubectl("get", "pods", "-n", namespace, "-o", "json"))["items"][0]
    before = audit_position(cluster)
    soon = datetime.now(UTC) + timedelta(seconds=5)
    tell(cluster, event(pod, "Killing", "Stopping container main", soon))
    tell(cluster, event(pod, "Unhealthy", WORDS.replace("Readiness", "Liveness"), soon))
    quiet(cluster)
    assert (asked(cluster, before, namespace), writes(cluster, before, namespace)) == (0, [])

    tell(cluster, event(pod, "Killing", "Container main failed liveness probe, will be restarted", soon))
    sentence = "restarted since its liveness probe failed: HTTP probe failed with statuscode: 503"
    seen = wait_for(lambda: (found := status(cluster, namespace)) and sentence in found["message"] and found, "the kill")
    assert (seen["state"], condition(seen, "Ready")["status"], condition(seen, "Stalled")) == ("running", "True", {})
    quiet(cluster)
    assert asked(cluster, before, namespace) == 1
    assert writes(cluster, before, namespace) == [("patch", "workloads/status", "chat", 200)]

    again = {**pod["status"]["containerStatuses"][0], "state": {"running": {"startedAt": timestamp(soon + timedelta(seconds=1))}}}
    change = json.dumps({"status": {"containerStatuses": [{**again, "restartCount": 1}]}})
    cluster.kubectl("patch", "pod", pod["metadata"]["name"], "-n", namespace, "--subresource=status", "-p", change)
    wait_for(lambda: status(cluster, namespace)["message"] == "1 of 1 replicas ready", "the end of it")


def tell(cluster: ControlCluster, event: dict[str, Any]) -> None:
    cluster.kubectl("create", "-f", "-", input=json.dumps(event))


def test_a_lost_node_is_named(cluster: ControlCluster, namespace: str) -> None:
    """A node without any kubelet: its word and its pod's are ours to say, as the node lifecycle controller would."""
    node = f"gone-{namespace}"
    offer = {"cpu": "4", "memory": "8Gi", "pods": "10"}
    body = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": node, "labels": {"kubernetes.io/hostname": node}}}
    cluster.kubectl("create", "-f", "-", input=json.dumps(body | {"status": {"allocatable": offer, "capacity": offer}}))
    try:
        turn(cluster, "node", node, "True")
        template = {"nodeSelector": {"kubernetes.io/hostname": node}}
        apply(cluster, here(namespace, raw_artifact()), here(namespace, raw_workload(template=template)))
        wait_state(cluster, namespace, "initializing")
        pod = json.loads(cluster.kubectl("get", "pods", "-n", namespace, "-o", "json"))["items"][0]["metadata"]["name"]
        turn(cluster, "pod", pod, "True", "-n", namespace)
        wait_state(cluster, namespace, "running")
        turn(cluster, "node", node, "Unknown")
        turn(cluster, "pod", pod, "False", "-n", namespace)
        seen = wait_for(lambda: (found := status(cluster, namespace)) and "is lost" in found["message"] and found, "the lost node")
        assert (seen["state"], condition(seen, "Ready")["reason"]) == ("initializing", "NodeLost")
        assert node in seen["message"]
        turn(cluster, "node", node, "True")
        turn(cluster, "pod", pod, "True", "-n", namespace)
        assert "lost" not in wait_state(cluster, namespace, "running")["message"]
    finally:
        cluster.kubectl("delete", "node", node, "--wait=false")


def turn(cluster: ControlCluster, kind: str, name: str, verdict: str, *flags: str) -> None:
    """Set the condition Ready, and with it, as long as the kubelet has a say, the container's."""
    change: dict[str, Any] = {"conditions": [{"type": "Ready", "status": verdict, "reason": "NodeStatusUnknown"}]}
    if kind == "pod" and verdict == "True":
        container = {"name": "main", "image": "x", "imageID": "", "ready": True, "started": True, "restartCount": 0}
        container["state"] = {"running": {"startedAt": "2026-11-25T12:00:00Z"}}
        change |= {"phase": "Running", "containerStatuses": [container]}
    patch = json.dumps({"status": change})
    cluster.kubectl("patch", kind, name, *flags, "--subresource=status", "--type=strategic", "-p", patch)
