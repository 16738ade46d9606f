"""Leader election by a Lease (coordination.k8s.io/v1), and the fence that stops a leader whose term has lapsed.

The protocol is client-go's, so `kubectl get lease` and every other tool read it as usual. Two clocks never meet: a candidate judges
expiry by its own clock, from the moment it saw the record change; times in the record are for people. The leader's term counts from
before its renewal was *sent*, and ends a safety margin (lease minus renew deadline) before any other candidate may think so.

What it can't do: call back a request already on its way. Server-side apply makes such a stray write harmless.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
import uuid
from collections.abc import Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from roadstead.kube.client import ApiClient
from roadstead.kube.errors import ApiError, Conflict, Fenced, Forbidden, NotFound, Unauthorized
from roadstead.kube.resource import LEASES, Body

log = logging.getLogger(__name__)
RELEASE_SECONDS = 1.0
FORBIDDEN_SECONDS = 60.0
"""Pause before asking again for a watch that isn't granted."""


def monotonic() -> float:
    """Seconds that also pass while the machine is suspended, which CLOCK_MONOTONIC doesn't count; others' clocks went on meanwhile."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass(frozen=True, slots=True)
class _Seen:
    """The record as last observed, and when (on our clock) it was first seen so."""

    record: tuple[str, str, str]
    since: float


class _Trouble:
    """What keeps a candidate from the Lease: told once for each reason, and once when it is over.

    What passes by itself is told only if it goes on for ``patience_seconds``.
    """

    def __init__(self, lease: str, namespace: str, patience_seconds: float) -> None:
        self._lease = lease
        self._namespace = namespace
        self._patience = patience_seconds
        self._since: float | None = None
        self._told: set[str] = set()
        """Classes and codes of errors, so there are not many."""

    def came(self, error: Exception, now: float, *, leading: bool) -> None:
        """An attempt failed. A leader has little time, and tells of each that it loses."""
        self._since = now if self._since is None else self._since
        bug = not isinstance(error, ApiError | TimeoutError)
        reason = f"{type(error).__name__} {getattr(error, 'status', '')}"
        passes = isinstance(error, TimeoutError) or (isinstance(error, ApiError) and error.transient)
        if leading and not bug:
            log.warning("Lease attempt failed: %r", error)
        elif reason in self._told or (passes and now - self._since < self._patience):
            log.debug("Lease attempt failed: %r", error)
        else:
            self._told.add(reason)
            level = logging.ERROR if bug else logging.WARNING
            log.log(level, "Can't take the Lease, waits for %s lease=%s: %r", self._awaited(error), self._lease, error, exc_info=bug)

    def over(self) -> None:
        """The API server answers as it should, whoever holds the Lease."""
        if self._told:
            log.info("Trouble with the Lease is over lease=%s", self._lease)
        self._since = None
        self._told.clear()

    def _awaited(self, error: Exception) -> str:
        match error:
            case Unauthorized():
                return "credentials that the API server accepts"
            case Forbidden():
                return f"the right to get, create and update Leases in namespace {self._namespace}"
            case NotFound():
                return f"namespace {self._namespace}"
            case ApiError(transient=True) | TimeoutError():
                return "the API server"
        return "somebody to mend this"


class Elector:
    """Takes part in the election while ``run()`` runs. ``identity`` gets a random suffix: two processes must never share one.

    ``on_started`` and ``on_stopped`` are called in the loop at every change of ``leading``. Give it a client of its own, without a fence.
    A Lease that is given back is taken at once by whoever may watch it, and within ``retry_seconds`` by others.
    """

    def __init__(
        self,
        client: ApiClient,
        *,
        namespace: str,
        name: str,
        identity: str,
        on_started: Callable[[], None],
        on_stopped: Callable[[], None],
        lease_seconds: float = 15.0,
        renew_deadline_seconds: float = 10.0,
        retry_seconds: float = 2.0,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        if not lease_seconds > renew_deadline_seconds > retry_seconds > 0:
            raise ValueError("lease_seconds > renew_deadline_seconds > retry_seconds > 0 must hold")
        self.identity = f"{identity}_{uuid.uuid4().hex[:8]}"
        self.valid_until = 0.0
        """On ``clock``: the last moment at which a write is still ours to send; 0 if we don't lead."""
        self.transitions = 0
        """How often leadership was gained."""
        self._client = client
        self._namespace = namespace
        self._name = name
        self._on_started = on_started
        self._on_stopped = on_stopped
        self._lease_seconds = lease_seconds
        self._deadline = renew_deadline_seconds
        self._retry = retry_seconds
        self._clock = clock
        self._vacated = asyncio.Event()
        """The Lease was given back since we last looked at it."""
        self._lease: Body | None = None
        """As the server last answered; None: read it first."""
        self._seen = _Seen(("", "", ""), 0.0)
        self._trouble = _Trouble(f"{namespace}/{name}", namespace, lease_seconds)

    @property
    def leading(self) -> bool:
        """Whether writing is ours now; turns False by the clock alone, even if ``run()`` had no chance to notice."""
        return self._clock() < self.valid_until

    def fence(self) -> None:
        """Raises Fenced unless leading; to be called right before each write."""
        if not self.leading:
            raise Fenced("Not the leader, or not surely any more")

    async def run(self) -> None:
        """Stand for election until cancelled; then hand over at once. Stop whatever writes before cancelling."""
        listening = asyncio.create_task(self._listen(), name="lease")
        try:
            while True:
                while not await self._attempt():
                    await self._pause()
                await self._lead()
        except asyncio.CancelledError:
            await self._release()
            raise
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)

    async def _listen(self) -> None:
        """Watch the Lease. Best effort: whatever goes wrong, polling finds out as well."""
        named = f"metadata.name={self._name}"
        while True:
            try:
                # Version 0: whatever the server's cache holds now, then all changes.
                watch = self._client.watch(LEASES, namespace=self._namespace, field_selector=named, resource_version="0")
                async with aclosing(watch) as events:
                    async for event in events:
                        if event.type in ("ADDED", "MODIFIED") and not (event.object.get("spec") or {}).get("holderIdentity"):
                            self._vacated.set()
            except ApiError as error:
                log.debug("Lease is not watched: %s", error)
                if not error.transient:  # most likely a role from before there was anything to watch
                    await asyncio.sleep(FORBIDDEN_SECONDS)
            except Exception:
                log.exception("Lease is not watched")
            await asyncio.sleep(self._retry)

    async def _lead(self) -> None:
        """One term."""
        log.info("Leads lease=%s/%s identity=%s", self._namespace, self._name, self.identity)
        self.transitions += 1
        try:
            self._on_started()
            await self._keep()
            log.warning("Leads no more lease=%s/%s", self._namespace, self._name)
        finally:
            self._resign()

    def _resign(self) -> None:
        self.valid_until = 0.0
        self._on_stopped()

    async def _keep(self) -> None:
        """Renew until the term lapses or somebody else holds the Lease."""
        while True:
            await self._pause()
            if not self.leading:
                return
            renewed = await self._attempt()
            if not renewed and self._seen.record[0] != self.identity:
                return

    async def _pause(self) -> None:
        longest = self._retry * random.uniform(1.0, 1.2)  # noqa: S311 - lets candidates drift apart
        if self.leading:
            # Never sleep over the end of the term: what must stop then has to hear of it in time.
            longest = min(longest, max(0.0, self.valid_until - self._clock()))
        with suppress(TimeoutError):
            async with asyncio.timeout(longest):
                await self._vacated.wait()

    async def _attempt(self) -> bool:
        """Try once to take or renew the Lease; anything that goes wrong is a failed attempt, and the clock decides the rest."""
        self._vacated.clear()
        patience = self._deadline / 2  # a hung connection must leave time for another try
        if self.leading:
            patience = min(patience, self.valid_until - self._clock())
        try:
            async with asyncio.timeout(patience):
                taken = await self._take()
        except Conflict as error:
            log.debug("Lease changed meanwhile: %s", error)
        except Exception as error:
            self._trouble.came(error, self._clock(), leading=self.leading)
        else:
            self._trouble.over()
            return taken
        self._lease = None
        return False

    async def _take(self) -> bool:
        # A leader that knows the present resourceVersion needs no read: if anybody else wrote, the PUT is refused.
        if self._lease is None or not self.leading:
            try:
                self._lease = await self._client.get(LEASES, self._namespace, self._name)
            except NotFound:
                asked = self._clock()
                return self._taken(await self._client.create(LEASES, self._namespace, self._body({})), asked)
            self._observe(self._lease)
        spec = self._lease.get("spec") or {}
        holder = spec.get("holderIdentity") or ""
        if holder not in ("", self.identity):
            expires = self._seen.since + float(spec.get("leaseDurationSeconds") or self._lease_seconds)
            if self._clock() < expires:
                return False
        # Until there is an answer we don't know what the record is: if we are told to stop meanwhile, it may be ours.
        lease, self._lease = self._lease, None
        asked = self._clock()
        return self._taken(await self._client.replace(LEASES, self._namespace, self._body(lease)), asked)

    def _taken(self, answer: Body, asked: float) -> bool:
        self._lease = answer
        self._observe(answer)
        self.valid_until = asked + self._deadline
        return self.leading

    def _observe(self, lease: Body) -> None:
        spec = lease.get("spec") or {}
        record = (str(spec.get("holderIdentity") or ""), str(spec.get("renewTime")), str(spec.get("acquireTime")))
        if record != self._seen.record:
            self._seen = _Seen(record, self._clock())

    def _body(self, lease: Body) -> Body:
        """The Lease, changed so that we hold it."""
        spec = dict(lease.get("spec") or {})
        now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        if spec.get("holderIdentity") != self.identity:
            spec["acquireTime"] = now
            spec["leaseTransitions"] = int(spec.get("leaseTransitions") or 0) + (1 if lease else 0)
        spec |= {"holderIdentity": self.identity, "renewTime": now, "leaseDurationSeconds": max(1, round(self._lease_seconds))}
        metadata = lease.get("metadata") or {"name": self._name, "namespace": self._namespace}
        return {"apiVersion": LEASES.api_version, "kind": LEASES.kind, "metadata": metadata, "spec": spec}

    async def _release(self) -> None:
        """Let the next leader start at once instead of after ``lease_seconds``; best effort, and only if the Lease is ours."""
        with suppress(ApiError, TimeoutError, RuntimeError):  # RuntimeError: the client was closed before us
            async with asyncio.timeout(min(self._retry, RELEASE_SECONDS)):
                lease = self._lease or await self._client.get(LEASES, self._namespace, self._name)
                if (lease.get("spec") or {}).get("holderIdentity") != self.identity:
                    return
                body = self._body(lease)
                body["spec"] |= {"holderIdentity": "", "leaseDurationSeconds": 1}
                await self._client.replace(LEASES, self._namespace, body)
