"""The parts of one gateway process, and how they know of each other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from typing import Any, Final

from roadstead.access.callers import Callers
from roadstead.access.rights import Rights
from roadstead.access.verdicts import Keeping
from roadstead.api.platform import PlatformSpec
from roadstead.gateway.admin import Admin
from roadstead.gateway.authoriser import Authoriser
from roadstead.gateway.control import Control
from roadstead.gateway.directory import Directory
from roadstead.gateway.envoy.ads import Store
from roadstead.gateway.envoy.load_reports import INTERVAL_SECONDS
from roadstead.gateway.envoy.resources import EnvoyUpstreams
from roadstead.gateway.fastpath import FastPath
from roadstead.gateway.ledger.checkpoint import Checkpoint
from roadstead.gateway.ledger.envoy_stats import EnvoyStats
from roadstead.gateway.ledger.ledger import Ledger
from roadstead.gateway.metrics import Metrics
from roadstead.gateway.mirrors import Mirrors
from roadstead.gateway.peers import ROUND_SECONDS, Peers
from roadstead.gateway.permission import Permission
from roadstead.gateway.scaler.demand import Demand
from roadstead.gateway.scaler.service import ScalerService
from roadstead.gateway.waking import Waking
from roadstead.kube.client import ApiClient
from roadstead.settings import GatewaySettings
from roadstead.tls import Certificates

ATTACH_SECONDS: Final = 10.0
"""Longer than a sibling keeps our Envoy, and than that takes to connect."""
COUNTED_SECONDS: Final = 20.0
"""Longer than an Envoy takes to report for the first time after somebody to whom it reported has died (it asks again after five seconds),
and than another replica takes to tell what it knows; not for as long as a pod that never answers is on the list.
"""
HAND_OVER_SECONDS: Final = 8.0
"""Longer than an Envoy that was sent home by a sibling takes to come, and two reports."""
LOOK_SECONDS: Final = 0.1


class Parts:
    """Built once; ``loops`` are run for the life of the process, ``control`` is entered once the mirrors are filled."""

    def __init__(
        self, settings: GatewaySettings, identity: str, client: ApiClient, admin: Admin, certificates: Certificates | None
    ) -> None:
        self._store = store = Store()
        self._identity = identity
        self._given_peers = settings.peers
        self._certificates = certificates
        self._upstreams = EnvoyUpstreams(store)
        self.directory = Directory(self._upstreams)
        self.mirrors = Mirrors(client, self.directory, settings.namespace, settings.peer_service if certificates is not None else "")
        self.ledger = Ledger(identity, minute_seconds=settings.minute_seconds)
        credentials, name = (certificates.grpc_client, certificates.server_name) if certificates is not None else (None, "")
        self.peers = Peers(self.ledger, credentials, name)
        self._stats = EnvoyStats(self.ledger)
        self._checkpoint = Checkpoint(settings.state, self.ledger, self._stats)
        self._checkpoint.load()
        self.waking = Waking(self.directory, self.ledger)
        self.metrics = Metrics()
        store.on_rejected = self.metrics.rejected
        stale = self._stale_seconds
        keeping = Keeping(settings.verdict_seconds, settings.refusal_seconds, stale)
        permission = Permission(Callers(client, settings.audience, keeping), Rights(client, keeping), self.directory)
        self.authoriser = Authoriser(permission, self.waking)
        self.guests = self.authoriser.for_guests(self._upstreams)
        self.metrics.watch(self.mirrors, self.waking, self.authoriser.answers, (client,))
        self.waking.started, self.waking.woken = FastPath(client, self.directory).start, self.metrics.woken
        demand = Demand(self.ledger, self.directory, ready=self._ready, hears_all=lambda: self.peers.hears_all)
        self.scaler = ScalerService(self.ledger, demand)
        self.control = Control(settings, store, self.ledger, certificates, peers=(self.peers.handler(),), scaler=self.scaler.connection)
        self._configured(self.directory.platform)
        self.mirrors.configured = self._configured
        self._admin = admin
        self._replicas: Mapping[str, str] = {}
        self._peer_port = settings.peer_port
        self.mirrors.peers = self._met
        if certificates is None or not settings.peer_service:
            self.peers.set_peers(settings.peers if certificates is not None else ())

    def loops(self) -> Mapping[str, Coroutine[Any, Any, None]]:
        """The coroutines to run from when the mirrors are filled."""
        return {
            "scaler": self.scaler.run(),
            "statistics": self._stats.run(self._admin),
            "checkpoint": self._checkpoint.run(),
        }

    async def attached(self) -> None:
        """Return once the Envoy beside us is configured by us, at the latest after ATTACH_SECONDS; at once where there are no siblings.

        When this process begins it may be configured by a sibling still, who then has to answer its questions too: only who configures an
        Envoy knows what it can be let through to.
        """
        siblings = self._given_peers or self._replicas.keys() - {self._identity}
        if self._certificates is not None and siblings:
            with suppress(TimeoutError):
                async with asyncio.timeout(ATTACH_SECONDS):
                    await self._store.configured()

    async def counted(self) -> None:
        """Return once the Envoy beside us is known to report its load, here or to a sibling, and the replicas have told all they know; at
        the latest after COUNTED_SECONDS.

        What the Envoy lets through before isn't in any report: it counts from when it is first answered, and what it learns of meanwhile
        from its next report on. And once this process is ready a rollout ends another one, with what only that one and we can know.
        """
        if await _within(COUNTED_SECONDS, lambda: self.ledger.knows(self._identity) and self.peers.complete):
            await asyncio.sleep(1.5 * INTERVAL_SECONDS)

    async def close(self) -> None:
        """Hand over what is known here, once Envoy's last report has come and peers have been told of it."""
        await handed_over(self.ledger, self._identity)
        await self.peers.close()
        await self._checkpoint.close()

    def _ready(self) -> bool:
        """Whether what isn't known here isn't there: mirrors are filled, peers have told all, and the Envoy beside us has reported."""
        return self.mirrors.filled and self.peers.complete and self.ledger.knows(self._identity)

    def _met(self, replicas: Mapping[str, str]) -> None:
        """The replicas' pods and their addresses, our own among them; of one that is gone nothing is in flight any more."""
        for name in self._replicas.keys() - replicas.keys():
            self.ledger.gone(name)
        self._replicas = replicas
        self.ledger.listed(replicas.keys())
        self.peers.set_peers(
            f"[{address}]:{self._peer_port}" if ":" in address else f"{address}:{self._peer_port}"
            for name, address in replicas.items()
            if name != self._identity
        )

    def _stale_seconds(self) -> float:
        return float(self.directory.platform.gateway.stale_verdicts_seconds)

    def _configured(self, platform: PlatformSpec) -> None:
        self._upstreams.configure(platform.gateway.idle_timeout_seconds, platform.gateway.cold_start_limit_seconds)


async def handed_over(ledger: Ledger, node: str) -> None:
    """Return once that Envoy has told of its last request and all who listen know; at the latest after HAND_OVER_SECONDS and a round."""
    last = ledger.reports[node] + 2  # the next one may have been under way before the last request was
    await _within(HAND_OVER_SECONDS, lambda: ledger.reports[node] >= last and not ledger.pending)
    await asyncio.sleep(ROUND_SECONDS)


async def _within(seconds: float, condition: Callable[[], bool]) -> bool:
    """Return when it holds, at the latest after so long; says whether it does."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while not condition():  # noqa: ASYNC110 - the ledger is bookkeeping, and knows no loop
                await asyncio.sleep(LOOK_SECONDS)
    return condition()
