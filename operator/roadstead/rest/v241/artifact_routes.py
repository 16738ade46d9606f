"""``/registry/artifacts/``."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import Depends, Query, Request, Response

from roadstead.access.callers import Caller
from roadstead.api.artifact import ArtifactStatus
from roadstead.api.identity import object_id
from roadstead.names import COLLECTION_LABEL, REQUEST_ANNOTATION
from roadstead.rest import idempotency, namespaces
from roadstead.rest.bodies import body_of, described
from roadstead.rest.context import Api, TheApi, TheCaller, TheWriter
from roadstead.rest.pages import page
from roadstead.rest.problems import Location, Problem, invalid
from roadstead.rest.records import ArtifactRecord, collection_id
from roadstead.rest.routing import Router, aged, answer, done
from roadstead.rest.store import Draft
from roadstead.rest.v241 import artifacts
from roadstead.rest.v241.common import WRITES, ThisId, responses
from roadstead.rest.v241.examples import CONTAINER
from roadstead.rest.v241.lists import Listing
from roadstead.rest.v241.models import ArtifactCreate, ArtifactFormatted, ArtifactPage, ArtifactUpdate, Id, InlineArtifact

router = Router(prefix="/registry/artifacts", tags=["Artifacts"])
EXAMPLE: Final = {"name": "whoami", "spec": {"containerGroups": [{"containers": [CONTAINER]}]}}
NUMBERED_SECONDS: Final = 2.0
"""How long an answer about a registered artifact may wait for its version, which the operator gives it at once."""
NAMED: Final = 10
"""Workloads named in a refusal."""


@router.post(
    "/",
    operation_id="createArtifact",
    summary="Create an artifact",
    status_code=201,
    response_model=ArtifactFormatted,
    responses=responses(*WRITES),
    openapi_extra=described(ArtifactCreate, example=EXAMPLE),
)
async def create(request: Request, api: TheApi, caller: TheWriter) -> Response:
    """A draft, unless `status` says `registered`."""
    wish = await body_of(request, ArtifactCreate)
    once = idempotency.once(request.headers.get(idempotency.HEADER), caller.username, await request.body())
    namespace = namespaces.chosen(request, caller, api.settings.default_namespace)
    collection = await collection_of(api, caller, namespace, wish.artifact_collection_id, ("body", "artifactCollectionId"))
    draft = new_artifact(namespace, wish, wish.name, collection, once)
    made = await api.store.create(caller, api.cache.artifacts, draft, artifacts.place, once)
    return await _done(request, api, made, 201)


@router.get("/", operation_id="listArtifacts", summary="List artifacts", response_model=ArtifactPage, responses=responses(422))
async def list_all(
    request: Request,
    api: TheApi,
    caller: TheCaller,
    listing: Annotated[Listing, Depends()],
    status: Annotated[ArtifactStatus | None, Query(description="Only drafts, or only registered ones.")] = None,
    collection: Annotated[Id | None, Query(alias="artifactCollectionId", description="Only those of this collection.")] = None,
) -> Response:
    """Those of all namespaces in which the caller may list them."""
    mirror = api.cache.artifacts
    found = listing.chosen(
        record
        for record in await api.reads.all(caller, mirror, listing.order)
        if status in (None, record.status) and (collection is None or record.collection == collection.lower())
    )
    data = [artifacts.formatted(record) for record in listing.part(found, lambda record: record.status)]
    return aged(page(request, api.base(request), len(found), listing.offset, listing.limit, data), api.cache.age_seconds(mirror))


@router.get(
    "/{id}/", operation_id="getArtifact", summary="Get an artifact", response_model=ArtifactFormatted, responses=responses(400, 404)
)
async def get(api: TheApi, caller: TheCaller, id: ThisId) -> Response:
    """With everything its containers say."""
    record = await api.reads.one(caller, api.cache.artifacts, id)
    return aged(artifacts.formatted(record), api.cache.age_seconds(api.cache.artifacts))


@router.put(
    "/{id}/",
    operation_id="replaceArtifact",
    summary="Replace an artifact",
    response_model=ArtifactFormatted,
    responses=responses(*WRITES, 404),
    openapi_extra=described(ArtifactCreate, example=EXAMPLE),
)
async def replace(request: Request, api: TheApi, caller: TheWriter, id: ThisId) -> Response:
    """With `status: registered` it is registered as well. Of a registered one only name and description may differ."""
    wish = await body_of(request, ArtifactCreate)
    record = await api.reads.one(caller, api.cache.artifacts, id)
    if wish.artifact_collection_id is not None and wish.artifact_collection_id.lower() != record.collection:
        raise invalid(("body", "artifactCollectionId"), "an artifact stays in its collection; create a new artifact instead")
    changed = await api.store.change(caller, api.cache.artifacts, record, lambda body: artifacts.replaced(body, wish), artifacts.place)
    return await _done(request, api, changed)


@router.patch(
    "/{id}/",
    operation_id="updateArtifact",
    summary="Change or register an artifact",
    response_model=ArtifactFormatted,
    responses=responses(*WRITES, 404),
    openapi_extra=described(ArtifactUpdate, example={"status": "registered"}),
)
async def update(request: Request, api: TheApi, caller: TheWriter, id: ThisId) -> Response:
    """What is absent stays. `status: registered` registers it, for good: from then on only name and description may change."""
    wish = await body_of(request, ArtifactUpdate)
    record = await api.reads.one(caller, api.cache.artifacts, id)
    changed = await api.store.change(caller, api.cache.artifacts, record, lambda body: artifacts.updated(body, wish), artifacts.place)
    return await _done(request, api, changed)


@router.delete(
    "/{id}/",
    operation_id="deleteArtifact",
    summary="Delete an artifact",
    status_code=204,
    response_class=Response,
    responses=responses(400, 403, 404, 422),
)
async def delete(request: Request, api: TheApi, caller: TheWriter, id: ThisId) -> Response:
    """Not while a workload uses it. It can be restored for a while (`roadstead restore`)."""
    record = await api.reads.one(caller, api.cache.artifacts, id)
    done(request, "Artifact", record)
    await api.store.permit(caller, "delete", api.cache.artifacts, record)
    users = [user for user in api.cache.workloads.within([record.namespace]) if user.artifact == record.name and not user.deleted]
    if users:
        named = ", ".join(f"{user.title} ({user.id})" for user in users[:NAMED])
        more = f" and {len(users) - NAMED} more" if len(users) > NAMED else ""
        raise Problem(422, f"artifact {record.title} is used by {len(users)} workloads: {named}{more}; delete them first")
    await api.store.change(caller, api.cache.artifacts, record, lambda _: {"deleted": True}, artifacts.place)
    return Response(status_code=204)


async def collection_of(api: Api, caller: Caller, namespace: str, id: str | None, where: Location) -> str | None:
    """The name of the collection with that id, None for a new one. Raises 422 where there is none."""
    if id is None:
        return None
    id = id.lower()
    known = next((each for each in api.cache.artifacts.within([namespace]) if each.collection == id), None)
    if known is None:
        known = await api.reads.labelled(caller, api.cache.artifacts, COLLECTION_LABEL, id, namespace)
    if known is None:
        raise invalid(where, f"artifact collection {id} not found in namespace {namespace}")
    return known.lineage


def new_artifact(
    namespace: str, wish: ArtifactCreate | InlineArtifact, title: str | None, collection: str | None, once: idempotency.Once | None
) -> Draft:
    """The Artifact to be made. A new collection is called by an id."""
    name = once.name("artifact") if once else idempotency.slug(title, "artifact")
    lineage = collection or object_id("collections", namespace, name)
    labels = {COLLECTION_LABEL: collection_id(namespace, lineage)}
    annotations = {REQUEST_ANNOTATION: once.digest} if once else {}
    return Draft(object_id("artifacts", namespace, name), namespace, name, artifacts.spec(wish, title, lineage), labels, annotations)


async def _done(request: Request, api: Api, record: ArtifactRecord, status: int = 200) -> Response:
    done(request, "Artifact", record)
    if record.status == ArtifactStatus.REGISTERED and api.operators.alive:
        record = await api.cache.artifacts.until(record, lambda now: now.number is not None, NUMBERED_SECONDS)
    return answer(artifacts.formatted(record), status)
