"""Whatever the CRDs admit gives ScaledObjects that KEDA's admission webhooks admit, and of which KEDA can make its HPA.

The cluster has nothing but KEDA: here the tests write, as the operator does. A dry run wouldn't do, since KEDA's webhooks skip half of
their checks then; and they are made to refuse what they can't look at, which by KEDA's own configuration they let pass.
"""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, note, settings
from hypothesis import strategies as st

from hack.cluster import beside
from hack.cluster.control import ControlCluster, control_cluster
from hack.cluster.keda import keda
from roadstead.api.artifact import Artifact
from roadstead.api.platform import PlatformSpec
from roadstead.api.workload import Workload
from roadstead.desired import Inputs, build
from roadstead.desired.pods import containers_of, user_template_digest
from roadstead.desired.scaled_object import hpa_name
from roadstead.errors import Refusal
from roadstead.kube.client import ApiClient
from roadstead.kube.errors import Forbidden, NotFound
from roadstead.kube.resource import DEPLOYMENTS, HPAS, SCALED_OBJECTS, Resource
from roadstead.names import FIELD_MANAGER
from tests.build import raw_artifact, raw_workload
from tests.clusters import wait_for
from tests.conftest import LONG
from tests.golden.golden import Case, bodies, cases
from tests.strategies import PLATFORM, about_http, autoscaling, some, worlds
from tests.support.calls import Run, calls
from tests.support.scaler import external_scaler

NAMESPACE = "admission"
SECRETS = Resource("", "v1", "secrets", "Secret")
LAG_SECONDS = 60
Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Stage:
    """Where one Workload's Deployment and ScaledObject are written; ``scaler`` is the address of the external scaler."""

    cluster: ControlCluster
    client: ApiClient
    run: Run
    scaler: str

    def bring(self, *children: Body) -> None:
        """Write them; the webhooks look Deployments up in a cache, which lags a little. Raises Forbidden for what they refuse."""
        for body in children:
            resource = SCALED_OBJECTS if body["kind"] == "ScaledObject" else DEPLOYMENTS
            for secret in secrets(body) if resource is DEPLOYMENTS else ():
                self.run(self.client.apply(SECRETS, NAMESPACE, secret, field_manager="test"))
            wait_for(lambda body=body, resource=resource: self._taken(resource, body), f"{body['kind']} to be taken", LAG_SECONDS)

    def scaled(self, body: Body) -> None:
        """Wait until KEDA's HPA is what the ScaledObject says, or isn't there while that is paused."""
        name = str(body["metadata"]["name"])
        paused = bool(set(body["metadata"]["annotations"]) & {"autoscaling.keda.sh/paused-replicas"})

        def follows() -> bool:
            hpa = self.present(HPAS, hpa_name(name))
            if hpa is None or paused:
                return hpa is None and paused
            spec, made = body["spec"], hpa["spec"]
            wanted = (max(1, spec["minReplicaCount"]), spec["maxReplicaCount"], len(spec["triggers"]))
            return (made["minReplicas"], made["maxReplicas"], len(made["metrics"])) == wanted

        try:
            wait_for(follows, "KEDA's HPA", LAG_SECONDS, pause=0.02)
        except AssertionError as late:
            seen = self.present(SCALED_OBJECTS, name) or {}
            raise AssertionError(f"{late}; KEDA says {seen.get('status', {}).get('conditions')}") from late

    def clear(self, name: str) -> None:
        """Delete everything of that name; returns when it has gone."""
        for resource, which in ((SCALED_OBJECTS, name), (HPAS, hpa_name(name)), (DEPLOYMENTS, name)):
            self.run(self.client.delete(resource, NAMESPACE, which, uid=None))
            wait_for(lambda resource=resource, which=which: self.present(resource, which) is None, f"the end of {which}", LAG_SECONDS, 0.02)

    def present(self, resource: Resource, name: str) -> Body | None:
        """The object as it is now."""
        try:
            found: Body = self.run(self.client.get(resource, NAMESPACE, name))
        except NotFound:
            return None
        return found

    def _taken(self, resource: Resource, body: Body) -> bool:
        try:
            self.run(self.client.apply(resource, NAMESPACE, body, field_manager=FIELD_MANAGER))
        except NotFound:
            return False
        return True


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    """KEDA with strict webhooks, and a namespace where no pod is made: some Workloads want a thousand."""
    with control_cluster(extra_apiserver_flags=beside.AGGREGATION_FLAGS) as cluster, external_scaler() as scaler, keda(cluster):
        webhooks = json.loads(cluster.kubectl("get", "validatingwebhookconfiguration", "keda-admission", "-o", "json"))["webhooks"]
        strict = [{"op": "replace", "path": f"/webhooks/{index}/failurePolicy", "value": "Fail"} for index in range(len(webhooks))]
        cluster.kubectl("patch", "validatingwebhookconfiguration", "keda-admission", "--type=json", "-p", json.dumps(strict))
        cluster.kubectl("create", "namespace", NAMESPACE)
        cluster.kubectl("create", "quota", "none", "--hard=pods=0", "-n", NAMESPACE)
        with calls(cluster) as (client, run):
            yield Stage(cluster, client, run, scaler.address)


def children(world: tuple[Body, Body], scaling: Body, stage: Stage, *, proven: bool) -> tuple[Body, Body]:
    """Deployment and ScaledObject. Raises Refusal. Without owners: there is no Workload, and they would be collected."""
    here = {"namespace": NAMESPACE, "uid": "00000000-0000-0000-0000-000000000000"}
    artifact, workload = ({**body, "metadata": {**here, "name": body["metadata"]["name"]}} for body in world)
    declared, typed = Artifact.model_validate(artifact), Workload.model_validate(workload)
    platform = PlatformSpec.model_validate({**PLATFORM, "scaling": scaling, "gateway": {"scalerAddress": stage.scaler}})
    template = user_template_digest(typed, containers_of(declared.spec)) if proven else None
    found = {body["kind"]: copy.deepcopy(body) for body in bodies(build(Inputs(typed, declared, platform, proven=template)))}
    for body in found.values():
        del body["metadata"]["ownerReferences"]
    return found["Deployment"], found["ScaledObject"]


def secrets(deployment: Body) -> list[Body]:
    """What the environment refers to: KEDA reads it before it makes an HPA."""
    containers = deployment["spec"]["template"]["spec"]["containers"]
    taken = [entry["valueFrom"]["secretKeyRef"] for container in containers for entry in container.get("env", ()) if "valueFrom" in entry]
    return [
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": ref["name"]}, "stringData": {ref["key"]: "secret"}} for ref in taken
    ]


SCALING = some(
    cooldownSeconds=st.integers(0, 86400), scaleDownStabilizationSeconds=st.integers(0, 3600), pollingIntervalSeconds=st.integers(1, 3600)
)
ON_HTTP = worlds(autoscaling().filter(about_http))


@pytest.mark.timeout(7200 if LONG else 900)
def test_every_workload_that_scales_on_http_is_admitted(stage: Stage) -> None:
    """Made, changed into any other of its name, stopped, started and deleted."""
    tried, began = 0, time.monotonic()

    @settings(max_examples=300 if LONG else 25, derandomize=not LONG, suppress_health_check=[HealthCheck.filter_too_much])
    @given(ON_HTTP, ON_HTTP, SCALING, st.booleans())
    def check(first: tuple[Body, Body], second: tuple[Body, Body], scaling: Body, proven: bool) -> None:
        nonlocal tried
        note(json.dumps([first, second, scaling, proven]))
        name = first[1]["metadata"]["name"]
        changed = (second[0], {**second[1], "metadata": first[1]["metadata"]})
        try:
            steps = [children(world, scaling, stage, proven=proven) for world in (first, changed, *stopped_and_started(changed))]
        except Refusal:
            assume(False)
        try:
            for deployment, scaled_object in steps:
                stage.bring(deployment, scaled_object)
                stage.scaled(scaled_object)
        finally:
            stage.clear(name)
        tried += 1

    check()
    print(f"{tried} Workloads in {time.monotonic() - began:.0f} s")


def stopped_and_started(world: tuple[Body, Body]) -> list[tuple[Body, Body]]:
    artifact, workload = world
    return [(artifact, {**workload, "spec": {**workload["spec"], "suspend": suspend}}) for suspend in (True, False)]


def twice_the_trigger(deployment: Body, scaled_object: Body) -> tuple[Body, Body]:
    triggers = scaled_object["spec"]["triggers"]
    return deployment, {**scaled_object, "spec": {**scaled_object["spec"], "triggers": triggers + triggers[:1]}}


def nothing_requested(deployment: Body, scaled_object: Body) -> tuple[Body, Body]:
    for container in deployment["spec"]["template"]["spec"]["containers"]:
        del container["resources"]
    return deployment, scaled_object


def no_cpu_for_zero(deployment: Body, scaled_object: Body) -> tuple[Body, Body]:
    triggers = [trigger for trigger in scaled_object["spec"]["triggers"] if trigger["type"] == "cpu"]
    return deployment, {**scaled_object, "spec": {**scaled_object["spec"], "minReplicaCount": 0, "triggers": triggers}}


POLICIES = [
    {"scalingMetric": metric, "target": 50, "minCount": 1, "maxCount": 4} for metric in ("cpuAverageUtilization", "httpRequestsInFlight")
]
HTTP_AND_CPU = (raw_artifact(), raw_workload(runtime={"autoscaling": {"enabled": True, "policies": POLICIES}}))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (twice_the_trigger, "defined multiple times"),
        (nothing_requested, "doesn't have the cpu request"),
        (no_cpu_for_zero, "scale to zero doesn't work"),
    ],
)
def test_what_would_be_refused(stage: Stage, spoil: Callable[[Body, Body], tuple[Body, Body]], said: str) -> None:
    """The webhooks are in the way, and what they refuse shows."""
    deployment, scaled_object = children(HTTP_AND_CPU, {}, stage, proven=False)

    def taken() -> bool:  # not before the webhooks' cache has the Deployment as it ought to be
        try:
            stage.bring(deployment, scaled_object)
        except Forbidden as error:
            if said not in error.message:
                raise
            return False
        return True

    try:
        with pytest.raises(Forbidden, match=said):
            stage.bring(*spoil(copy.deepcopy(deployment), scaled_object))
        wait_for(taken, "what is right to be taken", LAG_SECONDS)
    finally:
        stage.clear("chat")


def test_a_second_scaler_for_one_target(stage: Stage) -> None:
    deployment, scaled_object = children(HTTP_AND_CPU, {}, stage, proven=False)
    second = {**scaled_object, "metadata": {**scaled_object["metadata"], "name": "second"}}

    def refused() -> bool:  # not before the first one is in the webhooks' cache
        try:
            stage.bring(second)
        except Forbidden as error:
            return "already managed by the ScaledObject 'chat'" in error.message
        stage.clear("second")
        return False

    try:
        stage.bring(deployment, scaled_object)
        wait_for(refused, "the second one to be refused")
    finally:
        stage.clear("chat")


def with_keda(case: Case) -> bool:
    try:
        return any(body["kind"] == "ScaledObject" for body in bodies(build(case.inputs())))
    except Refusal:
        return False


@pytest.mark.parametrize("case", [case for case in cases() if with_keda(case)], ids=lambda case: case.name)
def test_every_golden_scaled_object_is_admitted(stage: Stage, case: Case) -> None:
    """And without a warning."""
    found = {body["kind"]: copy.deepcopy(body) for body in bodies(build(case.inputs()))}
    deployment, scaled_object = (found[kind] for kind in ("Deployment", "ScaledObject"))
    for body in (deployment, scaled_object):
        del body["metadata"]["ownerReferences"]
        body["metadata"]["namespace"] = NAMESPACE
    try:
        stage.bring(deployment, scaled_object)
        again = ("--server-side", "--force-conflicts", f"--field-manager={FIELD_MANAGER}", "--warnings-as-errors")
        stage.cluster.kubectl("apply", *again, "-f", "-", input=json.dumps(scaled_object))
    finally:
        stage.clear(scaled_object["metadata"]["name"])
