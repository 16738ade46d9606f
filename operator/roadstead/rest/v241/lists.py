"""What lists have in common: which part, of what, in which order."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from fastapi import Query

from roadstead.rest.records import Record
from roadstead.rest.v241.models import Id, Sort

R = TypeVar("R", bound=Record)


@dataclass(frozen=True, slots=True)
class Listing:
    """The query parameters of every list."""

    offset: Annotated[int, Query(ge=0, le=2**63 - 1, description="How many to leave out at the beginning.")] = 0
    limit: Annotated[int, Query(ge=1, le=100, description="How many at most.")] = 100
    ids: Annotated[list[Id] | None, Query(description="Only these; repeat the parameter for several.")] = None
    search: Annotated[str | None, Query(description="Only those whose name holds this, in any case, or whose id begins with it.")] = None
    sort: Annotated[Sort, Query(description="In which order; - for descending.")] = Sort.CREATED_DOWN

    def chosen(self, records: Iterable[R]) -> list[R]:
        """Those that are asked for."""
        found = list(records)
        if self.ids is not None:
            wanted = {id.lower() for id in self.ids}
            found = [record for record in found if record.id in wanted]
        if self.search:
            text = self.search.casefold()
            found = [record for record in found if text in record.title.casefold() or record.id.startswith(text)]
        return found

    def part(self, records: Sequence[R], status: Callable[[R], str]) -> list[R]:
        """The page of them, in order; equal ones by id, so that pages don't overlap."""
        field, down = self.sort.removeprefix("-"), self.sort.startswith("-")
        keys: dict[str, Callable[[R], Any]] = {
            "name": lambda record: (record.title.casefold(), record.id),
            "createdAt": lambda record: (record.created_at, record.id),
            "updatedAt": lambda record: (record.updated_at, record.id),
            "status": lambda record: (status(record), record.id),
        }
        end = self.offset + self.limit
        pick = heapq.nlargest if down else heapq.nsmallest
        if end <= len(records) // 8:
            return pick(end, records, key=keys[field])[self.offset :]
        return sorted(records, key=keys[field], reverse=down)[self.offset : end]
