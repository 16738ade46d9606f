"""Whether a caller may call an endpoint: token, then endpoint, then right. What the caller may not see isn't there for him.

The right is to ``create`` the endpoint's part ``invoke`` (``workloads/invoke``, ``deployments/invoke``), in its namespace or on its name;
tokens that may only read will do. What is known already is said without a task or a future, since nearly every question is such a one.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Final, Protocol

from roadstead.access.callers import Caller, Callers
from roadstead.access.errors import CLUSTER_AWAY, Refused, Throttled
from roadstead.access.rights import Rights
from roadstead.gateway.directory import DEPLOYMENT, WORKLOAD, Target
from roadstead.gateway.waking import Answer
from roadstead.kube.errors import ApiError
from roadstead.kube.resource import Resource
from roadstead.resources import ENDPOINTS, WORKLOADS

log = logging.getLogger(__name__)
INVOKE: Final = "invoke"
RESOURCES: Final[dict[str, Resource]] = {WORKLOAD: WORKLOADS, DEPLOYMENT: ENDPOINTS}
WHAT: Final = {WORKLOAD: "workload", DEPLOYMENT: "deployment"}
AWAY_RETRY_SECONDS: Final = 5.0
DEFECT: Final = "this is a defect of the gateway; its log says more"


class Finds(Protocol):
    """Who can be called."""

    def find(self, kind: str, id: str) -> Target | None: ...


@dataclass(frozen=True, slots=True)
class Permitted:
    """The caller may call the target."""

    caller: Caller
    target: Target


class Permission:
    """Asks the API server by way of ``callers`` and ``rights``, which keep what it says."""

    def __init__(self, callers: Callers, rights: Rights, directory: Finds) -> None:
        self._callers = callers
        self._rights = rights
        self._directory = directory

    def known(self, authorization: str, kind: str, id: str) -> Permitted | Answer | None:
        """As ``asked``, where that is known already; else None. Never waits, costs no call."""
        caller = self._callers.kept(authorization)
        if caller is None:
            return None
        target = self._directory.find(kind, id)
        if target is None:
            return unknown(kind, id)
        allowed = self._rights.kept(caller, "create", RESOURCES[kind], target.namespace, target.name, INVOKE)
        return Permitted(caller, target) if allowed else None

    async def asked(self, authorization: str, address: str, kind: str, id: str) -> Permitted | Answer:
        """Whether the bearer of that header's token, at that address, may call the endpoint; if not, what he is told."""
        try:
            caller = await self._callers.of(authorization, address)
            target = self._directory.find(kind, id)
            if target is None:
                return unknown(kind, id)
            resource = RESOURCES[kind]
            if await self._rights.may(caller, "create", resource, target.namespace, target.name, INVOKE):
                return Permitted(caller, target)
            if await self._rights.may(caller, "get", resource, target.namespace, target.name):
                return forbidden(caller, target)
            return unknown(kind, id)
        except Throttled as refused:
            return Answer(429, refused.sentence, refused.wait_seconds)
        except Refused as refused:
            return Answer(401, refused.sentence)
        except ApiError as error:
            return Answer(503, CLUSTER_AWAY, error.retry_after or AWAY_RETRY_SECONDS)
        except Exception:
            log.exception("Could not find out whether somebody may call %s %s", WHAT[kind], id)
            return Answer(500, DEFECT)


def unknown(kind: str, id: str) -> Answer:
    """404, also for what the caller may not see."""
    return Answer(404, f"{WHAT[kind]} {id} not found")


def forbidden(caller: Caller, target: Target) -> Answer:
    """403: he may see it, so he may know which right he lacks."""
    resource = RESOURCES[target.kind]
    refusal = f"{caller.username} may not call {WHAT[target.kind]}s in namespace {target.namespace}"
    return Answer(403, f"{refusal}: that needs the right to create {resource.plural}/{INVOKE} of {resource.group}")
