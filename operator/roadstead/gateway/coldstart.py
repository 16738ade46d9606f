"""How long each phase of a cold start took, as the gateway itself saw it: pods bear times in whole seconds, which are too coarse.

decide: until a pod exists (KEDA, the Deployment's controller); schedule: until it has a node; pull: until its containers run, which is
mostly the image's download; start: until their startup probes have passed; ready: until Envoy knows it as ready.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from roadstead.gateway.views import PodView

PHASES: Final = ("decide", "schedule", "pull", "start", "ready")


class ColdStart:
    """Moments on the loop's clock; None where the gateway has not seen it."""

    __slots__ = ("began", "created", "ended", "running", "scheduled", "started")

    def __init__(self, began: float) -> None:
        self.began = began
        self.created: float | None = None
        self.scheduled: float | None = None
        self.running: float | None = None
        self.started: float | None = None
        self.ended: float | None = None

    def saw(self, pod: PodView, now: float) -> None:
        """A pod of the Workload has changed; the first to come so far counts."""
        if pod.terminating:
            return
        self.created = self.created or now
        if pod.scheduled:
            self.scheduled = self.scheduled or now
        if pod.running:
            self.running = self.running or now
        if pod.started:
            self.started = self.started or now

    def seconds(self, since: float, until: float) -> Iterator[tuple[str, float]]:
        """The phases for somebody who waited from ``since`` to ``until``; what was not seen counts to the phase after it."""
        at = since
        for phase, moment in zip(PHASES, (self.created, self.scheduled, self.running, self.started, until), strict=True):
            if moment is not None:
                yield phase, max(0.0, moment - at)
                at = max(at, moment)

    def told(self, since: float, until: float) -> str:
        """As the response header says it, in seconds."""
        parts = [*self.seconds(since, until), ("total", until - since)]
        return ";".join(f"{phase}={seconds:.3f}" for phase, seconds in parts)
