"""How many Workloads may roll at once for a reason that isn't their user's: a changed Platform, importance or operator.

A number of rollouts under way, and not a rate: it fits pods that are up in a second as well as those that load a model for ten minutes,
it bounds how many surge pods, image pulls and GPUs are asked for at once, and where the new settings break pods, the damage spreads
no faster than so many Workloads in one progress deadline. What a user changes never waits and takes no turn.

Nothing is stored. Whether a rollout is under way is read off the Deployment's own condition, so a new leader finds again what the former
one began: rollouts of users among them, which only makes it begin a little later.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from roadstead.controller.memory import ECHO_SECONDS, fingerprint
from roadstead.observed.views import DeploymentView

Name = tuple[str, str]
"""Namespace and name of a Workload."""
OVER = frozenset({"NewReplicaSetAvailable", "ProgressDeadlineExceeded"})
"""Reasons of an apps/v1 Deployment's condition Progressing when its rollout has ended, well or badly."""
NOT_BEGUN = "ReplicaSetCreateError"
"""The reason when a quota or an admission policy refuses the new ReplicaSet. No pod rolls, and no progress deadline ever ends it, since
the deployment controller gets no further (pkg/controller/deployment/sync.go in Kubernetes): were it a turn, it would be kept for ever."""


@dataclass(frozen=True, slots=True)
class Turn:
    """Leave to roll, given or last used at ``at`` (monotonic seconds). ``before`` is what the mirror showed when the template was
    written, None as long as it isn't."""

    at: float
    before: tuple[Any, ...] | None = None


class Pace:
    """Turns, first come first served; ``wake`` is called with a Workload whose turn has come, ``deployments`` lists the mirrored ones."""

    def __init__(self, wake: Callable[[Name], None], deployments: Callable[[], Iterable[tuple[Name, DeploymentView]]]) -> None:
        self._wake = wake
        self._deployments = deployments
        self._turns: dict[Name, Turn] | None = None
        self._waiting: dict[Name, None] = {}
        self._at_once = 1

    def forget(self) -> None:
        """Another replica may have led meanwhile: what is under way is read off the Deployments again."""
        self._turns = None
        self._waiting.clear()

    def admits(self, name: Name, at_once: int) -> bool:
        """Whether this Workload may roll now; if not, it is woken when it may. ``at_once`` is the limit in force."""
        self._at_once = at_once
        if self._turns is None:
            now = time.monotonic()
            self._turns = {each: Turn(now) for each, live in self._deployments() if under_way(live)}
        if name not in self._turns:
            self._waiting[name] = None
            self._grant(asking=name)
        return name in self._turns

    def began(self, name: Name, before: DeploymentView | None) -> None:
        """The template is written; ``before`` is what the mirror showed until then."""
        if self._turns is not None and name in self._turns:
            self._turns[name] = Turn(time.monotonic(), fingerprint(before))

    def settle(self, name: Name, live: DeploymentView | None, since: float) -> None:
        """Called at the end of each look at a Workload, which began at ``since``: gives its turn back if nothing is under way (any more).

        A turn that was given during the look is kept, for the next look to use.
        """
        turn = self._turns.get(name) if self._turns is not None else None
        if self._turns is None or turn is None or (live is not None and under_way(live)):
            return
        unseen = turn.before == fingerprint(live) and time.monotonic() - turn.at < ECHO_SECONDS
        if not (unseen if turn.before is not None else turn.at > since):
            del self._turns[name]
            self._grant()

    def _grant(self, asking: Name | None = None) -> None:
        while self._turns is not None and self._waiting and len(self._turns) < self._at_once:
            name = next(iter(self._waiting))
            del self._waiting[name]
            self._turns[name] = Turn(time.monotonic())
            if name != asking:
                self._wake(name)


def under_way(live: DeploymentView) -> bool:
    """Whether a Deployment's rollout has begun and not ended."""
    progressing = live.conditions.get("Progressing")
    if progressing is not None and progressing.reason == NOT_BEGUN:
        return False
    return not live.current or progressing is None or progressing.reason not in OVER
