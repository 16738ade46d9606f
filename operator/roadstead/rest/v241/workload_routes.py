"""``/console/workloads/``."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Annotated, Any, Final

from fastapi import Depends, Request, Response

from roadstead.access.callers import Caller
from roadstead.api.identity import object_id
from roadstead.kube.errors import ApiError
from roadstead.kube.resource import Body
from roadstead.names import REQUEST_ANNOTATION
from roadstead.rest import idempotency, namespaces
from roadstead.rest.bodies import body_of, described
from roadstead.rest.context import Api, TheApi, TheCaller, TheWriter
from roadstead.rest.pages import page
from roadstead.rest.problems import invalid
from roadstead.rest.records import ArtifactRecord, WorkloadRecord
from roadstead.rest.routing import Router, aged, answer, done
from roadstead.rest.store import Draft
from roadstead.rest.v241 import artifacts, workloads
from roadstead.rest.v241.artifact_routes import collection_of, new_artifact
from roadstead.rest.v241.common import WRITES, ThisId, origin, responses
from roadstead.rest.v241.examples import CONTAINER
from roadstead.rest.v241.lists import Listing
from roadstead.rest.v241.models import InlineArtifact, Nothing, Started, WorkloadCreate, WorkloadFormatted, WorkloadPage

log = logging.getLogger(__name__)
router = Router(prefix="/console/workloads", tags=["Workloads"])
EXAMPLE: Final = {
    "name": "whoami",
    "artifact": {"name": "whoami", "status": "registered", "spec": {"containerGroups": [{"containers": [CONTAINER]}]}},
    "runtime": {"replicaCount": 1},
}


@router.post(
    "/",
    operation_id="createWorkload",
    summary="Create a workload",
    status_code=201,
    response_model=WorkloadFormatted,
    responses=responses(*WRITES),
    openapi_extra=described(WorkloadCreate, example=EXAMPLE),
)
async def create(request: Request, api: TheApi, caller: TheWriter) -> Response:
    """Runs an artifact: an existing one (`artifactId`), or one that is made along with it (`artifact`) and outlives it.

    It starts at once. With an `Idempotency-Key` a repetition of the same request answers the same workload.
    """
    wish = await body_of(request, WorkloadCreate)
    once = idempotency.once(request.headers.get(idempotency.HEADER), caller.username, await request.body())
    if wish.artifact is not None:
        made = await _with_artifact(request, api, caller, wish, wish.artifact, once)
    else:
        artifact = await api.reads.find(caller, api.cache.artifacts, wish.artifact_id or "")
        if artifact is None:
            raise invalid(("body", "artifactId"), f"artifact {wish.artifact_id} not found")
        draft = _draft(wish, namespaces.same(request, artifact.namespace, "artifact"), artifact.name, once)
        made = await api.store.already(caller, api.cache.workloads, draft, once) or await _create(api, caller, wish, draft, once)
    done(request, "Workload", made)
    return answer(workloads.formatted(made, origin(api, request), api.operators.alive), 201)


@router.get("/", operation_id="listWorkloads", summary="List workloads", response_model=WorkloadPage, responses=responses(422))
async def list_all(request: Request, api: TheApi, caller: TheCaller, listing: Annotated[Listing, Depends()]) -> Response:
    """Those of all namespaces in which the caller may list them."""
    mirror, alive = api.cache.workloads, api.operators.alive
    found = listing.chosen(await api.reads.all(caller, mirror, listing.order))
    here = origin(api, request)
    data = [workloads.formatted(record, here, alive) for record in listing.part(found, lambda each: workloads.status(each, alive))]
    return aged(page(request, api.base(request), len(found), listing.offset, listing.limit, data), api.cache.age_seconds(mirror))


@router.get("/{id}/", operation_id="getWorkload", summary="Get a workload", response_model=WorkloadFormatted, responses=responses(400, 404))
async def get(request: Request, api: TheApi, caller: TheCaller, id: ThisId) -> Response:
    """Its state is that of this moment; `unknown` says that no operator keeps it true."""
    record = await api.reads.one(caller, api.cache.workloads, id)
    content = workloads.formatted(record, origin(api, request), api.operators.alive)
    return aged(content, api.cache.age_seconds(api.cache.workloads))


@router.post(
    "/{id}/start",
    operation_id="startWorkload",
    summary="Start a workload",
    status_code=202,
    response_model=Started,
    responses=responses(*WRITES, 404),
    openapi_extra=described(Nothing, required=False),
)
async def start(request: Request, api: TheApi, caller: TheWriter, id: ThisId) -> Response:
    """Also where it runs already, or is on its way: the last wish wins."""
    return await _suspend(request, api, caller, id, False)


@router.post(
    "/{id}/stop",
    operation_id="stopWorkload",
    summary="Stop a workload",
    status_code=202,
    response_model=Started,
    responses=responses(*WRITES, 404),
    openapi_extra=described(Nothing, required=False),
)
async def stop(request: Request, api: TheApi, caller: TheWriter, id: ThisId) -> Response:
    """It keeps its id and its endpoint. Requests in flight are finished."""
    return await _suspend(request, api, caller, id, True)


@router.delete(
    "/{id}/",
    operation_id="deleteWorkload",
    summary="Delete a workload",
    status_code=204,
    response_class=Response,
    responses=responses(400, 403, 404),
)
async def delete(request: Request, api: TheApi, caller: TheWriter, id: ThisId) -> Response:
    """Whether it runs or not. It can be restored for a while (`roadstead restore`)."""
    record = await api.reads.one(caller, api.cache.workloads, id)
    done(request, "Workload", record)
    await api.store.permit(caller, "delete", api.cache.workloads, record)
    await api.store.change(caller, api.cache.workloads, record, lambda _: {"deleted": True}, workloads.place)
    return Response(status_code=204)


async def _suspend(request: Request, api: Api, caller: Caller, id: str, suspend: bool) -> Response:
    record = await api.reads.one(caller, api.cache.workloads, id)
    done(request, "Workload", record)
    if await request.body() not in (b"", b"null"):
        await body_of(request, Nothing)

    def decide(body: Body) -> Mapping[str, Any]:
        return {"suspend": suspend} if bool(body["spec"].get("suspend")) != suspend else {}

    await api.store.change(caller, api.cache.workloads, record, decide, workloads.place)
    sentence = f"workload {record.title} is being {'stopped' if suspend else 'started'}"
    track = f"{api.base(request)}/api/v2/console/workloads/{record.id}/"
    return answer({"status": sentence, "workloadId": record.id, "trackVia": track}, 202)


def _draft(wish: WorkloadCreate, namespace: str, artifact: str, once: idempotency.Once | None) -> Draft:
    name = once.name("workload") if once else idempotency.slug(wish.name, "workload")
    annotations = {REQUEST_ANNOTATION: once.digest} if once else {}
    return Draft(object_id("workloads", namespace, name), namespace, name, workloads.spec(wish, artifact), {}, annotations)


async def _create(api: Api, caller: Caller, wish: WorkloadCreate, draft: Draft, once: idempotency.Once | None) -> WorkloadRecord:
    await _check(api, wish)
    return await api.store.create(caller, api.cache.workloads, draft, workloads.place, once)


async def _with_artifact(
    request: Request, api: Api, caller: Caller, wish: WorkloadCreate, inline: InlineArtifact, once: idempotency.Once | None
) -> WorkloadRecord:
    """Two writes that shall be one: the second is tried without effect first, and if it is refused nevertheless, the first is undone."""
    namespace = namespaces.chosen(request, caller, api.settings.default_namespace)
    collection = await collection_of(api, caller, namespace, inline.artifact_collection_id, ("body", "artifact", "artifactCollectionId"))
    drafted = new_artifact(namespace, inline, inline.name or wish.name, collection, once)
    draft = _draft(wish, namespace, drafted.name, once)
    made = await api.store.already(caller, api.cache.workloads, draft, once)
    if made is not None:
        return made
    await _check(api, wish)
    await api.store.rehearse(caller, api.cache.workloads, draft, workloads.place)
    return await api.store.through(_both(api, caller, drafted, draft, once))


async def _both(api: Api, caller: Caller, drafted: Draft, draft: Draft, once: idempotency.Once | None) -> WorkloadRecord:
    before = await api.store.already(caller, api.cache.artifacts, drafted, once)
    artifact = before or await api.store.create(caller, api.cache.artifacts, drafted, artifacts.place_inline, once)
    try:
        return await api.store.create(caller, api.cache.workloads, draft, workloads.place, once)
    except Exception:
        if before is None:
            await _take_back(api, artifact, draft)
        raise


async def _take_back(api: Api, artifact: ArtifactRecord, draft: Draft) -> None:
    """Unless the Workload is there nevertheless: an answer that was lost is no refusal."""
    try:
        if not await api.store.exists(api.cache.workloads, draft):
            await api.store.take_back(api.cache.artifacts, artifact)
    except ApiError:
        log.exception("Artifact %s/%s was made for a Workload that isn't there, and can't be taken back", artifact.namespace, artifact.name)


async def _check(api: Api, wish: WorkloadCreate) -> None:
    """What the API server can't know: whether the Platform has the bundle, and the cluster what scales. Raises 422."""
    _check_bundle(api, wish)
    await _check_scaler(api, wish)


def _check_bundle(api: Api, wish: WorkloadCreate) -> None:
    if wish.runtime is None or not wish.runtime.resources:
        return
    known = {bundle.id for bundle in api.cache.platform.resource_bundles or ()}
    asked = wish.runtime.resources[0].resource_bundle_id
    if asked not in known:
        there = ", ".join(sorted(known)) or "none"
        raise invalid(("body", "runtime", "resources", 0, "resourceBundleId"), f"there is no resource bundle {asked}; there are: {there}")


async def _check_scaler(api: Api, wish: WorkloadCreate) -> None:
    scaling = wish.runtime.autoscaling if wish.runtime is not None else None
    if scaling is None or not scaling.enabled or not scaling.policies:
        return
    for index, policy in enumerate(scaling.policies):
        if policy.scaling_metric.startswith("http") and not await api.keda.present():
            place = ("body", "runtime", "autoscaling", "policies", index, "scalingMetric")
            raise invalid(place, f"{policy.scaling_metric} needs KEDA, which this cluster doesn't have; ask its administrator for it")
