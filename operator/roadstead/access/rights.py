"""What a caller may do: Kubernetes RBAC on our kinds, asked by SubjectAccessReview and kept for seconds."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Final, TypeAlias

from roadstead.access.callers import Caller
from roadstead.access.verdicts import Keeping, Verdicts
from roadstead.kube.client import ApiClient
from roadstead.kube.resource import SUBJECT_ACCESS_REVIEWS, Resource

AT_ONCE: Final = 16
"""Reviews under way at once for one list over many namespaces."""


_Question: TypeAlias = tuple[bytes, str, str, str, str, str]
"""Identity, verb, plural, subresource, namespace, name."""


class Rights:
    """Answers by caller, verb, kind, namespace and name; an empty namespace means all of them, an empty name any.

    ``subresource`` is a part of the kind that RBAC names by itself, as in ``workloads/invoke``; empty: the object as such.
    """

    def __init__(self, client: ApiClient, keeping: Keeping) -> None:
        self._client = client
        self._verdicts: Verdicts[_Question, bool] = Verdicts(bool, keeping)

    async def may(self, caller: Caller, verb: str, resource: Resource, namespace: str, name: str = "", subresource: str = "") -> bool:
        """Whether RBAC allows it. A right on the whole namespace is looked for first: it answers for every object in it."""
        if await self._allowed(caller, verb, resource, namespace, "", subresource):
            return True
        return bool(name) and await self._allowed(caller, verb, resource, namespace, name, subresource)

    def kept(self, caller: Caller, verb: str, resource: Resource, namespace: str, name: str, subresource: str = "") -> bool:
        """Whether ``may`` would say yes and need not ask anybody: the answer is kept and young."""
        question = (caller.identity, verb, resource.plural, subresource, namespace, "")
        return bool(self._verdicts.fresh(question) or self._verdicts.fresh((*question[:5], name)))

    async def namespaces(self, caller: Caller, verb: str, resource: Resource, among: Collection[str]) -> frozenset[str]:
        """Those of ``among`` in which the caller may do so."""
        if await self._allowed(caller, verb, resource, "", ""):
            return frozenset(among)
        slots = asyncio.Semaphore(AT_ONCE)

        async def allowed(namespace: str) -> bool:
            async with slots:
                return await self._allowed(caller, verb, resource, namespace, "")

        names = list(among)
        verdicts = await asyncio.gather(*map(allowed, names))
        return frozenset(name for name, verdict in zip(names, verdicts, strict=True) if verdict)

    async def _allowed(self, caller: Caller, verb: str, resource: Resource, namespace: str, name: str, subresource: str = "") -> bool:
        question = (caller.identity, verb, resource.plural, subresource, namespace, name)
        return await self._verdicts.get(question, lambda: self._review(caller, verb, resource, namespace, name, subresource))

    async def _review(self, caller: Caller, verb: str, resource: Resource, namespace: str, name: str, subresource: str) -> bool:
        attributes = {"verb": verb, "group": resource.group, "resource": resource.plural, "subresource": subresource}
        attributes |= {"namespace": namespace, "name": name}
        spec = {
            "user": caller.username,
            "uid": caller.uid,
            "groups": list(caller.groups),
            "extra": {extra: list(values) for extra, values in caller.extra.items()},
            "resourceAttributes": {part: value for part, value in attributes.items() if value},
        }
        body = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}
        review = await self._client.create(SUBJECT_ACCESS_REVIEWS, None, body)
        return bool(review["status"].get("allowed"))
