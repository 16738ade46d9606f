"""Causes that take more than a look at the pods: Events asked for, nodes lost; kwok stands in for the kubelet, and we for its words."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hack.cluster.control import ControlCluster
from tests.build import raw_artifact, raw_workload
from tests.clusters import apply, audit_position, wait_for
from tests.world import condition, here, quiet, status, unready, wait_state

pytestmark = [pytest.mark.timeout(240), pytest.mark.usefixtures("operator")]
WORDS = "Readiness probe failed: HTTP probe failed with statuscode: 503"


def event(pod: dict[str, Any]) -> dict[str, Any]:
    """As the kubelet writes it."""
    meta = pod["metadata"]
    about = {"kind": "Pod", "apiVersion": "v1", "name": meta["name"], "namespace": meta["namespace"], "uid": meta["uid"]}
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{meta['name']}.1", "namespace": meta["namespace"]},
        "involvedObject": about | {"fieldPath": "spec.containers{main}"},
        "reason": "Unhealthy",
        "message": WORDS,
        "type": "Warning",
        "lastTimestamp": "2026-11-25T12:00:00Z",
        "source": {"component": "kubelet"},
    }


def asked(cluster: ControlCluster, since: int, namespace: str) -> int:
    """How often the operator read Events of that namespace."""
    assert cluster.audit_log is not None
    entries = map(json.loads, cluster.audit_log.read_text().splitlines()[since:])
    refs = [e.get("objectRef") or {} for e in entries if e["verb"] == "list" and e.get("userAgent", "").startswith("roadstead-operator")]
    return sum(ref.get("resource") == "events" and ref.get("namespace") == namespace for ref in refs)


def test_a_probes_answer_is_asked_for_once(cluster: ControlCluster, namespace: str) -> None:
    before = audit_position(cluster)
    apply(cluster, here(namespace, raw_artifact()), here(namespace, raw_workload()))
    wait_state(cluster, namespace, "running")
    pod = json.loads(cluster.kubectl("get", "pods", "-n", namespace, "-o", "json"))["items"][0]
    assert asked(cluster, before, namespace) == 0, "a pod that becomes ready at once leaves no question"
    cluster.kubectl("create", "-f", "-", input=json.dumps(event(pod)))
    assert unready(cluster, namespace) is not None
    seen = wait_for(lambda: (found := status(cluster, namespace)) and "statuscode: 503" in found["message"] and found, "the probe's answer")
    assert (seen["state"], condition(seen, "Ready")["reason"]) == ("initializing", "NotReady")
    quiet(cluster)
    assert asked(cluster, before, namespace) == 1
