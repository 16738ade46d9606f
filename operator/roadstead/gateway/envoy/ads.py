"""Delta xDS: what every Envoy that asks is told, and what each has taken. ``discovery`` puts it on the wire.

Versions are hashes of the content, so that an Envoy which comes back, or goes over to another replica, is told nothing that it knows. A
change costs the same whatever there is beside it. SotW, the older protocol, would resend all clusters for each new one.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.route.v3 import route_pb2
from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf import any_pb2, message

log = logging.getLogger(__name__)
PREFIX: Final = "type.googleapis.com/"
CLUSTERS: Final = PREFIX + cluster_pb2.Cluster.DESCRIPTOR.full_name
ENDPOINTS: Final = PREFIX + endpoint_pb2.ClusterLoadAssignment.DESCRIPTOR.full_name
ROUTES: Final = PREFIX + route_pb2.RouteConfiguration.DESCRIPTOR.full_name
ORDER: Final = (CLUSTERS, ENDPOINTS, ROUTES)
"""What is referred to comes first."""
WILDCARD: Final = "*"
PATIENCE_SECONDS: Final = 5.0
GUEST_PATIENCE_SECONDS: Final = 5.0
"""For an Envoy that asks here without being configured here. It comes within a second or two, later on a busy machine; or it is configured
by a third replica, which has told it by then, and then a cold start takes so much longer."""


@dataclass(frozen=True, slots=True)
class _Resource:
    serial: int
    version: str
    content: Any


@dataclass(slots=True, eq=False)
class Envoy:
    """One that is connected: what it wants to hear of, what it has yet to hear, and what it has taken."""

    home: bool = False
    """It belongs to this process, and not to another replica's."""
    node: str = ""
    everything: set[str] = field(default_factory=set)
    wanted: dict[str, set[str]] = field(default_factory=lambda: {kind: set() for kind in ORDER})
    dirty: dict[str, dict[str, None]] = field(default_factory=lambda: {kind: {} for kind in ORDER})
    owed: set[str] = field(default_factory=set)
    """Types of which it must hear even if there is nothing: it starts no listener before, and waits 15 s for a word."""
    sent: dict[str, list[tuple[str, str, int]]] = field(default_factory=dict)
    taken: dict[tuple[str, str], int] = field(default_factory=dict)
    refused: dict[tuple[str, str], int] = field(default_factory=dict)
    """What it wouldn't take, and nobody waits for it to."""
    alone: set[tuple[str, str]] = field(default_factory=set)
    """What was refused together with others is told again one by one: none is to suffer for another."""
    news: asyncio.Event = field(default_factory=asyncio.Event)
    acknowledged: asyncio.Event = field(default_factory=asyncio.Event)
    gone: bool = False

    def touch(self, kind: str, name: str) -> None:
        """Tell it, if it wants to know."""
        if kind in self.everything or name in self.wanted[kind]:
            self.dirty[kind][name] = None
            self.news.set()

    def settled(self, kind: str, name: str, serial: int) -> bool:
        """Whether it has said its word on that state of a resource. Addresses of a cluster that it wouldn't take aren't asked for."""
        refused = self.refused.get((kind, name), 0) >= serial or (kind == ENDPOINTS and (CLUSTERS, name) in self.refused)
        return refused or self.taken.get((kind, name), 0) >= serial

    def rejects(self, sent: list[tuple[str, str, int]]) -> None:
        """It didn't take what it was sent, or not all of it: which of it is shown by telling it each by itself."""
        for kind, name, serial in sent:
            if len(sent) > 1:
                self.alone.add((kind, name))
                self.touch(kind, name)
            else:
                self.refused[kind, name] = serial
        self.took(())

    def took(self, names: Iterable[tuple[str, str, int]]) -> None:
        for kind, name, serial in names:
            self.taken[kind, name] = max(serial, self.taken.get((kind, name), 0))
            self.refused.pop((kind, name), None)
        self.acknowledged.set()
        self.acknowledged = asyncio.Event()


class Store:
    """All resources, by type and name."""

    def __init__(self) -> None:
        self.rejected = 0
        """How often an Envoy didn't take something: a defect of ours. ``on_rejected`` is told of each time."""
        self.on_rejected: Callable[[], None] = lambda: None
        self._resources: dict[str, dict[str, _Resource]] = {kind: {} for kind in ORDER}
        self._serials = itertools.count(1)
        self._envoys: set[Envoy] = set()
        self._home = asyncio.Event()
        """Set while the Envoy beside us is connected."""
        self._missed = False
        self._came = asyncio.Event()

    @property
    def envoys(self) -> list[str]:
        """Names of the Envoys that are connected."""
        return sorted(envoy.node for envoy in self._envoys)

    def put(self, kind: str, name: str, content: message.Message) -> None:
        """Make or change a resource; nobody is told of what stays equal."""
        packed = any_pb2.Any(type_url=kind, value=content.SerializeToString(deterministic=True))
        version = hashlib.blake2b(packed.value, digest_size=8).hexdigest()
        known = self._resources[kind].get(name)
        if known is None or known.version != version:
            self._resources[kind][name] = _Resource(next(self._serials), version, packed)
            self._touch(kind, name)

    def drop(self, kind: str, name: str) -> None:
        """Take a resource away."""
        if self._resources[kind].pop(name, None) is not None:
            self._touch(kind, name)
            for envoy in self._envoys:  # who waits for its word on this, waits no more
                envoy.took(())

    async def acknowledged(self, kind: str, name: str) -> None:
        """Return when every Envoy that is connected now has taken the present version of a resource, or has refused it, or has gone, or the
        resource has. After a refusal requests are better answered by Envoy (503) than held for what won't come.

        The Envoy beside us is waited for even if it isn't connected: after a restart of this process it may ask us for permission before it
        asks us for its configuration.
        """
        await self._at_home()
        resource = self._resources[kind].get(name)
        if resource is None:
            return
        for envoy in list(self._envoys):
            try:
                async with asyncio.timeout(PATIENCE_SECONDS):
                    while not envoy.gone and name in self._resources[kind] and not envoy.settled(kind, name, resource.serial):
                        await envoy.acknowledged.wait()
            except TimeoutError:  # it hangs, and nobody else's callers are to wait for it
                log.warning("Envoy %s has not answered about %s for %g s", envoy.node, name, PATIENCE_SECONDS)

    async def configured(self) -> None:
        """Return when the Envoy beside us is connected and has taken all that it asked for."""
        while True:
            await self._home.wait()
            envoy = next((each for each in self._envoys if each.home), None)
            if envoy is None:  # it has gone again before we were woken
                continue
            if CLUSTERS in envoy.everything and not (envoy.owed or envoy.sent or any(envoy.dirty.values())):
                return
            await envoy.acknowledged.wait()

    def knows(self, node: str, kind: str, name: str) -> bool:
        """Whether the Envoy of that name has said its word, here, on the present version of a resource; or there is none."""
        resource = self._resources[kind].get(name)
        return resource is None or any(envoy.settled(kind, name, resource.serial) for envoy in self._envoys if envoy.node == node)

    async def learnt(self, node: str, kind: str, name: str) -> None:
        """Return when ``knows`` says so, at the latest after GUEST_PATIENCE_SECONDS."""
        with suppress(TimeoutError):
            async with asyncio.timeout(GUEST_PATIENCE_SECONDS):
                while not self.knows(node, kind, name):
                    envoy = next((each for each in self._envoys if each.node == node), None)
                    await (self._came if envoy is None else envoy.acknowledged).wait()

    async def _at_home(self) -> None:
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await self._home.wait()
        except TimeoutError:  # it is gone, and nobody else's callers are to wait for it
            if not self._missed:
                log.warning("The Envoy beside this process has not asked for its configuration for %g s", PATIENCE_SECONDS)
            self._missed = True

    def _touch(self, kind: str, name: str) -> None:
        for envoy in self._envoys:
            envoy.touch(kind, name)

    def join(self, envoy: Envoy) -> None:
        """An Envoy has connected."""
        self._envoys.add(envoy)
        if envoy.home:
            self._missed = False
            self._home.set()

    def leave(self, envoy: Envoy) -> None:
        """It has gone: nobody waits for its word any more."""
        self._envoys.discard(envoy)
        if not any(each.home for each in self._envoys):
            self._home.clear()
        envoy.gone = True
        envoy.acknowledged.set()
        envoy.news.set()

    def heard(self, envoy: Envoy, request: Any) -> None:
        """What an Envoy says: which resources it wants, what it has already, and what it took of what it was sent."""
        kind = request.type_url
        if kind not in self._resources:
            return
        if request.node.id and request.node.id != envoy.node:
            envoy.node = request.node.id
            self._came.set()
            self._came = asyncio.Event()
        if request.response_nonce:
            sent = envoy.sent.pop(request.response_nonce, [])
            if request.HasField("error_detail"):
                self.rejected += 1
                self.on_rejected()
                names_sent = ", ".join(name for _, name, _ in sent[:10]) + (", …" if len(sent) > 10 else "")
                log.error("Envoy %s rejects %s: %s", envoy.node, names_sent, request.error_detail.message[:1000])
                envoy.rejects(sent)
            else:
                envoy.took(sent)
        names = set(request.resource_names_subscribe)
        first = not request.response_nonce and kind not in envoy.everything and not envoy.wanted[kind]
        if WILDCARD in names or (first and not names and kind == CLUSTERS):
            names.discard(WILDCARD)
            envoy.everything.add(kind)
            envoy.owed.add(kind)
            envoy.dirty[kind].update(dict.fromkeys(self._resources[kind]))
        envoy.wanted[kind] |= names
        envoy.dirty[kind].update(dict.fromkeys(names))
        for name, version in request.initial_resource_versions.items():
            known = self._resources[kind].get(name)
            if known is not None and known.version == version:
                envoy.dirty[kind].pop(name, None)
                envoy.took([(kind, name, known.serial)])
            else:  # changed or gone meanwhile
                envoy.dirty[kind][name] = None
        for name in request.resource_names_unsubscribe:
            envoy.wanted[kind].discard(name)
            envoy.dirty[kind].pop(name, None)
        if envoy.owed or any(envoy.dirty.values()):
            envoy.news.set()

    def news(self, envoy: Envoy, nonces: Iterable[int]) -> list[Any]:
        """The messages that bring an Envoy up to date."""
        for name in envoy.dirty[CLUSTERS]:  # a cluster that is made anew waits for its endpoints, told again or not
            if name in envoy.wanted[ENDPOINTS]:
                envoy.dirty[ENDPOINTS][name] = None
        found: list[Any] = []
        for kind, nonce in zip(ORDER, nonces, strict=False):
            names, envoy.dirty[kind] = envoy.dirty[kind], {}
            single = [name for name in names if (kind, name) in envoy.alone]
            for name in single:
                del names[name]
                envoy.alone.discard((kind, name))
                found.append(self._message(envoy, kind, (name,), f"{nonce}.{len(found)}"))
            if names or kind in envoy.owed:
                envoy.owed.discard(kind)
                found.append(self._message(envoy, kind, names, str(nonce)))
        return found

    def _message(self, envoy: Envoy, kind: str, names: Iterable[str], nonce: str) -> Any:
        response = discovery_pb2.DeltaDiscoveryResponse(type_url=kind, nonce=nonce)
        sent = envoy.sent[nonce] = []
        for name in names:
            resource = self._resources[kind].get(name)
            if resource is None:
                response.removed_resources.append(name)
                envoy.taken.pop((kind, name), None)
                envoy.refused.pop((kind, name), None)
            else:
                response.resources.add(name=name, version=resource.version, resource=resource.content)
                sent.append((kind, name, resource.serial))
        return response
