"""Names come and go quickly: a child deleted as soon as it is there, a Workload made again, a stranger's look-alike."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from hack.cluster.control import ControlCluster
from tests.build import raw_artifact, raw_workload
from tests.clusters import apply, get, running_operator, wait_for
from tests.world import here, patch, pod_uids, quiet, status, wait_state

pytestmark = pytest.mark.timeout(180)
Body = dict[str, Any]


def test_a_creation_at_zero_that_was_cut_short_starts_no_pod(cluster: ControlCluster, operator_kubeconfig: Path, namespace: str) -> None:
    """As after a crash between the first write and the second: the main manager owns the count, and no record of the apply exists.

    First in this module: its operators are its own.
    """
    apply(cluster, here(namespace, raw_artifact()), here(namespace, raw_workload(suspend=True)))
    with running_operator(cluster, operator_kubeconfig):
        wait_state(cluster, namespace, "stopped")
    live = get(cluster, "deployment.apps", "chat", namespace) or {}
    kept = {name: live["metadata"][name] for name in ("name", "namespace", "labels", "annotations", "ownerReferences")}
    kept["annotations"] = {name: value for name, value in kept["annotations"].items() if name.startswith("roadstead.dev/")}
    first = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": kept, "spec": live["spec"]}
    cluster.kubectl("delete", "deployment.apps", "chat", "-n", namespace)
    cluster.kubectl("apply", "--server-side", "--field-manager=roadstead", "-f", "-", input=json.dumps(first))
    forget = {"status": {"applied": None}}
    cluster.kubectl("patch", "rsw", "chat", "-n", namespace, "--subresource=status", "--type=merge", "-p", json.dumps(forget))
    with running_operator(cluster, operator_kubeconfig):
        wait_for(lambda: status(cluster, namespace).get("applied"), "the record")
        quiet(cluster)
    owners = {
        entry["manager"]: json.dumps(entry["fieldsV1"])
        for entry in (get(cluster, "deployment.apps", "chat", namespace) or {})["metadata"]["managedFields"]
    }
    assert '"f:replicas"' not in owners["roadstead"]
    assert '"f:replicas"' in owners["roadstead-replicas"]
    assert not pod_uids(cluster, namespace)
    assert "ScalingReplicaSet" not in cluster.kubectl("get", "events", "-n", namespace, "-o", "json")


@pytest.mark.usefixtures("operator")
class TestChildren:
    @pytest.mark.parametrize("kind", ["service", "deployment.apps"])
    def test_deleted_as_soon_as_made_comes_back(self, cluster: ControlCluster, namespace: str, kind: str) -> None:
        apply(cluster, here(namespace, raw_artifact()), here(namespace, raw_workload()))
        first = wait_for(lambda: get(cluster, kind, "chat", namespace), "the child", pause=0)
        cluster.kubectl("delete", kind, "chat", "-n", namespace, "--wait=false")

        def another() -> bool:
            found = get(cluster, kind, "chat", namespace)
            return found is not None and found["metadata"]["uid"] != first["metadata"]["uid"]

        wait_for(another, "another of its name")
        wait_state(cluster, namespace, "running")

    def test_a_strangers_look_alike_never_counts(self, cluster: ControlCluster, namespace: str) -> None:
        """A Deployment with our labels and ready pods, but nobody's: the Workload doesn't run, and it isn't touched."""
        theirs = look_alike(namespace)
        apply(cluster, theirs)
        wait_for(lambda: ((get(cluster, "deployment.apps", "chat", namespace) or {}).get("status") or {}).get("readyReplicas"), "its pods")
        apply(cluster, here(namespace, raw_artifact()), here(namespace, raw_workload(runtime={"replicaCount": 2})))
        seen = wait_state(cluster, namespace, "errored")
        assert seen["message"].startswith("Deployment chat exists already and belongs to somebody else")
        assert (seen["replicas"], seen["readyReplicas"], seen.get("replicasDetail")) == (0, 0, None)
        quiet(cluster)
        assert (get(cluster, "deployment.apps", "chat", namespace) or {})["spec"]["replicas"] == 1
        cluster.kubectl("delete", "deployment.apps", "chat", "-n", namespace)
        wait_for(lambda: status(cluster, namespace).get("readyReplicas") == 2, "it to heal", 90)


@pytest.mark.usefixtures("operator")
class TestMadeAgain:
    def test_a_workload_made_again_waits_for_what_its_namesake_left(self, cluster: ControlCluster, namespace: str) -> None:
        """A finalizer keeps the former Service, as the garbage collector may keep anything for a while. That is no stranger's."""
        workload = here(namespace, raw_workload())
        apply(cluster, here(namespace, raw_artifact()), workload)
        wait_state(cluster, namespace, "running")
        hold(cluster, namespace, ["example.com/hold"])
        cluster.kubectl("delete", "rsw", "chat", "-n", namespace)
        apply(cluster, workload)
        seen = wait_state(cluster, namespace, "running")
        assert "NameTaken" not in json.dumps(seen)
        wait_for(
            lambda: "former Service chat is still being deleted" in json.dumps(status(cluster, namespace)), "word of what it waits for"
        )
        hold(cluster, namespace, [])
        wait_for(lambda: is_of(cluster, namespace, "service", "chat"), "a Service of its own")
        wait_for(lambda: "still being deleted" not in json.dumps(status(cluster, namespace)), "nothing to be pending any more")

    def test_made_again_at_once_it_never_fails(self, cluster: ControlCluster, namespace: str) -> None:
        workload = here(namespace, raw_workload())
        apply(cluster, here(namespace, raw_artifact()), workload)
        wait_state(cluster, namespace, "running")
        for _ in range(3):
            cluster.kubectl("delete", "rsw", "chat", "-n", namespace, "--wait=false")
            apply(cluster, workload)
            deadline = time.monotonic() + 40
            while (seen := status(cluster, namespace)).get("state") != "running" or not is_of(
                cluster, namespace, "deployment.apps", "chat"
            ):
                assert seen.get("state") != "errored", seen
                assert time.monotonic() < deadline, seen


def test_stopping_under_a_refusal_is_lasting(cluster: ControlCluster, operator: subprocess.Popen[bytes], namespace: str) -> None:
    """Without its artifact nothing can be built; it stops, and whatever scales the Deployment up again is answered."""
    apply(cluster, here(namespace, raw_artifact()), here(namespace, raw_workload(runtime={"replicaCount": 2})))
    wait_state(cluster, namespace, "running")
    cluster.kubectl("delete", "rsa", "model", "-n", namespace)
    patch(cluster, "rsw", "chat", namespace, suspend=True)
    wait_state(cluster, namespace, "stopped")
    cluster.kubectl("scale", "deployment.apps/chat", "-n", namespace, "--replicas=1")
    wait_for(lambda: (get(cluster, "deployment.apps", "chat", namespace) or {})["spec"]["replicas"] == 0, "zero again")
    wait_state(cluster, namespace, "stopped")


def look_alike(namespace: str) -> Body:
    """A Deployment as ours are labelled, with a pod as ours are labelled, but without an owner."""
    marks = {"app.kubernetes.io/managed-by": "roadstead", "roadstead.dev/workload": "chat"}
    pod = {"metadata": {"labels": marks}, "spec": {"containers": [{"name": "main", "image": "theirs:1"}]}}
    spec = {"replicas": 1, "selector": {"matchLabels": marks}, "template": pod}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "chat", "namespace": namespace, "labels": marks},
        "spec": spec,
    }


def hold(cluster: ControlCluster, namespace: str, finalizers: list[str]) -> None:
    body = json.dumps({"metadata": {"finalizers": finalizers}})
    cluster.kubectl("patch", "service", "chat", "-n", namespace, "--type=merge", "-p", body)


def is_of(cluster: ControlCluster, namespace: str, kind: str, name: str) -> bool:
    """Whether the child belongs to the present Workload of that name."""
    child, workload = get(cluster, kind, name, namespace), get(cluster, "rsw", name, namespace)
    if child is None or workload is None:
        return False
    return any(ref["uid"] == workload["metadata"]["uid"] for ref in child["metadata"].get("ownerReferences") or ())
