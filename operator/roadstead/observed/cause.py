"""What a cause is, and what it is found from beside a pod's own fields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from roadstead.observed.hearing import Heard, Kill


@dataclass(frozen=True, slots=True)
class Cause:
    """A reason (CamelCase), a sentence, and ``lasting``: it won't pass by itself. ``log_tail`` are the container's last lines.

    ``head`` is the beginning of the sentence whose every character matters; in the rest, numbers don't.
    """

    reason: str
    message: str
    lasting: bool
    log_tail: tuple[str, ...] = ()
    head: str = ""


@dataclass(frozen=True, slots=True)
class Scene:
    """What a pod's own fields don't tell.

    ``lost_nodes``: nodes that the cluster has lost sight of. ``heard``: Events by the pod's uid. ``pull_failing_since``: since when an
    image can't be pulled. ``stalled``: what was found lasting before, and since when. ``kills``: the last one of each pod, by its uid.
    """

    now: datetime
    lost_nodes: frozenset[str] = frozenset()
    heard: Mapping[str, tuple[Heard, ...]] = field(default_factory=dict)
    pull_failing_since: datetime | None = None
    stalled: tuple[str, str] | None = None
    kills: Mapping[str, Kill] = field(default_factory=dict)
