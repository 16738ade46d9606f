"""The edge against a real API server: what a fake can only pretend, above all who owns which field after which edit."""

from __future__ import annotations

import asyncio
import copy
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from hack.cluster.control import ControlCluster
from roadstead.controller.applier import NOBODYS_VERSION
from roadstead.kube.client import ApiClient
from roadstead.kube.config import load
from roadstead.kube.errors import Conflict, Fenced, Invalid, NotFound
from roadstead.kube.events import ObjectRef, Recorder
from roadstead.kube.lease import Elector
from roadstead.kube.managed_fields import ownership, removal_patch
from roadstead.kube.reflector import Reflector
from roadstead.kube.resource import CRDS, DEPLOYMENTS, EVENTS, HPAS, LEASES, NAMESPACES, SERVICES, Body, Key, Resource
from roadstead.resources import WORKLOADS
from tests.clusters import wait_admission

US = "roadstead"
numbers = itertools.count()


@pytest.fixture
async def client(cluster: ControlCluster) -> AsyncIterator[ApiClient]:
    async with ApiClient(load(cluster.kubeconfig), user_agent="roadstead-test") as entered:
        yield entered


@pytest.fixture
async def namespace(client: ApiClient) -> str:
    name = f"kube-{next(numbers)}"
    await client.create(NAMESPACES, None, {"metadata": {"name": name}})
    return name


async def until(true: Callable[[], bool], seconds: float = 20) -> None:
    async with asyncio.timeout(seconds):
        while not true():  # noqa: ASYNC110 - conditions of many kinds, and none of them tells when it turns true
            await asyncio.sleep(0.02)


def deployment(name: str = "d") -> Body:
    labels = {"app": name}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "containers": [
                        {
                            "name": "main",
                            "image": "image:1",
                            "env": [{"name": "OURS", "value": "1"}],
                            "ports": [{"name": "http", "containerPort": 8080}],
                            "resources": {"requests": {"cpu": "500m", "memory": "536870912"}},
                            "volumeMounts": [{"name": "scratch", "mountPath": "/scratch"}],
                        }
                    ],
                    "volumes": [{"name": "scratch", "emptyDir": {}}],
                },
            },
        },
    }


def service() -> Body:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "d"},
        "spec": {"selector": {"app": "d"}, "ports": [{"name": "http", "port": 80, "targetPort": "http"}]},
    }


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


# Creation


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


# Drift


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


# Client


async def test_a_status_never_reaches_a_namesake(client: ApiClient, namespace: str) -> None:
    workload = {
        "apiVersion": WORKLOADS.api_version,
        "kind": WORKLOADS.kind,
        "metadata": {"name": "chat"},
        "spec": {"artifactRef": {"name": "model"}},
    }
    first = await client.create(WORKLOADS, namespace, workload)
    await client.set_status(WORKLOADS, namespace, "chat", first["metadata"]["uid"], {"state": "running", "message": "old"})
    seen = await client.set_status(WORKLOADS, namespace, "chat", first["metadata"]["uid"], {"state": "errored"})
    assert seen["status"] == {"state": "errored"}
    await client.delete(WORKLOADS, namespace, "chat", uid=first["metadata"]["uid"])
    await client.create(WORKLOADS, namespace, workload)
    with pytest.raises(Conflict):
        await client.set_status(WORKLOADS, namespace, "chat", first["metadata"]["uid"], {"state": "running"})
    assert (await client.get(WORKLOADS, namespace, "chat"))["status"] == {"observedGeneration": -1}


async def test_refusals_say_why(client: ApiClient, namespace: str) -> None:
    with pytest.raises(NotFound):
        await client.get(DEPLOYMENTS, namespace, "absent")
    broken = deployment()
    broken["spec"]["template"]["spec"]["containers"][0]["image"] = ""
    with pytest.raises(Invalid) as caught:
        await client.apply(DEPLOYMENTS, namespace, broken, field_manager=US)
    assert any("spec.template.spec.containers[0].image" in cause for cause in caught.value.causes)
    made = await client.apply(DEPLOYMENTS, namespace, deployment(), field_manager=US)
    with pytest.raises(Conflict):
        await client.apply(DEPLOYMENTS, namespace, deployment() | {"spec": broken["spec"]}, field_manager="other", force=False)
    with pytest.raises(Conflict):
        await client.delete(DEPLOYMENTS, namespace, "d", uid="00000000-0000-0000-0000-000000000000")
    await client.delete(DEPLOYMENTS, namespace, "d", uid=made["metadata"]["uid"])
    await client.delete(DEPLOYMENTS, namespace, "d", uid=made["metadata"]["uid"])


async def test_a_dry_run_leaves_nothing(client: ApiClient, namespace: str) -> None:
    await client.apply(DEPLOYMENTS, namespace, deployment(), field_manager=US, dry_run=True)
    with pytest.raises(NotFound):
        await client.get(DEPLOYMENTS, namespace, "d")


# Reflector


@asynccontextmanager
async def mirror_of(
    client: ApiClient, resource: Resource, namespace: str | None = None, *, optional: bool = False
) -> AsyncIterator[tuple[Reflector[str], list[tuple[str, str | None, str | None]]]]:
    told: list[tuple[str, str | None, str | None]] = []

    def project(body: Body) -> str:
        return str((body["metadata"].get("labels") or {}).get("size", ""))

    def notify(key: Key, old: str | None, new: str | None) -> None:
        told.append((key[1], old, new))

    reflector = Reflector(
        client, resource, project=project, notify=notify, namespace=namespace, optional=optional, absent_seconds=0.3, retry_base_seconds=0.1
    )
    task = asyncio.create_task(reflector.run())
    try:
        yield reflector, told
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def sized(name: str, size: str) -> Body:
    body = service()
    body["metadata"] = {"name": name, "labels": {"size": size}}
    return body


async def test_a_mirror_follows_and_outlives_the_server(cluster: ControlCluster, client: ApiClient, namespace: str) -> None:
    for name in "ab":
        await client.apply(SERVICES, namespace, sized(name, "1"), field_manager=US)
    async with mirror_of(client, SERVICES, namespace) as (reflector, told):
        await asyncio.wait_for(reflector.synced.wait(), 10)
        assert reflector.items == {(namespace, "a"): "1", (namespace, "b"): "1"}
        await client.apply(SERVICES, namespace, sized("a", "2"), field_manager=US)
        await client.merge_patch(SERVICES, namespace, "b", {"metadata": {"annotations": {"no": "interest"}}})
        await client.delete(SERVICES, namespace, "b", uid=None)
        await until(lambda: ("b", "1", None) in told)
        # Not in a thread: the server is bound to die with the thread that started it (PR_SET_PDEATHSIG).
        cluster.restart_apiserver()
        await client.apply(SERVICES, namespace, sized("c", "3"), field_manager=US)
        await until(lambda: (namespace, "c") in reflector.items)
    assert told == [("a", None, "1"), ("b", None, "1"), ("a", "1", "2"), ("b", "1", None), ("c", None, "3")]
    wait_admission(cluster)


async def test_lists_come_in_chunks_of_one_snapshot(client: ApiClient, namespace: str) -> None:
    for number in range(5):
        await client.create(SERVICES, namespace, sized(f"s{number}", ""))
    pages = [page async for page in client.pages(SERVICES, namespace=namespace, limit=2)]
    assert [len(page.items) for page in pages] == [2, 2, 1]
    assert len({page.resource_version for page in pages}) == 1
    assert pages[0].items[0]["kind"] == "Service"


@pytest.fixture
def kind_that_comes_and_goes() -> tuple[Resource, Body]:
    resource = Resource("kube.example.org", "v1", "things", "Thing")
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    return (
        resource,
        {
            "metadata": {"name": "things.kube.example.org"},
            "spec": {
                "group": resource.group,
                "scope": "Namespaced",
                "names": {"plural": "things", "kind": "Thing", "singular": "thing", "listKind": "ThingList"},
                "versions": [{"name": "v1", "served": True, "storage": True, "schema": schema}],
            },
        },
    )


async def test_a_kind_that_appears_and_disappears(
    client: ApiClient, namespace: str, kind_that_comes_and_goes: tuple[Resource, Body]
) -> None:
    resource, crd = kind_that_comes_and_goes
    async with mirror_of(client, resource, optional=True) as (reflector, told):
        await asyncio.wait_for(reflector.synced.wait(), 10)
        assert not reflector.present
        await client.create(CRDS, None, copy.deepcopy(crd))
        await until(lambda: reflector.present)
        await client.create(resource, namespace, {"apiVersion": resource.api_version, "kind": "Thing", "metadata": {"name": "t"}})
        await until(lambda: told == [("t", None, "")])
        await client.delete(CRDS, None, crd["metadata"]["name"], uid=None)
        await until(lambda: not reflector.present, 60)
        assert told == [("t", None, ""), ("t", "", None)]


# Lease and Events


async def test_leadership_is_handed_over(client: ApiClient, namespace: str) -> None:
    history: list[str] = []

    def candidate(name: str) -> Elector:
        return Elector(
            client,
            namespace=namespace,
            name="lock",
            identity=name,
            on_started=lambda: history.append(f"{name} started"),
            on_stopped=lambda: history.append(f"{name} stopped"),
            lease_seconds=10,
            renew_deadline_seconds=8,
            retry_seconds=0.2,
        )

    a, b = candidate("a"), candidate("b")
    first = asyncio.create_task(a.run())
    await until(lambda: a.leading)
    second = asyncio.create_task(b.run())
    await asyncio.sleep(11)
    assert (a.leading, b.leading) == (True, False)
    with pytest.raises(Fenced):
        b.fence()
    first.cancel()
    await until(lambda: b.leading, 8)
    lease = await client.get(LEASES, namespace, "lock")
    assert lease["spec"]["holderIdentity"] == b.identity
    assert lease["spec"]["leaseTransitions"] == 1
    second.cancel()
    await asyncio.gather(first, second, return_exceptions=True)
    assert history == ["a started", "a stopped", "b started", "b stopped"]
    assert (await client.get(LEASES, namespace, "lock"))["spec"].get("holderIdentity", "") == ""


async def test_events_as_long_as_they_may_be_are_stored(client: ApiClient, namespace: str) -> None:
    made = await client.apply(DEPLOYMENTS, namespace, deployment("d" * 60), field_manager=US)
    recorder = Recorder(client, controller="roadstead.dev/operator", instance="i" * 200)
    task = asyncio.create_task(recorder.run())
    about = ObjectRef("apps/v1", "Deployment", namespace, made["metadata"]["name"], made["metadata"]["uid"])
    await recorder.emit(about, "Warning", "R" * 200, "ü" * 2000, "A" * 200)
    await recorder.emit(about, "Normal", "Short", "", "Look")
    await until(lambda: client.calls["create", "events", 201] == 2)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert recorder.dropped == 0
    stored = [item async for page in client.pages(EVENTS, namespace=namespace) for item in page.items]
    assert {"Short", "R" * 128} <= {event["reason"] for event in stored}
