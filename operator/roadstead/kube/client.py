"""The calls an operator makes, on plain dicts: get, chunked list, watch, server-side apply, patches, delete.

What is said here is which call means what; how calls are carried, retried and fenced is in ``transport``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from copy import copy
from dataclasses import dataclass
from typing import Final, Literal, Self, TypeAlias

import orjson

from roadstead.kube.config import ClusterConfig
from roadstead.kube.encoding import encoded
from roadstead.kube.errors import Conflict, Invalid, NotFound, Unreachable, error_of
from roadstead.kube.resource import Body, Resource
from roadstead.kube.transport import JSON, Request, Transport, Verb

SIGNING_KEYS: Final = "/openid/v1/jwks"
"""By a role that Kubernetes itself binds (system:service-account-issuer-discovery) each service account may read it."""
Propagation: TypeAlias = Literal["Background", "Foreground", "Orphan"]

# An apply (and a merge patch) done twice leaves what it leaves when done once. A create, a JSON patch or a replace would fail the second
# time (409, 422) although the first went through, so those go back to the caller.
_REPEATABLE: Final = frozenset({"get", "list", "apply"})


@dataclass(frozen=True, slots=True)
class Page:
    """Part of a list; ``resource_version`` is where a watch of the whole list starts."""

    items: list[Body]
    resource_version: str


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """A change (or a BOOKMARK, whose object carries nothing but a resourceVersion)."""

    type: Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK"]
    object: Body


class ApiClient:
    """A pool of connections to one API server; enter it before use.

    ``fence`` is called before every try of a write and raises to hold it back. ``silence_seconds`` is how long a watch may say
    nothing before it counts as dead: the server sends a bookmark every minute.
    """

    def __init__(
        self,
        config: ClusterConfig,
        *,
        user_agent: str,
        max_in_flight: int = 64,
        fence: Callable[[], None] | None = None,
        timeout_seconds: float = 30.0,
        silence_seconds: float = 70.0,
        retry_base_seconds: float = 0.2,
    ) -> None:
        self._transport = Transport(
            config,
            user_agent=user_agent,
            max_in_flight=max_in_flight,
            fence=fence,
            timeout_seconds=timeout_seconds,
            silence_seconds=silence_seconds,
            retry_base_seconds=retry_base_seconds,
        )
        self._bearer: str | None = None

    def acting(self, bearer: str) -> ApiClient:
        """The same client, over the same connections, in the name of whoever holds that token.

        Build the client from ``load(..., credentials=False)``: a client certificate would go before any token.
        """
        other = copy(self)
        other._bearer = bearer
        return other

    @property
    def calls(self) -> Counter[tuple[str, str, int]]:
        """Tries by (verb, plural, HTTP status); status 0 means no answer."""
        return self._transport.calls

    async def __aenter__(self) -> Self:
        self._transport.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._transport.close()

    async def get(self, resource: Resource, namespace: str | None, name: str) -> Body:
        """The object as it is now. Raises NotFound."""
        return await self._call("get", "GET", resource, resource.path(namespace, name))

    async def pages(
        self,
        resource: Resource,
        *,
        namespace: str | None = None,
        label_selector: str = "",
        field_selector: str = "",
        limit: int = 500,
    ) -> AsyncGenerator[Page, None]:
        """A consistent list in chunks of ``limit`` (0: in one piece). Raises Gone if it takes longer than etcd keeps the snapshot.

        Items get the ``apiVersion`` and ``kind`` that lists leave out.
        """
        query = _selectors(label_selector, field_selector)
        if limit:
            query["limit"] = str(limit)
        while True:
            page = await self._call("list", "GET", resource, resource.path(namespace), query=query)
            items: list[Body] = page.get("items") or []
            for item in items:
                item["apiVersion"], item["kind"] = resource.api_version, resource.kind
            yield Page(items, page["metadata"]["resourceVersion"])
            query["continue"] = page["metadata"].get("continue", "")
            if not query["continue"]:
                return

    async def watch(
        self,
        resource: Resource,
        *,
        namespace: str | None = None,
        label_selector: str = "",
        field_selector: str = "",
        resource_version: str,
        timeout_seconds: int = 300,
    ) -> AsyncGenerator[WatchEvent, None]:
        """Changes since ``resource_version``, until the server ends the stream after about ``timeout_seconds``.

        Not retried. Raises Gone (list again), Unreachable (broken off, garbled or silent) or whatever an ERROR event says.
        """
        query = _selectors(label_selector, field_selector) | {
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(timeout_seconds),
        }
        request = Request("watch", resource.plural, "GET", resource.path(namespace), query)
        async with aclosing(self._transport.lines(request)) as stream:
            async for line in stream:
                try:
                    event = orjson.loads(line)
                    kind, body = event["type"], event["object"]
                except (ValueError, KeyError, TypeError) as error:
                    raise Unreachable(f"Watch of {resource.plural} is garbled: {error!r}") from error
                if kind == "ERROR":
                    raise error_of(body)
                yield WatchEvent(kind, body)

    async def apply(
        self,
        resource: Resource,
        namespace: str | None,
        body: Body,
        *,
        field_manager: str,
        force: bool = True,
        dry_run: bool = False,
        subresource: str | None = None,
    ) -> Body:
        """Server-side apply; returns the object as it is afterwards. Raises Conflict if unforced and others own a field."""
        query = {"fieldManager": field_manager, "force": "true" if force else "false"}
        if dry_run:
            query["dryRun"] = "All"
        path = resource.path(namespace, body["metadata"]["name"], subresource)
        # JSON is YAML; the server has no other media type for apply.
        return await self._call("apply", "PATCH", resource, path, query=query, body=body, content_type="application/apply-patch+yaml")

    async def create(
        self, resource: Resource, namespace: str | None, body: Body, *, field_manager: str | None = None, dry_run: bool = False
    ) -> Body:
        """POST; raises Conflict if the name is taken."""
        query = _manager(field_manager)
        if dry_run:
            query["dryRun"] = "All"
        return await self._call("create", "POST", resource, resource.path(namespace), query=query, body=body)

    async def serves(self, resource: Resource) -> bool:
        """Whether the server knows the kind."""
        group = "/".join(filter(None, ("/apis" if resource.group else "/api", resource.group, resource.version)))
        try:
            found = await self._call("get", "GET", resource, group)
        except NotFound:
            return False
        return any(kind["name"] == resource.plural for kind in found["resources"])

    async def signing_keys(self) -> Body:
        """The public keys that tokens of service accounts are signed with: a JWKS (RFC 7517). Raises Forbidden without the right to it."""
        request = Request("get", "jwks", "GET", SIGNING_KEYS, {}, bearer=self._bearer, accept="application/jwk-set+json")
        return await self._transport.call(request, repeatable=True)

    async def merge_patch(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        body: Body,
        *,
        subresource: str | None = None,
        field_manager: str | None = None,
    ) -> Body:
        """RFC 7386: replaces what ``body`` names, lists as a whole; None removes. Put metadata.resourceVersion in to guard it."""
        path = resource.path(namespace, name, subresource)
        kind = "application/merge-patch+json"
        return await self._call(
            "patch", "PATCH", resource, path, query=_manager(field_manager), body=body, content_type=kind, repeatable=True
        )

    async def json_patch(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        operations: list[Body],
        *,
        subresource: str | None = None,
        field_manager: str | None = None,
    ) -> Body:
        """RFC 6902. Raises Conflict also if a ``test`` fails or a path isn't there, that is if the object isn't what was expected."""
        path = resource.path(namespace, name, subresource)
        kind = "application/json-patch+json"
        query = _manager(field_manager)
        try:
            return await self._call("patch", "PATCH", resource, path, query=query, body=operations, content_type=kind)
        except Invalid as error:
            if error.causes:  # the outcome breaks a rule
                raise
            # The server says 422 and nothing else when an operation can't be carried out.
            raise Conflict(409, "Conflict", f"JSON patch doesn't fit {resource.kind} {namespace}/{name} any more") from error

    async def set_status(self, resource: Resource, namespace: str | None, name: str, uid: str, status: Mapping[str, object]) -> Body:
        """Replace the whole status of that very object; raises Conflict if another has the name by now.

        A merge patch can't be guarded so: the API server ignores metadata in patches of a custom resource's status.
        """
        operations: list[Body] = [{"op": "test", "path": "/metadata/uid", "value": uid}, {"op": "add", "path": "/status", "value": status}]
        return await self.json_patch(resource, namespace, name, operations, subresource="status")

    async def replace(
        self,
        resource: Resource,
        namespace: str | None,
        body: Body,
        *,
        subresource: str | None = None,
        field_manager: str | None = None,
    ) -> Body:
        """PUT; raises Conflict unless metadata.resourceVersion in ``body`` is the present one (or absent)."""
        path = resource.path(namespace, body["metadata"]["name"], subresource)
        return await self._call("update", "PUT", resource, path, query=_manager(field_manager), body=body)

    async def delete(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        *,
        uid: str | None,
        resource_version: str | None = None,
        propagation: Propagation = "Background",
    ) -> None:
        """Delete that very object; already gone is success. Raises Conflict if another one bears the name by now."""
        options: Body = {"propagationPolicy": propagation}
        conditions = {key: value for key, value in (("uid", uid), ("resourceVersion", resource_version)) if value}
        if conditions:
            options["preconditions"] = conditions
        try:
            # Without a uid a second try might hit a successor of the same name.
            await self._call("delete", "DELETE", resource, resource.path(namespace, name), body=options, repeatable=uid is not None)
        except NotFound:
            return

    async def _call(
        self,
        verb: Verb,
        method: str,
        resource: Resource,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Body | list[Body] | None = None,
        content_type: str = JSON,
        repeatable: bool | None = None,
    ) -> Body:
        data = None if body is None else encoded(body)
        request = Request(verb, resource.plural, method, path, query or {}, data, content_type, self._bearer)
        return await self._transport.call(request, repeatable=verb in _REPEATABLE if repeatable is None else repeatable)


def _selectors(label_selector: str, field_selector: str) -> dict[str, str]:
    given = {"labelSelector": label_selector, "fieldSelector": field_selector}
    return {key: value for key, value in given.items() if value}


def _manager(field_manager: str | None) -> dict[str, str]:
    return {"fieldManager": field_manager} if field_manager else {}
