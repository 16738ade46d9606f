"""The types: conventions, what absent fields mean at work, ids."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from roadstead.api.artifact import Artifact, ArtifactStatus
from roadstead.api.container import DEFAULT_PORT, Container, container_names, port, primary
from roadstead.api.deployment import Deployment, Importance
from roadstead.api.identity import object_id
from roadstead.api.platform import PlatformSpec, PodRollout
from roadstead.api.workload import Workload
from tests.build import raw_artifact, raw_container, raw_workload


def containers(*given: dict[str, object]) -> tuple[Container, ...]:
    return tuple(Container.model_validate(raw_container(**fields)) for fields in given)


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ([{}], ("main",)),
        ([{}, {}], ("main", "main-2")),
        ([{"name": "web"}, {}], ("web", "main-2")),
        ([{}, {"name": "main"}], ("main-2", "main")),
        ([{"name": "main-2"}, {}], ("main-2", "main-3")),
        ([{}, {"name": "main"}, {"name": "main-2"}, {}], ("main-3", "main", "main-2", "main-4")),
    ],
)
def test_containers_without_a_name_get_one_that_is_free(given: list[dict[str, object]], names: tuple[str, ...]) -> None:
    assert container_names(containers(*given)) == names


def test_a_lone_container_is_the_primary_one() -> None:
    assert primary(containers({"name": "only"})).name == "only"
    assert primary(containers({"name": "a"}, {"name": "b", "primary": True})).name == "b"


def test_the_port_at_work() -> None:
    assert port(containers({})[0]) == DEFAULT_PORT == 8080
    assert port(containers({"port": 9000})[0]) == 9000


def test_absent_stays_absent_and_comes_out_as_it_went_in() -> None:
    body = raw_workload(runtime={"autoscaling": {}}, template={})
    workload = Workload.model_validate(body)
    assert workload.spec.runtime is not None
    assert workload.spec.runtime.replica_count is None
    assert workload.spec.suspend is None
    assert workload.model_dump(by_alias=True, exclude_none=True, mode="json")["spec"] == body["spec"]


def test_defaults_of_the_schema() -> None:
    artifact = Artifact.model_validate(raw_artifact())
    assert (artifact.spec.type, artifact.spec.status) == ("generic", ArtifactStatus.DRAFT)
    endpoint = Deployment.model_validate({"metadata": {"name": "d"}, "spec": {"workloadRef": {"name": "w"}}})
    assert endpoint.spec.importance is Importance.LOW
    settings = PlatformSpec()
    assert (settings.pods.run_as_user, settings.pods.run_as_group, settings.pods.rollout) == (10001, 0, PodRollout.ON_CHANGE)
    assert settings.retention.deleted_days == 30


def test_models_are_frozen_and_refuse_what_they_do_not_know() -> None:
    workload = Workload.model_validate(raw_workload())
    with pytest.raises(ValidationError):
        workload.spec.suspend = True  # type: ignore[misc]
    with pytest.raises(ValidationError, match="Extra inputs"):
        Workload.model_validate(raw_workload(replicas=2))


def test_metadata_and_status_of_a_newer_server_are_read() -> None:
    body = raw_artifact(meta={"name": "a", "resourceVersion": "7", "managedFields": [{}], "brandNew": 1})
    artifact = Artifact.model_validate({**body, "status": {"version": 3, "brandNew": {}}})
    assert artifact.metadata.resource_version == "7"
    assert artifact.status is not None
    assert artifact.status.version == 3


def test_a_status_that_cannot_be_read_is_as_good_as_lost() -> None:
    assert Artifact.model_validate({**raw_artifact(), "status": {"version": "three"}}).status is None


def test_ids_are_made_of_names_alone() -> None:
    assert object_id("workloads", "team", "chat") == "542c5bedec0398e0ba5117af"
    assert object_id("workloads", "team", "chat") != object_id("deployments", "team", "chat")
