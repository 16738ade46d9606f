"""An authoriser in front of a world, and those who ask it over real sockets."""

from __future__ import annotations

from contextlib import AsyncExitStack

from roadstead.api.identity import object_id
from roadstead.gateway.authoriser import Authoriser
from roadstead.gateway.directory import DEPLOYMENT, WORKLOAD
from roadstead.gateway.http import listening
from roadstead.gateway.permission import Permission
from tests.unit.gateway.reviewer import Reviewer, Said, Wire, access, reviewing, wire
from tests.unit.gateway.waking_world import NS, World

ROLES = ("editor", "invoker", "viewer", "stranger")
KINDS = {WORKLOAD: "w", DEPLOYMENT: "d"}
NOBODY = "f" * 24


class Gateway:
    """An authoriser in front of a world with Workload ``w`` and Deployment ``d``, in which each role's token is its name."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self.stack = stack
        self.world = World()
        self.reviewer = Reviewer(tokens={role: role for role in ROLES})
        for kind in KINDS:
            self.reviewer.rights |= {(user, "create", f"{kind}/invoke", NS, "") for user in ("editor", "invoker")}
            self.reviewer.rights |= {(user, "get", kind, NS, "") for user in ("editor", "viewer")}
        self.world.workload()
        self.world.deployment("d", "w", "w")
        self.port = 0
        self.authoriser: Authoriser

    async def serve(self, kept: float = 60, refused: float = 60, stale: float = 60) -> None:
        client = await self.stack.enter_async_context(reviewing(self.reviewer))
        self.authoriser = Authoriser(Permission(*access(client, kept, refused, stale), self.world.directory), self.world.waking)
        self.port = await self.stack.enter_async_context(listening(self.authoriser, "127.0.0.1", 0))

    async def wire(self) -> Wire:
        return await self.stack.enter_async_context(wire(self.port))

    async def says(self, role: str | None = "editor", path: str | None = None, client: str = "10.9.9.9", **headers: str) -> Said:
        connection = await self.wire()
        if role is not None:
            headers["authorization"] = f"Bearer {role}"
        connection.ask(path or path_of(WORKLOAD), x_roadstead_client=client, **headers)
        return await connection.hear()


def path_of(kind: str, name: str = "", rest: str = "/v1/models?x=1") -> str:
    return f"/api/v2/endpoints/{kind}/{object_id(kind, NS, name or KINDS[kind])}{rest}"
