"""The parts of one gateway process, and how they know of each other."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Any, Final

from roadstead.access.callers import Callers
from roadstead.access.rights import Rights
from roadstead.access.verdicts import Keeping
from roadstead.api.platform import PlatformSpec
from roadstead.gateway.admin import Admin
from roadstead.gateway.authoriser import Authoriser
from roadstead.gateway.control import LOOPBACK, Control
from roadstead.gateway.directory import Directory
from roadstead.gateway.envoy.ads import Store
from roadstead.gateway.envoy.resources import EnvoyUpstreams
from roadstead.gateway.fastpath import FastPath
from roadstead.gateway.ledger.ledger import Ledger
from roadstead.gateway.metrics import Metrics
from roadstead.gateway.mirrors import Mirrors
from roadstead.gateway.permission import Permission
from roadstead.gateway.scaler.demand import Demand
from roadstead.gateway.scaler.service import ScalerService
from roadstead.gateway.tls import Certificates
from roadstead.gateway.waking import Waking
from roadstead.kube.client import ApiClient
from roadstead.settings import GatewaySettings

PRUNE_SECONDS: Final = 60.0


class Parts:
    """Built once; ``loops`` are run for the life of the process, ``control`` is entered once the mirrors are filled."""

    def __init__(
        self, settings: GatewaySettings, identity: str, client: ApiClient, admin: Admin, certificates: Certificates | None
    ) -> None:
        store = Store()
        self._identity = identity
        self._certificates = certificates
        self._upstreams = EnvoyUpstreams(store, (LOOPBACK, settings.answerer_port))
        self.directory = Directory(self._upstreams)
        self.mirrors = Mirrors(client, self.directory, settings.namespace, settings.peer_service if certificates is not None else "")
        self.ledger = Ledger(identity)
        self.waking = Waking(self.directory, self.ledger)
        self.metrics = Metrics()
        stale = self._stale_seconds
        keeping = Keeping(settings.verdict_seconds, settings.refusal_seconds, stale)
        permission = Permission(Callers(client, settings.audience, keeping), Rights(client, keeping), self.directory)
        self.authoriser = Authoriser(permission, self.waking)
        self.metrics.watch(self.mirrors, self.waking, self.authoriser.answers, (client,))
        self.waking.started, self.waking.woken = FastPath(client, self.directory).start, self.metrics.woken
        demand = Demand(self.ledger, self.directory, ready=self._ready, hears_all=lambda: True)
        self.scaler = ScalerService(self.ledger, demand)
        self.control = Control(settings, store, self.ledger, certificates, peers=(), scaler=(self.scaler.handler(),))
        self._configured(self.directory.platform)
        self.mirrors.configured = self._configured

    def loops(self) -> Mapping[str, Coroutine[Any, Any, None]]:
        """The coroutines to run from when the mirrors are filled."""
        return {"scaler": self.scaler.run(), "housekeeping": self._keep_house()}

    async def close(self) -> None:
        """Hand over what is known here."""

    def _ready(self) -> bool:
        """Whether what isn't known here isn't there: mirrors are filled and the Envoy beside us has reported."""
        return self.mirrors.filled and self.ledger.knows(self._identity)

    def _stale_seconds(self) -> float:
        return float(self.directory.platform.gateway.stale_verdicts_seconds)

    def _configured(self, platform: PlatformSpec) -> None:
        self._upstreams.configure(platform.gateway.idle_timeout_seconds)

    async def _keep_house(self) -> None:
        while True:
            await asyncio.sleep(PRUNE_SECONDS)
            self.ledger.prune()
            if self._certificates is not None:
                self._certificates.refresh()
