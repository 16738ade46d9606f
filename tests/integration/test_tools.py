"""What other people's tools make of our objects: kubectl wait, kstatus (Flux, kapp) and Argo CD, on a real API server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from hack.cluster.console import ClusterError
from hack.cluster.control import ControlCluster
from tests.build import cpu_autoscaling, raw_artifact, raw_workload
from tests.clusters import apply, get, wait_for
from tests.support.argo import Health, argo_health
from tests.support.kstatus import Kstatus, kstatus
from tests.world import here, patch, wait_state

pytestmark = pytest.mark.timeout(180)
FOLDER = Path(__file__).parent.parent.parent / "deploy" / "argocd"
SCRIPT = (FOLDER / "health.lua").read_text()
KINDS = {"chat": "workloads.roadstead.dev", "front": "deployments.roadstead.dev", "model": "artifacts.roadstead.dev"}


def verdicts(cluster: ControlCluster, namespace: str, name: str = "chat") -> tuple[Kstatus, Health]:
    body = get(cluster, KINDS[name], name, namespace)
    assert body is not None
    return kstatus(body), argo_health(SCRIPT, body)[0]


def front(namespace: str) -> dict[str, Any]:
    metadata = {"name": "front", "namespace": namespace}
    return {"apiVersion": "roadstead.dev/v1alpha1", "kind": "Deployment", "metadata": metadata, "spec": {"workloadRef": {"name": "chat"}}}


def wait_ready(cluster: ControlCluster, namespace: str, name: str = "chat", seconds: int = 60) -> str:
    return cluster.kubectl("wait", "--for=condition=Ready", f"{KINDS[name]}/{name}", "-n", namespace, f"--timeout={seconds}s")


def test_before_the_operator_has_looked_nothing_is_green(cluster: ControlCluster, namespace: str) -> None:
    """The first test here, so that no operator runs yet: kstatus would call an object without a status current."""
    apply(cluster, here(namespace, raw_artifact(status="registered")), here(namespace, raw_workload()), front(namespace))
    assert {name: verdicts(cluster, namespace, name) for name in KINDS} == dict.fromkeys(KINDS, (Kstatus.IN_PROGRESS, Health.PROGRESSING))
    with pytest.raises(ClusterError, match="timed out"):
        wait_ready(cluster, namespace, seconds=1)


@pytest.mark.usefixtures("operator")
class TestWithOperator:
    def test_start_edit_stop_and_start_again(self, cluster: ControlCluster, namespace: str) -> None:
        apply(cluster, here(namespace, raw_artifact(status="registered")), here(namespace, raw_workload()), front(namespace))
        for name in KINDS:
            assert "condition met" in wait_ready(cluster, namespace, name)
        wait_for(lambda: {verdicts(cluster, namespace, name) for name in KINDS} == {(Kstatus.CURRENT, Health.HEALTHY)}, "all to be green")

        patch(cluster, "rsw", "chat", namespace, displayName="touches no pod")
        assert "condition met" in wait_ready(cluster, namespace)
        wait_for(lambda: verdicts(cluster, namespace) == (Kstatus.CURRENT, Health.HEALTHY), "green again")

        patch(cluster, "rsw", "chat", namespace, suspend=True)
        wait_state(cluster, namespace, "stopped")
        stopped = {verdicts(cluster, namespace)}
        wait_for(lambda: stopped | {verdicts(cluster, namespace, "front")} == {(Kstatus.CURRENT, Health.SUSPENDED)}, "the stop")

        patch(cluster, "rsw", "chat", namespace, suspend=False)
        for name in KINDS:
            assert "condition met" in wait_ready(cluster, namespace, name)

    def test_a_refusal_and_its_end(self, cluster: ControlCluster, namespace: str) -> None:
        apply(cluster, here(namespace, raw_workload()))
        wait_state(cluster, namespace, "errored")
        assert verdicts(cluster, namespace) == (Kstatus.FAILED, Health.DEGRADED)
        apply(cluster, here(namespace, raw_artifact()))
        assert "condition met" in wait_ready(cluster, namespace)

    def test_a_deleted_artifact(self, cluster: ControlCluster, namespace: str) -> None:
        apply(cluster, here(namespace, raw_artifact()))
        wait_ready(cluster, namespace, "model")
        patch(cluster, "rsa", "model", namespace, deleted=True)
        wait_for(lambda: verdicts(cluster, namespace, "model") == (Kstatus.FAILED, Health.DEGRADED), "the word on it")
        patch(cluster, "rsa", "model", namespace, deleted=False)
        wait_for(lambda: verdicts(cluster, namespace, "model") == (Kstatus.CURRENT, Health.HEALTHY), "its end")

    def test_kubectl_get_says_at_a_glance_what_is_wrong(self, cluster: ControlCluster, namespace: str) -> None:
        """Fits 120 columns, with names of twenty characters."""
        good, lost, resting = (f"{word}-{'x' * (19 - len(word))}" for word in ("good", "lost", "resting"))
        apply(cluster, here(namespace, raw_artifact(status="registered")))
        apply(cluster, here(namespace, raw_workload(good, runtime=cpu_autoscaling())))
        apply(cluster, here(namespace, raw_workload(lost, artifact="llama-3-1-8b-instruct-awq")))
        apply(cluster, here(namespace, raw_workload(resting, suspend=True)))
        for name, state in ((good, "running"), (lost, "errored"), (resting, "stopped")):
            wait_state(cluster, namespace, state, name)
        table = cluster.kubectl("get", "rsw", "-n", namespace, "--sort-by=.metadata.name").splitlines()
        print("\n".join(table))
        assert table[0].split() == ["NAME", "STATE", "READY", "REPLICAS", "AGE", "MESSAGE"]
        assert max(map(len, table)) <= 120
        rows = [line.split(maxsplit=5) for line in table[1:3]]
        assert [(row[1], row[2], row[3], row[5]) for row in rows] == [
            ("running", "True", "1", "1 of 1 replicas ready"),
            ("errored", "False", "0", 'Artifact "llama-3-1-8b-instruct-awq" does not exist in…'),
        ]
        assert table[3].split(maxsplit=4)[1:3] == ["stopped", "0"]
        assert table[3].endswith("Stopped; set spec.suspend to false to start it")
        wide = cluster.kubectl("get", "rsw", good, "-n", namespace, "-o", "wide").splitlines()
        assert wide[0].split()[5:] == ["MESSAGE", "ARTIFACT", "SCALER", "ENDPOINT"]
        assert wide[1].split()[-2:] == ["model", "HorizontalPodAutoscaler"]


def test_the_scripts_join_argo_cds_own_settings(cluster: ControlCluster, namespace: str, tmp_path: Path) -> None:
    """As deploy/argocd/README.md says: by server-side apply, and as a patch of a kustomization."""
    theirs = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "argocd-cm", "labels": {"app.kubernetes.io/part-of": "argocd"}},
        "data": {"url": "https://argo.example.com"},
    }
    apply(cluster, {**theirs, "metadata": {**theirs["metadata"], "namespace": namespace}})
    ours = FOLDER / "argocd-cm.yaml"
    cluster.kubectl("apply", "--server-side", "--field-manager=roadstead", "-n", namespace, "-f", str(ours))
    joined = (get(cluster, "configmap", "argocd-cm", namespace) or {})["data"]
    assert joined == {**theirs["data"], **yaml.safe_load(ours.read_text())["data"]}
    assert len(joined) == 5

    (tmp_path / "theirs.yaml").write_text(yaml.safe_dump(theirs))
    (tmp_path / "ours.yaml").write_text(ours.read_text())
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump({"resources": ["theirs.yaml"], "patches": [{"path": "ours.yaml"}]}))
    assert yaml.safe_load(cluster.kubectl("kustomize", str(tmp_path)))["data"] == joined
