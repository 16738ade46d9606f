"""A draft Artifact may back at most one active Workload, since nothing says which of its contents the others would run."""

from __future__ import annotations

from collections.abc import Callable

from roadstead.api.artifact import Artifact, ArtifactStatus
from roadstead.controller.kinds import Key, Kind
from roadstead.controller.objects import Objects
from roadstead.errors import Reason, Refusal


class Drafts:
    """Who holds a draft: the Workload that already has children; among those that have none, the oldest (creation, then uid)."""

    def __init__(self, objects: Objects, has_children: Callable[[Key], bool], notify: Callable[[Key], None]) -> None:
        self._objects = objects
        self._has_children = has_children
        self._notify = notify
        self._holders: dict[Key, Key] = {}

    def check(self, key: Key, artifact: Artifact) -> None:
        """Raise Refusal if the draft belongs to another Workload."""
        draft = Key(Kind.ARTIFACT, key.namespace, artifact.metadata.name)
        if artifact.spec.status is not ArtifactStatus.DRAFT:
            self._holders.pop(draft, None)
            return
        holder = self._holder(draft)
        if holder is not None and holder != key:
            raise Refusal(
                Reason.DRAFT_IN_USE,
                f'Artifact "{artifact.metadata.name}" is a draft and Workload "{holder.name}" runs it already; register the Artifact '
                "(spec.status: registered) or stop that Workload",
            )

    def look(self, draft: Key) -> None:
        """After any change around a draft: when its holder changed, those that wait for it look again."""
        stored = self._objects.get(draft)
        if stored is None or stored.lineage is not None:
            self._holders.pop(draft, None)  # registering is a change of its own, of which its Workloads hear anyway
            return
        users = self._objects.referring_to(draft)
        if len(users) < 2 and draft not in self._holders:
            return
        before, holder = self._holders.get(draft), self._holder(draft)
        if holder is None:
            self._holders.pop(draft, None)
        else:
            self._holders[draft] = holder
        if before != holder:
            for user in users:
                self._notify(user)

    def _holder(self, draft: Key) -> Key | None:
        """Mostly the first that is looked at: who holds a draft is older than those who wait for it."""
        claims = self._objects.claims(draft)
        running = next((claim for claim in claims if self._has_children(claim.workload)), None)
        return (running or claims[0]).workload if claims else None
