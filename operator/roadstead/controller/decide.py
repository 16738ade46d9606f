"""Whether a child needs a write: a pure comparison of what must be with what the mirror shows."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from roadstead.desired import Child
from roadstead.observed.views import ChildView, DeploymentView


class Action(Enum):
    """What to do about one child."""

    NOTHING = auto()
    CREATE = auto()
    APPLY = auto()
    CLEAN = auto()
    """Somebody added fields beside ours: take them out."""
    WAIT = auto()
    """Only platform, importance or operator changed the pod template, and pods run: it waits for the user's next change."""
    TAKEN = auto()
    """An object of that name belongs to somebody else."""
    LEAVING = auto()
    """It is being deleted; it can be made anew once it is gone."""


@dataclass(frozen=True, slots=True)
class Decision:
    """The action, and why, in words for a log line and a condition. ``paced``: no user asked for it, so it has to take its turn."""

    action: Action
    why: str = ""
    paced: bool = False


def decide(
    child: Child,
    live: ChildView | None,
    *,
    owner_uid: str,
    remembered: str | None,
    pods: bool,
) -> Decision:
    """Compare. ``remembered`` is the hash of our field set right after our last apply; None when it was lost: apply once."""
    if live is None:
        return Decision(Action.CREATE, "it does not exist")
    if live.owner_uid != owner_uid:
        return Decision(Action.TAKEN, f"an object named {child.name} belongs to another owner")
    if live.leaving:
        return Decision(Action.LEAVING, f"the former {child.name} is still being deleted")
    if remembered is not None and live.ours != remembered:
        return Decision(Action.APPLY, "fields of ours were changed or taken by somebody else")
    if live.digest != child.digest:
        if _only_our_side_changed(child, live):
            if pods:
                return Decision(Action.WAIT, "a platform, importance or operator change waits for the next rollout, start or restart")
            return Decision(Action.APPLY, "platform, importance or operator changed", paced=True)
        return Decision(Action.APPLY, "the declaration changed")
    if remembered is None:  # before cleaning: a field that somebody took from us looks like an addition until it is ours again
        return Decision(Action.APPLY, "the record of the last apply was lost")
    if live.foreign:
        return Decision(Action.CLEAN, f"somebody added {', '.join(live.foreign[:3])}")
    return Decision(Action.NOTHING)


def _only_our_side_changed(child: Child, live: ChildView) -> bool:
    return isinstance(live, DeploymentView) and live.user_template == child.user_template and live.template != child.template
