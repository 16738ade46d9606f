"""Writes, each with the caller's own token: admission policies and the audit log of the cluster see the person."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

from roadstead.access.callers import Caller, Callers
from roadstead.access.rights import Rights
from roadstead.kube.client import ApiClient
from roadstead.kube.errors import ApiError, Conflict, Forbidden, NotFound, Unauthorized
from roadstead.kube.resource import Body, Resource
from roadstead.names import API_MANAGER, CREATED_ANNOTATION, CREATOR_ANNOTATION, ID_LABEL, UPDATED_ANNOTATION
from roadstead.rest.cache import Mirror
from roadstead.rest.gitops import keeper, refusal
from roadstead.rest.idempotency import Once
from roadstead.rest.namespaces import HEADER as NAMESPACE_HEADER
from roadstead.rest.problems import Location, Path, Problem, invalid, not_found, of_api, unavailable
from roadstead.rest.records import Record

R = TypeVar("R", bound=Record)
T = TypeVar("T")
WORDS: Final = {"patch": "change", "delete": "delete"}
TRIES: Final = 6
"""How often a change is begun anew because somebody else was quicker."""


@dataclass(frozen=True, slots=True)
class Draft:
    """An object to be made: what the caller wants of it, without what this module adds."""

    id: str
    namespace: str
    name: str
    spec: Body
    labels: Mapping[str, str]
    annotations: Mapping[str, str]


class Store:
    """``callers`` is a client without credentials of its own, ``own`` this process's."""

    def __init__(self, callers: ApiClient, own: ApiClient, tokens: Callers, rights: Rights) -> None:
        self._callers = callers
        self._own = own
        self._tokens = tokens
        self._rights = rights
        self._under_way: set[asyncio.Task[Any]] = set()

    async def through(self, work: Coroutine[Any, Any, T]) -> T:
        """Carry it through even if its request ends before: of two writes that are one, half must not remain."""
        task = asyncio.create_task(work)
        self._under_way.add(task)
        task.add_done_callback(self._ended)
        return await asyncio.shield(task)

    async def settled(self) -> None:
        """Return when nothing is under way any more."""
        await asyncio.gather(*self._under_way, return_exceptions=True)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._under_way.discard(task)
        if not task.cancelled():
            task.exception()  # its request has it; or has ended, and with it whoever could be told

    async def create(self, caller: Caller, mirror: Mirror[R], draft: Draft, place: Callable[[Path], Location], once: Once | None) -> R:
        """Make it, or find what the very same request has made before. Raises Problem."""
        made = await self.already(caller, mirror, draft, once)
        if made is not None:
            return made
        try:
            return mirror.put(await self._create(caller, mirror.resource, draft, place, dry_run=False))
        except Conflict as error:
            made = await self.already(caller, mirror, draft, once)
            if made is None:
                raise unavailable(f"the name chosen is taken: {error.message}", 1) from error
            return made

    async def rehearse(self, caller: Caller, mirror: Mirror[R], draft: Draft, place: Callable[[Path], Location]) -> None:
        """As ``create``, without effect: schema, rights, policies and quotas are asked. Raises Problem."""
        with suppress(Conflict):  # a request with the same key was quicker: ``create`` finds what it made
            await self._create(caller, mirror.resource, draft, place, dry_run=True)

    async def already(self, caller: Caller, mirror: Mirror[R], draft: Draft, once: Once | None) -> R | None:
        """What the very same request has made before. Raises Problem where its key has made something else.

        Asked before anything else is: a retry answers the same, whatever has been used up or forbidden since.
        """
        if once is None:
            return None
        try:
            body = await self._callers.acting(caller.token).get(mirror.resource, draft.namespace, draft.name)
        except (NotFound, Forbidden):
            return None
        except ApiError as error:
            raise self._problem(caller, error, whole) from error
        once.check(body)
        return mirror.put(body)

    async def _create(self, caller: Caller, resource: Resource, draft: Draft, place: Callable[[Path], Location], *, dry_run: bool) -> Body:
        stamps = {CREATOR_ANNOTATION: caller.username, CREATED_ANNOTATION: datetime.now(UTC).isoformat(timespec="microseconds")}
        body = {
            "apiVersion": resource.api_version,
            "kind": resource.kind,
            "metadata": {
                "name": draft.name,
                "namespace": draft.namespace,
                "labels": {**draft.labels, ID_LABEL: draft.id},
                "annotations": {**draft.annotations, **stamps},
            },
            "spec": draft.spec,
        }
        client = self._callers.acting(caller.token)
        try:
            return await client.create(resource, draft.namespace, body, field_manager=API_MANAGER, dry_run=dry_run)
        except NotFound as error:
            raise invalid(("header", NAMESPACE_HEADER), f"namespace {draft.namespace} does not exist") from error
        except Conflict as error:
            if error.reason == "AlreadyExists":
                raise
            raise of_api(error, place) from error
        except ApiError as error:
            raise self._problem(caller, error, place) from error

    async def exists(self, mirror: Mirror[R], draft: Draft) -> bool:
        """Whether it has been made after all."""
        try:
            await self._own.get(mirror.resource, draft.namespace, draft.name)
        except NotFound:
            return False
        return True

    async def _read(self, caller: Caller, mirror: Mirror[R], record: Record) -> Body:
        try:
            return await self._callers.acting(caller.token).get(mirror.resource, record.namespace, record.name)
        except NotFound as error:
            raise not_found(mirror.what, record.id) from error
        except ApiError as error:
            raise self._problem(caller, error, whole) from error

    async def change(
        self,
        caller: Caller,
        mirror: Mirror[R],
        record: R,
        decide: Callable[[Body], Mapping[str, Any]],
        place: Callable[[Path], Location],
    ) -> R:
        """Change fields of its spec. ``decide`` takes the object as it is and returns the fields to set, None for those to remove; it may
        raise Problem. Begins anew where somebody else was quicker. Writes nothing where nothing would differ."""
        # Asked beforehand, since what changes nothing is never put to the API server: it would be allowed to everybody.
        await self.permit(caller, "patch", mirror, record)
        client = self._callers.acting(caller.token)
        for attempt in range(TRIES):
            body = await self._read(caller, mirror, record)
            spec = body["spec"]
            if spec.get("deleted"):
                raise not_found(mirror.what, record.id)
            wished = decide(body)
            changed = {field: value for field, value in wished.items() if spec.get(field) != value}
            if not changed:
                return mirror.put(body)
            kept = keeper(body, changed)
            if kept is not None:
                raise invalid(place(("spec", kept[0])), refusal(body, kept[1]))
            try:
                patched = await client.json_patch(
                    mirror.resource, record.namespace, record.name, _patch(body, changed), field_manager=API_MANAGER
                )
                return mirror.put(patched)
            except Conflict as error:
                if attempt == TRIES - 1:
                    raise of_api(error, place) from error
                await asyncio.sleep(random.uniform(0.01, 0.05) * 2**attempt)  # noqa: S311
            except ApiError as error:
                raise self._problem(caller, error, place) from error
        raise AssertionError("unreachable")

    async def permit(self, caller: Caller, verb: str, mirror: Mirror[R], record: R) -> None:
        """Raises 403 unless the caller has the verb on the object."""
        if not await self._rights.may(caller, verb, mirror.resource, record.namespace, record.name):
            what = f"{mirror.what}s in namespace {record.namespace}"
            sentence = f"{caller.username} may not {WORDS[verb]} {what}; an administrator of the namespace can grant the right"
            raise Problem(403, sentence)

    async def remove(self, caller: Caller, mirror: Mirror[R], record: R) -> None:
        """Delete that very object for good."""
        await self.permit(caller, "delete", mirror, record)
        try:
            await self._callers.acting(caller.token).delete(mirror.resource, record.namespace, record.name, uid=record.uid)
        except ApiError as error:
            raise self._problem(caller, error, whole) from error
        mirror.drop(record)

    async def take_back(self, mirror: Mirror[R], record: R) -> None:
        """Delete what was made a moment ago for something that was then refused; in our own name, since the caller may lack the right."""
        await self._own.delete(mirror.resource, record.namespace, record.name, uid=record.uid)
        mirror.drop(record)

    def _problem(self, caller: Caller, error: ApiError, place: Callable[[Path], Location]) -> Exception:
        if isinstance(error, Unauthorized):
            self._tokens.forget(caller)
        return of_api(error, place)


def whole(path: Path) -> Location:
    """Where there is no body, all is about the request as a whole."""
    return ("body", *path)


def _patch(body: Body, changed: Mapping[str, Any]) -> list[Body]:
    """A JSON patch that holds for this very state of this very object."""
    metadata, spec = body["metadata"], body["spec"]
    operations: list[Body] = [
        {"op": "test", "path": f"/metadata/{field}", "value": metadata[field]} for field in ("uid", "resourceVersion")
    ]
    for field, value in changed.items():
        if value is not None:
            operations.append({"op": "add", "path": f"/spec/{field}", "value": value})
        elif field in spec:
            operations.append({"op": "remove", "path": f"/spec/{field}"})
    stamp = {UPDATED_ANNOTATION: datetime.now(UTC).isoformat(timespec="microseconds")}
    if not metadata.get("annotations"):
        operations.append({"op": "add", "path": "/metadata/annotations", "value": stamp})
    else:
        for name, text in stamp.items():
            operations.append({"op": "add", "path": f"/metadata/annotations/{name.replace('/', '~1')}", "value": text})
    return operations
