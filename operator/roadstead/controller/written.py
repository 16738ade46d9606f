"""What came of writing the children of one Workload, and what an error of a write means for it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from roadstead.controller.kinds import CHILDREN
from roadstead.controller.memory import Memory
from roadstead.desired import Child, ChildKind
from roadstead.errors import Reason, Refusal
from roadstead.kube.errors import ApiError, Forbidden, Invalid, NotFound, ServerError
from roadstead.observed.conditions import Condition

PATIENT_LOOK_SECONDS = 5.0
"""For what takes its time: something that has to go (the mirrors tell when it has), webhooks that don't answer."""
PATIENCE_SECONDS = 10.0
"""After this long, say that it doesn't go."""
WEBHOOK_LAG_SECONDS = 10.0
WEBHOOK_LOOK_SECONDS = 1.0


@dataclass(slots=True)
class Written:
    """What came of writing the children.

    ``pending`` says in a sentence what waits, ``awaits`` what must go first (said only if that takes long), ``refusal`` what was
    refused, ``conflict`` who keeps undoing our writes. ``unsettled``: something that passes kept a child from being written, so this
    generation isn't carried out yet.
    """

    pending: str | None = None
    awaits: str | None = None
    refusal: Refusal | None = None
    conflict: Condition | None = None
    unsettled: bool = False
    look_again_seconds: float | None = None
    writes: list[str] = field(default_factory=list)

    def look_again(self, seconds: float) -> None:
        """Look again after this time, or sooner for another reason."""
        self.look_again_seconds = seconds if self.look_again_seconds is None else min(seconds, self.look_again_seconds)

    def await_former(self, child: Child, seconds: float) -> None:
        """The child can't be made before its predecessor of the same name has gone."""
        self.awaits = f"The former {CHILDREN[child.kind].kind} {child.name} is still being deleted; it is made anew once it is gone"
        self.look_again(seconds)

    def be_patient(self, memory: Memory) -> None:
        """What must go mostly goes quickly; say so only if it doesn't."""
        if self.awaits is None:
            memory.leaving_since = None
            return
        now = time.monotonic()
        memory.leaving_since = now if memory.leaving_since is None else memory.leaving_since
        if now - memory.leaving_since > PATIENCE_SECONDS:
            self.pending = self.awaits

    def answered(self, child: Child, error: ApiError, memory: Memory) -> None:
        """What an error of a write means: a refusal to be told, something that passes, or (raised) a matter of the queue's back-off.

        KEDA's webhooks look up the Deployment and its HPAs in caches: they answer 404 for a Deployment just made and "already managed by
        the hpa" for an HPA just deleted (keda apis/keda/v1alpha1/scaledobject_webhook.go). A 404 may also be KEDA's own leaving, of which
        the mirror will tell. And where webhooks that don't answer refuse everything, a Workload can be stopped all the same.
        """
        resource = CHILDREN[child.kind]
        if child.kind is ChildKind.SCALED_OBJECT:
            if isinstance(error, ServerError):
                self.unsettled = True
                self.pending = f"ScaledObject {child.name} can't be written: {error.message}"
                self.look_again(PATIENT_LOOK_SECONDS)
                return
            lags = isinstance(error, Forbidden) and time.monotonic() - memory.stirred_at < WEBHOOK_LAG_SECONDS
            if lags or isinstance(error, NotFound):
                self.unsettled = True
                self.look_again(WEBHOOK_LOOK_SECONDS)
                return
        if not isinstance(error, Invalid | Forbidden):
            raise error
        self.refusal = Refusal(Reason.REFUSED_BY_API, f"The API server refuses {resource.kind} {child.name}: {error.message}")
