"""Manifests: everything that is wrong is told with its place, before anything is sent."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from roadstead.cli.apply import place
from roadstead.cli.failure import Failure
from roadstead.cli.manifests import Manifest, check, field_path, parse, read
from tests.build import raw_artifact, raw_container, raw_workload

PLAIN = {"name": "chat"}


def text(*bodies: object) -> str:
    return yaml.safe_dump_all(bodies)


def manifest(**meta: str) -> Manifest:
    found, complaints = check("a.yaml", raw_workload(meta={**PLAIN, **meta}))
    assert found is not None, complaints
    return found


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (raw_workload(meta=PLAIN, replicas=2), "a.yaml, document 2: Workload chat: spec.replicas: there is no such field"),
        (
            raw_workload(meta=PLAIN, runtime={"replicaCount": 0}),
            "a.yaml, document 2: Workload chat: spec.runtime.replicaCount: should be greater than or equal to 1",
        ),
        (
            raw_artifact(meta=PLAIN, containers=[{"resourceRequest": {"cpu": 1, "memory": 1}}]),
            "a.yaml, document 2: Artifact chat: spec.containerGroups[0].containers[0].imageUri: is required",
        ),
        (
            raw_artifact(meta=PLAIN, containers=[raw_container(resourceRequest={"cpu": 1, "memory": []})]),
            "a.yaml, document 2: Artifact chat: spec.containerGroups[0].containers[0].resourceRequest.memory: "
            "should be a valid integer, or should be a valid string",
        ),
        ({"kind": "Workload"}, "a.yaml, document 2: not a Kubernetes object: it needs apiVersion and kind"),
        (
            {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": PLAIN},
            "a.yaml, document 2: apps/v1 Deployment is not of roadstead.dev/v1alpha1 "
            "(Artifact, Deployment, Platform, Workload); apply it with kubectl",
        ),
        (raw_workload(meta={"namespace": "team"}), "a.yaml, document 2: Workload: metadata.name: is required"),
        ("just text", "a.yaml, document 2: not a Kubernetes object: it needs apiVersion and kind"),
    ],
)
def test_what_is_wrong_is_told_with_file_document_and_field(body: object, said: str) -> None:
    good, wrong = parse("a.yaml", text(raw_artifact(meta={"name": "model"}), body))

    assert [one.name for one in good] == ["model"]
    assert [line[: len(said)] for line in wrong] == [said]


def test_broken_yaml_names_the_line() -> None:
    assert parse("a.yaml", "a: b: c")[1][0].startswith("a.yaml: not YAML: mapping values are not allowed here")
    assert "line 1" in parse("a.yaml", "a: b: c")[1][0]


def test_a_time_stays_text_and_a_list_is_unpacked() -> None:
    spec = "{artifactRef: {name: model}, restartedAt: 2026-11-25T12:00:00Z}"
    restarted = f"{{apiVersion: roadstead.dev/v1alpha1, kind: Workload, metadata: {{name: chat}}, spec: {spec}}}"
    listed = {"apiVersion": "v1", "kind": "List", "items": [raw_artifact(meta={"name": "a"}), raw_artifact(meta={"name": "b"})]}

    (timed,), _ = parse("a.yaml", restarted)
    both, wrong = parse("b.yaml", text(listed))

    assert timed.body["spec"]["restartedAt"] == "2026-11-25T12:00:00Z"
    assert ([one.name for one in both], wrong) == (["a", "b"], [])


def test_an_export_can_be_applied_again() -> None:
    body = raw_workload(meta={**PLAIN, "uid": "u", "resourceVersion": "7", "managedFields": [], "labels": {"a": "b"}})

    found, _ = check("a.yaml", {**body, "status": {"state": "running"}})

    assert found is not None
    assert "status" not in found.body
    assert found.body["metadata"] == {"name": "chat", "labels": {"a": "b"}}


def test_a_folder_is_read_in_the_order_of_need(tmp_path: Path) -> None:
    (tmp_path / "1.yaml").write_text(text(raw_workload(meta=PLAIN)))
    (tmp_path / "2.json").write_text(text(raw_artifact(meta={"name": "model"})))
    (tmp_path / "kustomization.yaml").write_text("resources: []")
    (tmp_path / "README.md").write_text("# not a manifest")
    (tmp_path / "deeper").mkdir()
    (tmp_path / "deeper" / "3.yml").write_text(text(raw_artifact(meta={"name": "other"})))

    assert [one.name for one in read([str(tmp_path)], recursive=False)] == ["model", "chat"]
    assert [one.name for one in read([str(tmp_path)], recursive=True)] == ["model", "other", "chat"]


def test_one_wrong_document_stops_them_all(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(text(raw_artifact(meta={"name": "model"})))
    (tmp_path / "b.yaml").write_text(text(raw_workload(meta=PLAIN, replicas=2), raw_workload(meta={"name": "x"}, suspended=True)))

    with pytest.raises(Failure) as caught:
        read([str(tmp_path)], recursive=False)

    assert str(caught.value).startswith("Nothing was applied; correct this first:\n")
    assert "b.yaml, document 1: Workload chat: spec.replicas" in str(caught.value)
    assert "b.yaml, document 2: Workload x: spec.suspended" in str(caught.value)


@pytest.mark.parametrize(
    ("source", "said"), [("missing.yaml", "missing.yaml can't be read: No such file"), (".", "-R looks into its folders")]
)
def test_nothing_to_read(source: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    with pytest.raises(Failure, match=said):
        read([source], recursive=False)


@pytest.mark.parametrize(
    ("own", "asked", "expected"), [(None, None, "here"), ("team", None, "team"), (None, "ns", "ns"), ("ns", "ns", "ns")]
)
def test_namespace_as_kubectl(own: str | None, asked: str | None, expected: str) -> None:
    meta = {} if own is None else {"namespace": own}

    assert place(manifest(**meta), asked or "here", asked) == expected


def test_two_namespaces_are_a_contradiction() -> None:
    with pytest.raises(Failure, match="of namespace 'team', but --namespace says 'ns'"):
        place(manifest(namespace="team"), "ns", "ns")


def test_field_paths_leave_out_pydantics_own_words() -> None:
    assert field_path(("spec", "containerGroups", 0, "containers", 1, "resourceRequest", "memory", "function-after[f(), str]")) == (
        "spec.containerGroups[0].containers[1].resourceRequest.memory"
    )
