"""``/console/deployments/``."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Final

from fastapi import Depends, Query, Request, Response

from roadstead.access.callers import Caller
from roadstead.api.artifact import ArtifactStatus
from roadstead.api.identity import object_id
from roadstead.names import REQUEST_ANNOTATION
from roadstead.rest import idempotency, namespaces
from roadstead.rest.bodies import body_of, described
from roadstead.rest.context import Api, TheApi, TheCaller, TheWriter
from roadstead.rest.pages import page
from roadstead.rest.problems import RULE, invalid
from roadstead.rest.records import EndpointRecord, WorkloadRecord
from roadstead.rest.routing import Router, aged, answer, done
from roadstead.rest.store import Draft
from roadstead.rest.v241 import deployments, workloads
from roadstead.rest.v241 import stats as statistics
from roadstead.rest.v241.common import WRITES, ThisId, origin, responses
from roadstead.rest.v241.examples import WORKLOAD_ID
from roadstead.rest.v241.lists import Listing
from roadstead.rest.v241.models import DeploymentCreate, DeploymentFormatted, DeploymentPage, DeploymentUpdate, Id, Stats
from roadstead.rest.v241.moments import Moment

router = Router(prefix="/console/deployments", tags=["Deployments"])
EXAMPLE: Final = {"name": "whoami", "workloadId": WORKLOAD_ID, "importance": "moderate"}
PLACE: Final = ("body", "workloadId")


@router.post(
    "/",
    operation_id="createDeployment",
    summary="Create a deployment",
    status_code=201,
    response_model=DeploymentFormatted,
    responses=responses(*WRITES),
    openapi_extra=described(DeploymentCreate, example=EXAMPLE),
)
async def create(request: Request, api: TheApi, caller: TheWriter) -> Response:
    """A stable endpoint in front of a workload, whose artifact must be registered."""
    wish = await body_of(request, DeploymentCreate)
    once = idempotency.once(request.headers.get(idempotency.HEADER), caller.username, await request.body())
    workload = await _servable(api, caller, wish.workload_id)
    namespace = namespaces.same(request, workload.namespace, "workload")
    name = once.name("deployment") if once else idempotency.slug(wish.name, "deployment")
    annotations = {REQUEST_ANNOTATION: once.digest} if once else {}
    id = object_id("deployments", namespace, name)
    draft = Draft(id, namespace, name, deployments.spec(wish, workload.name), {}, annotations)
    made = await api.store.create(caller, api.cache.endpoints, draft, deployments.place, once)
    return _done(request, api, made, 201)


@router.get("/", operation_id="listDeployments", summary="List deployments", response_model=DeploymentPage, responses=responses(422))
async def list_all(
    request: Request,
    api: TheApi,
    caller: TheCaller,
    listing: Annotated[Listing, Depends()],
    wid: Annotated[list[Id] | None, Query(description="Only those of these workloads; repeat the parameter for several.")] = None,
    workload_details: Annotated[bool, Query(alias="workloadDetails", description="Puts the workload into each deployment.")] = False,
) -> Response:
    """Those of all namespaces in which the caller may list them."""
    mirror, alive = api.cache.endpoints, api.operators.alive
    wanted = {id.lower() for id in wid} if wid is not None else None
    found = listing.chosen(
        record
        for record in await api.reads.all(caller, mirror, listing.order)
        if wanted is None or object_id("workloads", record.namespace, record.workload) in wanted
    )
    here = origin(api, request)
    data = []
    for record in listing.part(found, lambda record: deployments.status(_workload(api, record), alive)):
        workload = _workload(api, record)
        entry = deployments.formatted(record, workload, here, alive)
        if workload_details:
            seen = workload is not None and await api.rights.may(
                caller, "get", api.cache.workloads.resource, record.namespace, record.workload
            )
            entry["workload"] = workloads.formatted(workload, here, alive) if seen and workload is not None else None
        data.append(entry)
    age = api.cache.age_seconds(mirror, api.cache.workloads)
    return aged(page(request, api.base(request), len(found), listing.offset, listing.limit, data), age)


@router.get(
    "/{id}/",
    operation_id="getDeployment",
    summary="Get a deployment",
    response_model=DeploymentFormatted,
    responses=responses(400, 404),
)
async def get(request: Request, api: TheApi, caller: TheCaller, id: ThisId) -> Response:
    """Its status is its workload's, at this moment."""
    record = await api.reads.one(caller, api.cache.endpoints, id)
    content = deployments.formatted(record, _workload(api, record), origin(api, request), api.operators.alive)
    return aged(content, api.cache.age_seconds(api.cache.endpoints, api.cache.workloads))


@router.patch(
    "/{id}/",
    operation_id="updateDeployment",
    summary="Change a deployment",
    response_model=DeploymentFormatted,
    responses=responses(*WRITES, 404),
    openapi_extra=described(DeploymentUpdate, example={"importance": "high"}),
)
async def update(request: Request, api: TheApi, caller: TheWriter, id: ThisId) -> Response:
    """What is absent stays. With another `workloadId` traffic moves as soon as that workload answers."""
    wish = await body_of(request, DeploymentUpdate)
    record = await api.reads.one(caller, api.cache.endpoints, id)
    workload = None
    if wish.workload_id is not None:
        found = await _servable(api, caller, wish.workload_id)
        if found.namespace != record.namespace:
            raise invalid(PLACE, f"the workload must be in the deployment's own namespace, {record.namespace}")
        workload = found.name
    wished = deployments.updated(wish, workload)
    return _done(request, api, await api.store.change(caller, api.cache.endpoints, record, lambda _: wished, deployments.place))


@router.delete(
    "/{id}/",
    operation_id="deleteDeployment",
    summary="Delete a deployment",
    status_code=204,
    response_class=Response,
    responses=responses(400, 403, 404),
)
async def delete(request: Request, api: TheApi, caller: TheWriter, id: ThisId) -> Response:
    """For good. Its workload stays as it is."""
    record = await api.reads.one(caller, api.cache.endpoints, id)
    done(request, "Deployment", record)
    await api.store.remove(caller, api.cache.endpoints, record)
    return Response(status_code=204)


@router.get(
    "/{id}/stats/",
    operation_id="getDeploymentStats",
    summary="Requests of a deployment in a period",
    response_model=Stats,
    responses=responses(400, 404, 422),
)
async def stats(
    api: TheApi,
    caller: TheCaller,
    id: ThisId,
    start_time: Annotated[Moment | None, Query(alias="startTime", description="Absent: an hour before the end.")] = None,
    end_time: Annotated[Moment | None, Query(alias="endTime", description="Absent: now.")] = None,
    quantile: Annotated[float, Query(alias="responseTimeQuantile", ge=0, le=1, description="Quantile of `responseTime`.")] = 0.5,
    slow: Annotated[float, Query(alias="slowRequestsThreshold", ge=0, description="Milliseconds from which a request is slow.")] = 2000,
) -> Response:
    """What isn't known is null, never an invented zero.

    `period` is the one that the metrics are about: of the one asked for what the gateway knows of, in whole minutes, or in whole hours if
    it began more than an hour ago; and what Prometheus knows of before, if there is one. What the gateway refuses without asking the
    service isn't counted.
    """
    record = await api.reads.one(caller, api.cache.endpoints, id)
    end = end_time or datetime.now(UTC)
    start = start_time or end - statistics.DEFAULT
    if start >= end:
        raise invalid(("query", "startTime"), "startTime must be before endTime", RULE)
    found = await api.statistics.ask(statistics.question(record, start_time, end_time, quantile, slow))
    return answer(statistics.stats(found, start, end))


def _workload(api: Api, record: EndpointRecord) -> WorkloadRecord | None:
    return api.cache.workloads.named(record.namespace, record.workload)


async def _servable(api: Api, caller: Caller, id: str) -> WorkloadRecord:
    """The workload of that id, if a deployment may stand before it. Raises 422."""
    workload = await api.reads.find(caller, api.cache.workloads, id)
    if workload is None:
        raise invalid(PLACE, f"workload {id} not found")
    mirror = api.cache.artifacts
    artifact = mirror.named(workload.namespace, workload.artifact)
    if artifact is None or artifact.status != ArtifactStatus.REGISTERED:
        artifact = await api.reads.fresh(mirror, workload.namespace, workload.artifact)  # perhaps another replica has just registered it
    if artifact is None:
        raise invalid(PLACE, f"workload {workload.title} has no artifact")
    if artifact.status != ArtifactStatus.REGISTERED:
        raise invalid(PLACE, f"artifact {artifact.title} ({artifact.id}) of workload {workload.title} is a draft; register it first")
    return workload


def _done(request: Request, api: Api, record: EndpointRecord, status: int = 200) -> Response:
    done(request, "Deployment", record)
    return answer(deployments.formatted(record, _workload(api, record), origin(api, request), api.operators.alive), status)
