"""What the operator has just written and has not seen come back yet.

A write is answered before the watch delivers its echo, or after; comparing against a mirror that lags would write twice. Entries
lapse, so that a lost echo only delays the next look.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from roadstead.controller.budget import Budget
from roadstead.controller.contention import Quarrel, former_rival
from roadstead.controller.hearing import Hearing
from roadstead.desired import ChildKind
from roadstead.observed.views import ChildView, DeploymentView

ECHO_SECONDS = 10.0
REPLICAS, FORMER = "replicas", "former"


@dataclass(frozen=True, slots=True)
class Sent:
    """A write of a child: the view it was decided on, what it must look like, when it was sent (monotonic seconds), the uid answered."""

    before: tuple[Any, ...] | None
    digest: str
    ours: str
    at: float
    uid: str = ""


@dataclass(slots=True)
class Memory:
    """The memory of one Workload. ``applied`` overlays the hashes in its status; ``said`` is the status last written."""

    uid: str
    sent: dict[ChildKind, Sent] = field(default_factory=dict)
    applied: dict[str, str] = field(default_factory=dict)
    replicas: tuple[int, int, float] | None = None
    said: Mapping[str, Any] | None = None
    said_at: float = 0.0
    stirred_at: float = float("-inf")
    """When we last changed what KEDA's webhooks look at, in a cache that may lag: the Deployment, or an HPA taken away."""
    heard_ready: int = 0
    """How often a pod was heard to be ready; ``said_ready``: that often when the status was last found to be true, or when the Deployment
    last left zero. One that was ready and is gone by the next look has been ready all the same."""
    said_ready: int = 0
    leaving_since: float | None = None
    """Since when a scaler that must go is still there."""
    budget: Budget = field(default_factory=Budget)
    hearing: Hearing = field(default_factory=Hearing)
    quarrels: defaultdict[str, Quarrel] = field(default_factory=lambda: defaultdict(Quarrel))
    """By kind of child, REPLICAS for the count, and FORMER for one that the status tells of from before this memory began."""

    @property
    def served(self) -> bool:
        """Whether a pod was ready since ``said_ready``, whether it still is or not."""
        return self.heard_ready > self.said_ready

    def looked(self, heard_ready: int) -> None:
        """The status was found to be true, or made so, of what had been heard by then; a wake may have begun since."""
        self.said_ready = max(self.said_ready, heard_ready)

    @classmethod
    def begun(cls, uid: str, status: Mapping[str, Any], now: float) -> Memory:
        """A memory that knows what the status tells. A quarrel told there isn't over because the operator was started anew."""
        memory = cls(uid, applied=dict(status.get("applied") or {}))
        if (rival := former_rival(status)) is not None:
            memory.quarrels[FORMER] = Quarrel(rival=rival, last=now)
        return memory

    def awaits_echo(self, kind: ChildKind, live: ChildView | None, now: float) -> bool:
        """Whether the mirror still shows what was there before our own write."""
        sent = self.sent.get(kind)
        if sent is None:
            return False
        if live is not None and live.digest == sent.digest and live.ours == sent.ours and not live.foreign:
            del self.sent[kind]
            return False
        if fingerprint(live) == sent.before and now - sent.at < ECHO_SECONDS:
            return True
        del self.sent[kind]
        return False

    def saw(self, kind: ChildKind, old: ChildView | None, new: ChildView | None) -> None:
        """The mirror shows another child than before.

        What came of our write, or that its child has come and gone: from now on it shows the truth. Without this, whoever undoes a write
        before anybody looks would make the mirror look as if it lagged. A Deployment that leaves zero begins a wake; pods are watched
        apart, so one of this wake that is heard to be ready before counts for the last.
        """
        if isinstance(old, DeploymentView) and isinstance(new, DeploymentView) and old.spec_replicas == 0 < new.spec_replicas:
            self.said_ready = self.heard_ready  # whatever was ready before this wake says nothing of it
        sent = self.sent.get(kind)
        if sent is None:
            return
        echoed = new is not None and (new.uid, new.digest, new.ours) == (sent.uid, sent.digest, sent.ours) and not new.foreign
        if echoed or (new is None and old is not None and old.uid == sent.uid):
            del self.sent[kind]

    def awaits_replicas(self, live: DeploymentView, wanted: int, now: float) -> bool:
        """Whether the mirror still shows the replica count from before our own write of ``wanted``."""
        if self.replicas is None:
            return False
        before, sent, at = self.replicas
        if live.spec_replicas == before and sent == wanted and now - at < ECHO_SECONDS:
            return True
        self.replicas = None
        return False

    def previous_status(self, cached: Mapping[str, Any], now: float) -> Mapping[str, Any]:
        """The status last written by us, until the cache shows it or time has passed; then the cache's."""
        if self.said is None:
            return cached
        if cached == self.said or now - self.said_at > ECHO_SECONDS:
            self.said = None
            return cached
        return self.said


def fingerprint(live: ChildView | None) -> tuple[Any, ...] | None:
    """What of a mirrored child our own write would change."""
    return None if live is None else (live.uid, live.digest, live.ours, live.foreign)
