"""The edge's calls on a real API server: statuses, refusals, the Lease and Events, of which a fake can only pretend."""

from __future__ import annotations

import asyncio

import pytest

from roadstead.kube.client import ApiClient
from roadstead.kube.errors import Conflict, Fenced, Invalid, NotFound
from roadstead.kube.events import ObjectRef, Recorder
from roadstead.kube.lease import Elector
from roadstead.kube.resource import DEPLOYMENTS, EVENTS, LEASES
from roadstead.resources import WORKLOADS
from tests.integration.kube.edge import US, deployment, until


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
