"""Who owns which field after which edit, as a real API server says: hand edits are undone, controllers at work are none."""

from __future__ import annotations

import asyncio

import pytest

from hack.cluster.control import ControlCluster
from roadstead.controller.applier import NOBODYS_VERSION
from roadstead.kube.client import ApiClient
from roadstead.kube.errors import Conflict
from roadstead.kube.managed_fields import ownership, removal_patch
from roadstead.kube.resource import DEPLOYMENTS, HPAS, SERVICES, Body, Resource
from tests.integration.kube.edge import US, deployment, service


def autoscaler() -> Body:
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "d"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"},
            "minReplicas": 1,
            "maxReplicas": 4,
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 60}}}],
        },
    }


async def test_an_apply_with_nobodys_version_is_a_creation_only(client: ApiClient, namespace: str) -> None:
    """So no child needs to be asked for before it is made, and no object that comes in between is taken over."""
    for resource, body in ((DEPLOYMENTS, deployment()), (SERVICES, service())):
        guarded = {**body, "metadata": {**body["metadata"], "resourceVersion": NOBODYS_VERSION}}
        made = await client.apply(resource, namespace, guarded, field_manager=US)
        assert ownership(made, US).ours
        changed = {**guarded, "metadata": {**guarded["metadata"], "labels": {"taken": "over"}}}
        with pytest.raises(Conflict):
            await client.apply(resource, namespace, changed, field_manager=US)
        kept = await client.get(resource, namespace, "d")  # controllers may have been at it: status and annotations are theirs
        assert (kept["metadata"]["uid"], kept["metadata"].get("labels"), kept["spec"]) == (
            made["metadata"]["uid"],
            made["metadata"].get("labels"),
            made["spec"],
        )


async def repaired(client: ApiClient, resource: Resource, namespace: str, desired: Body, clean_hash: str) -> tuple[Body, list[str]]:
    """Repair as a controller would: an apply if our entry shrank, then the removal of additions. Returns the object and the calls."""
    calls = []
    while True:
        body = await client.get(resource, namespace, "d")
        if ownership(body, US).ours != clean_hash:
            body = await client.apply(resource, namespace, desired, field_manager=US)
            calls.append("apply")
        patch = removal_patch(body, ownership(body, US).foreign, manager=US)
        if not patch:
            return body, calls
        try:
            body = await client.json_patch(resource, namespace, "d", patch, field_manager=US)
        except Conflict:
            continue  # the Deployment controller was at it meanwhile; the work queue would come back
        return body, [*calls, "remove"]


def pod_patch(spec: str) -> list[str]:
    return ["patch", "deployment/d", "-p", f'{{"spec":{{"template":{{"spec":{spec}}}}}}}']


EDITS = [
    pytest.param(["set", "env", "deployment/d", "FOREIGN=1", "FOREIGN2=2"], ["remove"], id="env added"),
    pytest.param(["set", "env", "deployment/d", "FOREIGN=1", "OURS=2"], ["apply", "remove"], id="env added and ours changed"),
    pytest.param(["set", "env", "deployment/d", "OURS-"], ["apply"], id="ours removed"),
    pytest.param(["set", "image", "deployment/d", "main=image:2"], ["apply"], id="image changed"),
    pytest.param(["set", "resources", "deployment/d", "--limits=cpu=2"], ["remove"], id="limits added"),
    pytest.param(["set", "resources", "deployment/d", "--requests=cpu=2"], ["apply"], id="requests changed"),
    pytest.param(pod_patch('{"containers":[{"name":"sidecar","image":"s"}]}'), ["remove"], id="second container"),
    pytest.param(pod_patch('{"initContainers":[{"name":"init","image":"s"}]}'), ["remove"], id="init container"),
    pytest.param(pod_patch('{"hostNetwork":true}'), ["remove"], id="host network, which sets hostPort too"),
    pytest.param(pod_patch('{"nodeSelector":{"a/b":"c"},"priorityClassName":"system-node-critical"}'), ["remove"], id="where it runs"),
    pytest.param(pod_patch('{"securityContext":{"runAsUser":0},"hostPID":true}'), ["remove"], id="as whom it runs"),
    pytest.param(pod_patch('{"volumes":[{"name":"scratch","emptyDir":{"medium":"Memory"}}]}'), ["remove"], id="in a volume of ours"),
    pytest.param(
        pod_patch(
            '{"volumes":[{"name":"host","hostPath":{"path":"/"}}],"containers":[{"name":"main","volumeMounts":[{"name":"host","mountPath":"/h"}]}]}'
        ),
        ["remove"],
        id="a volume and its mount",
    ),
    pytest.param(pod_patch('{"containers":[{"name":"main","command":["sh"],"args":["-c"]}]}'), ["remove"], id="command"),
    pytest.param(["patch", "deployment/d", "-p", '{"spec":{"minReadySeconds":7,"paused":true}}'], ["remove"], id="beside the template"),
    pytest.param(["rollout", "restart", "deployment/d"], [], id="rollout restart"),
    pytest.param(["scale", "deployment/d", "--replicas=3"], [], id="scaled"),
    pytest.param(["annotate", "deployment/d", "note=x"], [], id="annotated"),
]


@pytest.mark.parametrize(("edit", "calls"), EDITS)
async def test_hand_edits_of_a_deployment_are_undone(
    cluster: ControlCluster, client: ApiClient, namespace: str, edit: list[str], calls: list[str]
) -> None:
    clean = await client.apply(DEPLOYMENTS, namespace, deployment(), field_manager=US)
    await asyncio.to_thread(cluster.kubectl, "-n", namespace, *edit)
    body, done = await repaired(client, DEPLOYMENTS, namespace, deployment(), ownership(clean, US).ours)
    assert done == calls
    assert ownership(body, US) == ownership(clean, US)
    for spec in (body["spec"], clean["spec"]):
        spec.pop("replicas")
        spec["template"]["metadata"].pop("annotations", None)
    assert body["spec"] == clean["spec"]
    assert (await repaired(client, DEPLOYMENTS, namespace, deployment(), ownership(clean, US).ours))[1] == []


@pytest.mark.parametrize(
    ("resource", "desired", "patch", "calls"),
    [
        (SERVICES, service(), '{"spec":{"ports":[{"name":"more","port":81}]}}', ["remove"]),
        (SERVICES, service(), '{"spec":{"externalIPs":["10.9.9.9"]}}', ["remove"]),
        (SERVICES, service(), '{"spec":{"selector":{"extra":"x"},"sessionAffinity":"ClientIP"}}', None),
        (HPAS, autoscaler(), '{"spec":{"behavior":{"scaleDown":{"stabilizationWindowSeconds":1}}}}', ["remove"]),
        (HPAS, autoscaler(), '{"spec":{"maxReplicas":9}}', ["apply"]),
    ],
    ids=["port", "external addresses", "atomic selector", "behaviour", "maximum"],
)
async def test_hand_edits_of_other_children_are_undone(
    cluster: ControlCluster, client: ApiClient, namespace: str, resource: Resource, desired: Body, patch: str, calls: list[str] | None
) -> None:
    clean = await client.apply(resource, namespace, desired, field_manager=US)
    await asyncio.to_thread(cluster.kubectl, "-n", namespace, "patch", f"{resource.plural}/d", "-p", patch)
    body, done = await repaired(client, resource, namespace, desired, ownership(clean, US).ours)
    assert done == calls or calls is None
    assert ownership(body, US) == ownership(clean, US)
    assert body["spec"] == clean["spec"]


async def test_controllers_at_work_are_no_drift(client: ApiClient, namespace: str) -> None:
    """Deployment controller, HPA controller and scaling through /scale write, and nothing of it looks like an edit."""
    clean = await client.apply(DEPLOYMENTS, namespace, deployment(), field_manager=US)
    await client.apply(DEPLOYMENTS, namespace, replicas(2), field_manager="roadstead-replicas")
    await client.merge_patch(DEPLOYMENTS, namespace, "d", {"spec": {"replicas": 3}}, subresource="scale", field_manager="scaler")
    async with asyncio.timeout(20):
        while True:
            body = await client.get(DEPLOYMENTS, namespace, "d")
            if body.get("status", {}).get("replicas") == 3:
                break
            await asyncio.sleep(0.05)
    assert ownership(body, US) == ownership(clean, US)
    again = await client.apply(DEPLOYMENTS, namespace, deployment(), field_manager=US)
    assert again["spec"]["replicas"] == 3


def replicas(count: int) -> Body:
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": {"replicas": count}}


async def test_a_removal_that_comes_too_late_changes_nothing(cluster: ControlCluster, client: ApiClient, namespace: str) -> None:
    await client.apply(DEPLOYMENTS, namespace, deployment(), field_manager=US)
    await asyncio.to_thread(cluster.kubectl, "-n", namespace, "set", "env", "deployment/d", "FOREIGN=1")
    seen = await client.get(DEPLOYMENTS, namespace, "d")
    await asyncio.to_thread(cluster.kubectl, "-n", namespace, "annotate", "deployment/d", "newer=x")
    with pytest.raises(Conflict):
        await client.json_patch(DEPLOYMENTS, namespace, "d", removal_patch(seen, ownership(seen, US).foreign, manager=US))
