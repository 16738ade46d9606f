"""Laws of ``build`` for anything that the CRDs admit."""

from __future__ import annotations

import re
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from roadstead.api.artifact import Artifact
from roadstead.api.platform import PlatformSpec
from roadstead.api.workload import Workload
from roadstead.desired import ChildKind, Desired, Inputs, build
from roadstead.errors import Refusal
from tests.strategies import PLATFORM, worlds

NAME = re.compile(r"^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$")
SETTINGS = PlatformSpec.model_validate(PLATFORM)
Body = dict[str, Any]


def built(artifact: Body, workload: Body, **facts: Any) -> Desired | Refusal:
    try:
        return build(Inputs(Workload.model_validate(workload), Artifact.model_validate(artifact), SETTINGS, **facts))
    except Refusal as refusal:
        return refusal


def digests(desired: Desired | Refusal) -> Any:
    if isinstance(desired, Refusal):
        return (desired.reason, desired.message)
    return {kind: (child.digest, child.template, child.user_template) for kind, child in desired.children.items() if child}


def shuffled(value: Any) -> Any:
    """The same value with the keys of every object in reverse order."""
    if isinstance(value, dict):
        return {key: shuffled(value[key]) for key in reversed(list(value))}
    return [shuffled(entry) for entry in value] if isinstance(value, list) else value


@given(worlds(), st.booleans())
def test_the_same_wish_gives_the_same_children(world: tuple[Body, Body], keda_present: bool) -> None:
    artifact, workload = world
    first = digests(built(artifact, workload, keda_present=keda_present))
    assert digests(built(shuffled(artifact), shuffled(workload), keda_present=keda_present)) == first


@given(worlds())
def test_status_names_and_descriptions_do_not_matter(world: tuple[Body, Body]) -> None:
    artifact, workload = world
    first = digests(built(artifact, workload))
    status = {"observedGeneration": 7, "state": "errored", "replicas": 9, "message": "no"}
    told = {**workload, "status": status, "spec": {**workload["spec"], "displayName": "A name"}}
    described = {**artifact, "spec": {**artifact["spec"], "description": "What it is", "displayName": "Another"}}
    assert digests(built(described, told)) == first


@given(worlds(), st.booleans())
def test_children_are_legal_and_owned(world: tuple[Body, Body], keda_present: bool) -> None:
    desired = built(*world, keda_present=keda_present)
    if isinstance(desired, Refusal):
        assert desired.message
        return
    scalers = [desired.children.get(kind) for kind in (ChildKind.HORIZONTAL_POD_AUTOSCALER, ChildKind.SCALED_OBJECT)]
    assert sum(scaler is not None for scaler in scalers) <= 1, "one owner of the replica count"
    for child in filter(None, desired.children.values()):
        assert NAME.match(child.name)
        assert child.body["metadata"]["ownerReferences"][0]["controller"] is True
        assert None not in child.body["spec"].values()
    deployment = desired.children[ChildKind.DEPLOYMENT]
    assert deployment is not None
    assert "replicas" not in deployment.body["spec"]
    pod = deployment.body["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert len({container["name"] for container in pod["containers"]}) == len(pod["containers"])
    assert all(container["securityContext"]["allowPrivilegeEscalation"] is False for container in pod["containers"])


@given(worlds())
def test_scaling_and_stopping_never_touch_the_pod_template(world: tuple[Body, Body]) -> None:
    artifact, workload = world
    first = built(artifact, workload)
    calm = {key: value for key, value in workload["spec"].get("runtime", {}).items() if key == "resources"}
    second = built(artifact, {**workload, "spec": {**workload["spec"], "suspend": True, "runtime": calm}})
    if isinstance(first, Refusal) or isinstance(second, Refusal):
        assert digests(first) == digests(second)
        return
    templates = [desired.children[ChildKind.DEPLOYMENT] for desired in (first, second)]
    assert len({(child.template, child.user_template) for child in templates if child}) == 1
